"""One call of RELION's external reconstruction program: the star file named and its arrays."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import read_volume
from cryodl.core.relion.blocks import read_blocks
from cryodl.errors import InputError

RESULT_SUFFIX = "_external_reconstruct.mrc"
STAR_SUFFIX = "_external_reconstruct.star"
_NAME = re.compile(
    r"^(?P<out>.+?)(?:_ct(?P<ct>\d+))?_it(?P<it>\d+)(?:_half(?P<half>[12]))?"
    r"_(?P<kind>class|body)(?P<no>\d+)$"
)


@dataclass(frozen=True)
class MapName:
    """Parts of a name such as ``Refine3D/job005/run_ct6_it007_half1_class001``.

    Attributes
    ----------
    folder : Path
        Folder of the job.
    out : str
        Root name of the run without ``_ctNN``.
    run : str
        Root name of the run with ``_ctNN``, if it was continued under a new root.
    iteration, number : int
        Iteration, and number of the class or body.
    half : int or None
        1, 2, or None for a map of all particles.
    kind : str
        ``class`` or ``body``.
    shared : Path
        What the names of both halves of this iteration begin with, ``Refine3D/job005/run_it007``.
    """

    folder: Path
    out: str
    run: str
    iteration: int
    half: int | None
    kind: str
    number: int
    shared: Path

    @classmethod
    def parse(cls, root: Path) -> MapName:
        """Take a name apart.

        Raises
        ------
        InputError
            It is none of RELION's.
        """
        match = _NAME.match(root.name)
        if match is None:
            raise InputError(
                f"{root}: found a name that is not RELION's, expected "
                "ROOT_itNNN[_half1|_half2]_class001; give the star file that relion_refine wrote"
            )
        part = match.groupdict()
        return cls(
            folder=root.parent,
            out=part["out"],
            run=part["out"] if part["ct"] is None else f"{part['out']}_ct{part['ct']}",
            iteration=int(part["it"]),
            half=None if part["half"] is None else int(part["half"]),
            kind=part["kind"],
            number=int(part["no"]),
            shared=root.parent / root.name[: match.end("it")],
        )

    def root(self, half: int | None) -> Path:
        """Name of the same map of another half, without suffix."""
        part = "" if half is None else f"_half{half}"
        name = f"{self.shared.name}{part}_{self.kind}{self.number:03d}"
        return self.folder / name


@dataclass(frozen=True)
class ReconstructionCall:
    """What RELION hands over for one map.

    Attributes
    ----------
    star : Path
        The star file named on the command line.
    name : MapName
        Its parts.
    data_real, data_imag, weight : Path
        Arrays ``(p, p, p // 2 + 1)``, FFT order, p = padding * box.
    result : Path
        The map to be written.
    tau2_fudge, padding : float, int
        Weight of the prior; padding factor of the arrays.
    dimensionality : int
        3, or 2 for class averages.
    box_size_px, current_size_px : int
        Box of the map; twice the radius up to which the arrays are filled (over padding).
    pixel_size_angstrom, particle_diameter_angstrom : float or None
        From RELION 4 on.
    tau2, fsc : ndarray, (box_size_px // 2 + 1,) float64
        Prior and half-map FSC of this iteration, by shell.
    """

    star: Path
    name: MapName
    data_real: Path
    data_imag: Path
    weight: Path
    result: Path
    tau2_fudge: float
    padding: int
    dimensionality: int
    box_size_px: int
    current_size_px: int
    pixel_size_angstrom: float | None
    particle_diameter_angstrom: float | None
    tau2: NDArray[np.float64]
    fsc: NDArray[np.float64]

    @property
    def root(self) -> Path:
        """Name of the map without suffix."""
        return Path(str(self.result)[: -len(RESULT_SUFFIX)])

    @property
    def unfiltered(self) -> Path:
        """RELION's unregularised map of this half, if it made one."""
        return Path(f"{self.root}_unfil.mrc")

    @property
    def padded_size_px(self) -> int:
        """Edge of the padded transform."""
        return self.box_size_px * self.padding


def read_call(star: str | os.PathLike[str]) -> ReconstructionCall:
    """Read the star file that RELION names on the command line.

    Raises
    ------
    InputError
        It is missing, incomplete, or of another program.
    """
    path = Path(star)
    names = ("external_reconstruct_general", "external_reconstruct_tau2")
    blocks = read_blocks(path, names)
    for name in names:
        if name not in blocks:
            raise InputError(
                f"{path}: found no block data_{name}, expected the star file of an external "
                "reconstruction; give ROOT_external_reconstruct.star as relion_refine wrote it"
            )
    general, table = (blocks[name] for name in names)
    result = general.required("rlnExtReconsResult")
    if not result.endswith(RESULT_SUFFIX):
        raise InputError(
            f"{path}: found the result name {result}, expected one that ends in {RESULT_SUFFIX}; "
            "give the star file as relion_refine wrote it"
        )
    dimensionality = int(general.number("rlnReferenceDimensionality"))
    call = ReconstructionCall(
        star=path,
        name=MapName.parse(Path(result[: -len(RESULT_SUFFIX)])),
        data_real=Path(general.required("rlnExtReconsDataReal")),
        data_imag=Path(general.required("rlnExtReconsDataImag")),
        weight=Path(general.required("rlnExtReconsWeight")),
        result=Path(result),
        tau2_fudge=general.number("rlnTau2FudgeFactor", 1.0),
        padding=round(general.number("rlnPaddingFactor")),
        dimensionality=dimensionality,
        box_size_px=int(general.number("rlnOriginalImageSize")),
        current_size_px=int(general.number("rlnCurrentImageSize")),
        pixel_size_angstrom=general.number("rlnPixelSize", 0.0) or None,
        particle_diameter_angstrom=general.number("rlnParticleDiameter", 0.0) or None,
        tau2=np.nan_to_num(np.array(table.numbers("rlnReferenceTau2"), dtype=np.float64)),
        fsc=np.nan_to_num(np.array(table.numbers("rlnGoldStandardFsc"), dtype=np.float64)),
    )
    _check(call, general.number("rlnPaddingFactor"))
    return call


def read_arrays(call: ReconstructionCall) -> tuple[NDArray, NDArray, NDArray]:
    """Read data (real, imaginary part) and weight, each ``(p, p, p // 2 + 1)`` float32.

    Raises
    ------
    InputError
        A file is missing, of another size, or holds values that are not finite.
    """
    p = call.padded_size_px
    arrays = []
    for path in (call.data_real, call.data_imag, call.weight):
        # The header says 0 or 1 A whatever the pixel size is.
        data = read_volume(path, pixel_size_angstrom=1.0, require_variance=False).data
        if data.shape != (p, p, p // 2 + 1):
            raise InputError(
                f"{path}: found an array of shape {data.shape}, expected {(p, p, p // 2 + 1)} from "
                f"{call.star}; let RELION write the iteration again"
            )
        arrays.append(data)
    return arrays[0], arrays[1], arrays[2]


def _check(call: ReconstructionCall, padding: float) -> None:
    if call.padding < 1 or abs(padding - call.padding) > 1e-3:
        raise InputError(
            f"{call.star}: found the padding factor {padding:g}, expected a whole number; run "
            "relion_refine with --pad 1 or --pad 2"
        )
    n = call.box_size_px
    if n < 2 or not 2 <= call.current_size_px <= n:
        raise InputError(
            f"{call.star}: found a box of {n} px with a current size of {call.current_size_px}, "
            "expected a current size of 2 up to the box; the file is damaged"
        )
    if call.tau2.size < n // 2 + 1:
        raise InputError(
            f"{call.star}: found {call.tau2.size} shells, expected {n // 2 + 1} for a box of {n} "
            "px; the file is incomplete, let RELION write it again"
        )

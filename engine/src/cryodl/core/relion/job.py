"""What the files of a running refinement say of it: version, command line, sampling, mask.

Everything is looked up through the newest optimiser file before the iteration of the call, whatever
the run is named and however often it was continued.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cryodl.core.io.mrc import read_volume
from cryodl.core.relion.blocks import StarBlock, read_blocks, read_comments
from cryodl.core.relion.call import ReconstructionCall
from cryodl.core.relion.reconstruct import MINRES_MAP_DEFAULT
from cryodl.errors import InputError

_OPTIMISER = re.compile(r"^(?P<out>.+?)(?:_ct\d+)?_it(?P<it>\d+)_optimiser\.star$")
_LONGEST_CHAIN = 50


@dataclass(frozen=True)
class CommandLine:
    """RELION's command line, as it notes it in the optimiser file.

    Attributes
    ----------
    options : dict
        Option (``--ini_high``) to its values joined by a blank; empty for a switch.
    """

    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, comment: str) -> CommandLine:
        """Read a comment line; what follows an option up to the next one is its value."""
        options: dict[str, str] = {}
        name = None
        for word in _split(comment):
            if word.startswith("--") and len(word) > 2:
                name, _, value = word.partition("=")
                options[name] = value
            elif name is not None:
                options[name] = f"{options[name]} {word}".strip()
        return cls(options)

    def __contains__(self, option: str) -> bool:
        return option in self.options

    def text(self, option: str) -> str | None:
        """Return the value of an option, or None when it is absent or empty."""
        return self.options.get(option) or None

    def number(self, option: str) -> float | None:
        """Return the value of an option as a number, or None when it is absent."""
        value = self.text(option)
        if value is None:
            return None
        try:
            return float(value)
        except ValueError:
            raise InputError(
                f"relion_refine {option}: found {value!r}, expected a number; correct the "
                "command line of the refinement"
            ) from None


@dataclass(frozen=True)
class RefinementState:
    """The refinement that a call belongs to.

    Attributes
    ----------
    version : tuple of int or None
        For example (3, 1, 3); None when no optimiser file was found.
    command : CommandLine
        Of the run as it was started or continued last.
    original : CommandLine
        Of the run as it was started first, for continued runs do not repeat it.
    roots : tuple of Path
        Where maps of iteration 0 may lie: the root names of this run and of those it continues.
    healpix_order : int or None
        Order of the last iteration's angular sampling, before oversampling.
    symmetry : str
        Point group.
    mask : Path or None
        Solvent mask.
    auto_refine, split_halves : bool
        Whether it is a gold-standard auto-refinement.
    particle_diameter_angstrom : float or None
        Diameter of the particle mask.
    data_star : Path or None
        Particles of the last iteration.
    data_dimensionality : int
        3 where the particles are volumes, 2 where they are images.
    """

    version: tuple[int, ...] | None = None
    command: CommandLine = CommandLine()
    original: CommandLine = CommandLine()
    roots: tuple[Path, ...] = ()
    healpix_order: int | None = None
    symmetry: str = "C1"
    mask: Path | None = None
    auto_refine: bool = False
    split_halves: bool = False
    particle_diameter_angstrom: float | None = None
    data_star: Path | None = None
    data_dimensionality: int = 2

    @property
    def grids(self) -> bool:
        """Whether relion_refine corrects its weights by iterative gridding in this run."""
        if self.version is not None and self.version[0] >= 4:
            return "--dont_skip_gridding" in self.command
        return "--skip_gridding" not in self.command

    @property
    def gradient_refinement(self) -> bool:
        """Whether the run refines by gradients, where ``_unfil.mrc`` is not a half map."""
        return "--grad" in self.command or "--grad" in self.original

    @property
    def sequential_halves(self) -> bool:
        """Whether half 2 is reconstructed only after half 1."""
        option = "--sequential_halves_recons"
        return option in self.command or option in self.original

    @property
    def minres_map_shell(self) -> int:
        """First shell on which relion_refine applies its prior."""
        value = self.command.number("--minres_map")
        return MINRES_MAP_DEFAULT if value is None else int(value)

    @property
    def initial_low_pass_angstrom(self) -> float | None:
        """``--ini_high`` of the run as it was started first."""
        for command in (self.command, self.original):
            value = command.number("--ini_high")
            if value is not None and value > 0:
                return value
        return None


def read_refinement(call: ReconstructionCall) -> RefinementState:
    """Look up the refinement of a call.

    Raises
    ------
    InputError
        An optimiser file is there but damaged.
    """
    optimiser = newest_optimiser(call)
    if optimiser is None:
        # RELION 4 and later name the pixel size in the star, 3.1 does not.
        version = (3, 1) if call.pixel_size_angstrom is None else (4, 0)
        return RefinementState(version=version, roots=(call.name.folder / call.name.run,))
    block = _optimiser_block(optimiser)
    command = _command_of(optimiser)
    original, roots = _follow(optimiser, command, call)
    sampling = _sampling_block(block, optimiser)
    mask = block.text("rlnSolventMaskName")
    data = block.text("rlnExperimentalDataStarFile")
    order = None if sampling is None else sampling.text("rlnHealpixOrder")
    return RefinementState(
        version=_version_of(optimiser),
        command=command,
        original=original,
        roots=roots,
        healpix_order=None if order is None else int(order),
        symmetry="C1" if sampling is None else sampling.text("rlnSymmetryGroup") or "C1",
        mask=None if mask is None else Path(mask),
        auto_refine=block.number("rlnDoAutoRefine", 0) != 0,
        split_halves=block.number("rlnDoSplitRandomHalves", 0) != 0,
        particle_diameter_angstrom=block.number("rlnParticleDiameter", 0.0) or None,
        data_star=None if data is None else Path(data),
        data_dimensionality=_data_dimensionality(block, optimiser),
    )


def newest_optimiser(call: ReconstructionCall) -> Path | None:
    """Return the optimiser file of the last iteration before the call, or None.

    Files of the run itself come first, then those without ``_ctNN`` and, at last, of any run that
    was continued.
    """
    name = call.name
    found: list[tuple[bool, int, float, Path]] = []
    for entry in os.scandir(name.folder):
        match = _OPTIMISER.match(entry.name)
        if match is None or match["out"] != name.out or int(match["it"]) >= name.iteration:
            continue
        same = entry.name.startswith(f"{name.run}_it")
        found.append((same, int(match["it"]), entry.stat().st_mtime, Path(entry.path)))
    return max(found)[-1] if found else None


def pixel_size_angstrom(call: ReconstructionCall, state: RefinementState) -> float:
    """Find the pixel size of the reference, which RELION 3.1 does not hand over.

    Never taken from the arrays or the result, whose headers say 0 or 1.

    Raises
    ------
    InputError
        It is written nowhere.
    """
    if call.pixel_size_angstrom:
        return call.pixel_size_angstrom
    if call.unfiltered.is_file():
        size = read_volume(
            call.unfiltered, memory_map=True, require_finite=False, require_variance=False
        ).pixel_size_angstrom
        if size > 0:
            return size
    if state.data_star is not None and state.data_star.is_file():
        optics = read_blocks(state.data_star, ("optics",)).get("optics")
        # Of several optics groups the first is that of the reference.
        if optics is not None and optics.columns.get("rlnImagePixelSize"):
            return optics.numbers("rlnImagePixelSize")[0]
    raise InputError(
        f"{call.star}: found no pixel size in it, in {call.unfiltered.name} or in the optics table "
        f"of {state.data_star}, expected one; keep the job's data.star files"
    )


def initial_map(call: ReconstructionCall, state: RefinementState) -> Path | None:
    """Return RELION's own low-passed reference of iteration 0 for this half, or None."""
    for root in state.roots:
        path = Path(f"{root}_it000_half{call.name.half or 1}_class001.mrc")
        if path.is_file():
            return path
    return None


def _split(comment: str) -> list[str]:
    try:
        return shlex.split(comment)
    except ValueError:
        return comment.split()


def _version_of(optimiser: Path) -> tuple[int, ...] | None:
    comments = read_comments(optimiser, 1)
    match = re.search(r"version\s+(\d+(?:\.\d+)*)", comments[0]) if comments else None
    return None if match is None else tuple(int(part) for part in match[1].split("."))


def _command_of(optimiser: Path) -> CommandLine:
    comments = read_comments(optimiser, 2)
    return CommandLine.parse(comments[1]) if len(comments) > 1 else CommandLine()


def _optimiser_block(optimiser: Path) -> StarBlock:
    blocks = read_blocks(optimiser, ("optimiser_general",))
    if "optimiser_general" not in blocks:
        raise InputError(
            f"{optimiser}: found no block data_optimiser_general, expected an optimiser file of "
            "RELION; continue the refinement from an earlier iteration"
        )
    return blocks["optimiser_general"]


def _sampling_block(block: StarBlock, optimiser: Path) -> StarBlock | None:
    named = block.text("rlnOrientSamplingStarFile")
    beside = Path(str(optimiser).replace("_optimiser.star", "_sampling.star"))
    for path in ([] if named is None else [Path(named)]) + [beside]:
        if path.is_file():
            return read_blocks(path, ("sampling_general",)).get("sampling_general")
    return None


def _data_dimensionality(block: StarBlock, optimiser: Path) -> int:
    """Return 2 for images, 3 for volumes: as in the model, else in the optics table."""
    named = block.text("rlnModelStarFile")
    root = str(optimiser).removesuffix("_optimiser.star")
    beside = [Path(f"{root}{half}_model.star") for half in ("_half1", "")]
    for path in ([] if named is None else [Path(named)]) + beside:
        if path.is_file():
            model = read_blocks(path, ("model_general",)).get("model_general")
            if model is not None and model.text("rlnDataDimensionality"):
                return int(model.number("rlnDataDimensionality"))
    data = block.text("rlnExperimentalDataStarFile")
    if data is not None and Path(data).is_file():
        optics = read_blocks(data, ("optics",)).get("optics")
        if optics is not None and optics.columns.get("rlnImageDimensionality"):
            return int(optics.numbers("rlnImageDimensionality")[0])
    return 2


def _follow(
    optimiser: Path, command: CommandLine, call: ReconstructionCall
) -> tuple[CommandLine, tuple[Path, ...]]:
    """Go back through ``--continue`` to the command line that started the run."""
    name = call.name
    roots = [name.folder / name.run, name.folder / name.out]
    current, path = command, optimiser
    for _ in range(_LONGEST_CHAIN):
        previous = current.text("--continue")
        if previous is None:
            break
        before = Path(previous)
        match = _OPTIMISER.match(before.name)
        if match is not None:
            roots.append(before.parent / before.name[: match.start("it") - len("_it")])
            roots.append(before.parent / match["out"])
        if before == path or not before.is_file():
            # Continued under its own root RELION rewrites the very file it continues from.
            first = _first_optimiser(roots)
            if first is None or first == path:
                break
            before = first
        path, current = before, _command_of(before)
    return current, tuple(dict.fromkeys(roots))


def _first_optimiser(roots: list[Path]) -> Path | None:
    for root in reversed(roots):
        path = Path(f"{root}_it000_optimiser.star")
        if path.is_file():
            return path
    return None

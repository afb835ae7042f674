"""RELION's own reconstruction program, for runs that grid, and a choice between it and numpy."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.relion.call import ReconstructionCall, read_arrays
from cryodl.core.relion.environment import without_rank_variables
from cryodl.core.relion.job import RefinementState
from cryodl.core.relion.reconstruct import Prior, reconstruct_map, scale_of_data, sharpen_tau2
from cryodl.errors import ResourceError

logger = logging.getLogger(__name__)

PROGRAM = "relion_external_reconstruct"
# So much power in the prior of a shell that the prior has no effect there.
_NO_PRIOR_TAU2 = 1e30


def regularised_map(
    call: ReconstructionCall, state: RefinementState, workers: int | None = None
) -> NDArray[np.float32]:
    """Make the map that relion_refine would have made itself, before masking.

    Parameters
    ----------
    call, state
        What RELION handed over, and the refinement it belongs to.
    workers : int, optional
        Threads of the Fourier transform.

    Returns
    -------
    ndarray, (n, n, n) float32

    Raises
    ------
    InputError
        Arrays are missing or damaged.
    ResourceError
        RELION's program failed.
    """
    arrays = read_arrays(call)
    tau2 = sharpen_tau2(
        call.tau2,
        call.fsc,
        arrays[2],
        box_size_px=call.box_size_px,
        current_size_px=call.current_size_px,
        fudge=call.tau2_fudge,
    )
    if _needs_program(state):
        # The program applies the prior from shell 0, relion_refine only from --minres_map on.
        tau2[: state.minres_map_shell] = _NO_PRIOR_TAU2
        return _run_program(call, state, tau2, [])
    prior = Prior(tau2, call.tau2_fudge, state.minres_map_shell)
    return _by_formula(call, arrays, state, prior, workers)


def unregularised_map(
    call: ReconstructionCall, state: RefinementState, workers: int | None = None
) -> NDArray[np.float32]:
    """Return the half map before regularisation: RELION's ``_unfil.mrc``, or made anew.

    Parameters, errors and result are those of `regularised_map`.
    """
    if call.unfiltered.is_file() and not state.gradient_refinement:
        return read_box(call.unfiltered, call.box_size_px)
    if _needs_program(state):
        return _run_program(call, state, call.tau2, ["--no_map"])
    return _by_formula(call, read_arrays(call), state, None, workers)


def read_box(path: Path, box_size_px: int) -> NDArray[np.float32]:
    """Read a map whose header may say anything of its pixel size, and check its box."""
    data = read_volume(path, pixel_size_angstrom=1.0, require_variance=False).data
    if data.shape != (box_size_px,) * 3:
        raise ResourceError(
            f"{path}: found a map of shape {data.shape}, expected a cube of {box_size_px} px; "
            "let RELION write the iteration again"
        )
    return data


def pass_to_program(call: ReconstructionCall, state: RefinementState) -> int:
    """Let RELION's program do the whole call, for averages in 2D and bodies; its exit status."""
    command = [PROGRAM, str(call.star)] + ([] if state.grids else ["--skip_gridding"])
    try:
        # Its environment is that which RELION would have given it.
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise ResourceError(
            f"{PROGRAM}: could not be started ({error.strerror}), expected it on PATH for 2D "
            "averages and bodies; load RELION's environment"
        ) from error
    if status == 0 and call.dimensionality == 3 and state.data_dimensionality == 3:
        written = read_volume(call.result, pixel_size_angstrom=1.0, require_variance=False)
        write_volume(call.result, _rescaled(written.data, call, state), like=written)
    return status


def _needs_program(state: RefinementState) -> bool:
    if not state.grids:
        return False
    if shutil.which(PROGRAM) is not None:
        return True
    logger.warning(
        "%s is not on PATH: this run corrects its weights by gridding, which is left out", PROGRAM
    )
    return False


def _by_formula(
    call: ReconstructionCall,
    arrays: tuple[NDArray, NDArray, NDArray],
    state: RefinementState,
    prior: Prior | None,
    workers: int | None,
) -> NDArray[np.float32]:
    real, imaginary, weight = arrays
    return reconstruct_map(
        real,
        imaginary,
        weight,
        box_size_px=call.box_size_px,
        current_size_px=call.current_size_px,
        prior=prior,
        keep_limit=not state.grids,
        data_dimensionality=state.data_dimensionality,
        workers=workers,
    )


def _run_program(
    call: ReconstructionCall,
    state: RefinementState,
    tau2: NDArray[np.float64],
    options: list[str],
) -> NDArray[np.float32]:
    with _scratch_folder(call) as folder:
        write_text(folder / "call.star", _star_text(call, tau2, folder))
        command = [PROGRAM, "call.star", *options, "--o", "map.mrc"]
        done = subprocess.run(
            command,
            cwd=folder,
            env=without_rank_variables(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        result = folder / "map.mrc"
        if done.returncode != 0 or not result.is_file():
            raise ResourceError(
                f"{PROGRAM}: ended with status {done.returncode} on {call.star} "
                f"({_last_line(done.stderr)}), expected a map; run it by hand to see why"
            )
        return _rescaled(read_box(result, call.box_size_px), call, state)


def _rescaled(
    volume: NDArray[np.float32], call: ReconstructionCall, state: RefinementState
) -> NDArray[np.float32]:
    """Bring a map of RELION's program, which takes volumes for images, to RELION's grey scale."""
    scale = scale_of_data(call.box_size_px, state.data_dimensionality)
    return volume if scale == 1 else volume * np.float32(scale)


@contextlib.contextmanager
def _scratch_folder(call: ReconstructionCall) -> Iterator[Path]:
    # Beside the arrays, where there is room for a map, and under no other call's name.
    folder = call.root.with_name(f".{call.root.name}-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise ResourceError(
            f"{folder}: could not be used ({error.strerror}), expected a writable job folder; "
            "free some space or check the permissions"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _star_text(call: ReconstructionCall, tau2: NDArray[np.float64], folder: Path) -> str:
    arrays = {
        "rlnExtReconsDataReal": _link(call.data_real, folder / "data_real.mrc"),
        "rlnExtReconsDataImag": _link(call.data_imag, folder / "data_imag.mrc"),
        "rlnExtReconsWeight": _link(call.weight, folder / "weight.mrc"),
        "rlnExtReconsResult": "map.mrc",
        "rlnExtReconsResultStarfile": "map.star",
        "rlnTau2FudgeFactor": f"{call.tau2_fudge:.17g}",
        "rlnPaddingFactor": f"{call.padding}",
        "rlnReferenceDimensionality": "3",
        "rlnOriginalImageSize": f"{call.box_size_px}",
        "rlnCurrentImageSize": f"{call.current_size_px}",
    }
    lines = ["# version 30001", "", "data_external_reconstruct_general", ""]
    lines += [f"_{label} {value}" for label, value in arrays.items()]
    lines += ["", "# version 30001", "", "data_external_reconstruct_tau2", "", "loop_"]
    lines += ["_rlnSpectralIndex #1", "_rlnReferenceTau2 #2", "_rlnGoldStandardFsc #3"]
    lines += [f"{i} {t:.17g} {f:.9g}" for i, (t, f) in enumerate(zip(tau2, call.fsc))]
    return "\n".join([*lines, "", ""])


def _link(source: Path, link: Path) -> str:
    """Give an array a name without blanks, which RELION's star reader needs."""
    target = source.absolute()
    try:
        link.symlink_to(target)
    except OSError:
        return str(target)
    return link.name


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[-1]

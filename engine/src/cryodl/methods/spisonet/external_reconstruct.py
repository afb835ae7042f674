"""One call of RELION's external reconstruction: which map to return, and returning it safely.

The rules, in order: averages in 2D and bodies go to RELION's program; maps of all particles, and
half maps before the start gates open, are RELION's own; from then on the two half maps are
corrected together by the network. Nothing of RELION's is changed, and a map that cannot be right
is never returned.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.mrc import write_volume
from cryodl.core.relion.call import ReconstructionCall, read_call
from cryodl.core.relion.environment import is_rank_variable
from cryodl.core.relion.job import RefinementState, pixel_size_angstrom, read_refinement
from cryodl.core.relion.program import pass_to_program, regularised_map, unregularised_map
from cryodl.errors import EXIT_BAD_INPUT, EXIT_BUG, CryodlError, InputError, ResourceError
from cryodl.methods.spisonet.relion.log import CallReport, announce, note_settings
from cryodl.methods.spisonet.relion.result import Interrupted, check_map, plain_map
from cryodl.methods.spisonet.relion.settings import RelionSettings, unknown_variables
from cryodl.methods.spisonet.relion.task import HalfMapTask

USAGE = (
    "usage: relion_wrapper ROOT_external_reconstruct.star\n"
    "Called by relion_refine for every map of every iteration under --external_reconstruct when\n"
    "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE=relion_wrapper. Settings are ISONET_* variables of\n"
    "the environment; docs/relion.md lists them.\n"
)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status.

    RELION does not quote the file name, so that a name with blanks comes in several arguments.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0 if arguments else EXIT_BAD_INPUT
    logging.basicConfig(level=logging.WARNING, format=" spIsoNet: %(message)s", stream=sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    environment = dict(os.environ)
    for name in filter(is_rank_variable, environment):
        del os.environ[name]
    try:
        return reconstruct(" ".join(arguments), environment)
    except CryodlError as error:
        sys.stderr.write(f"\n spIsoNet: ERROR: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        sys.stderr.write("\n spIsoNet: ERROR: interrupted\n")
        return EXIT_BUG


def reconstruct(star: str, environment: Mapping[str, str]) -> int:
    """Do what RELION asks for in a star file.

    Parameters
    ----------
    star : str
        The file named on the command line.
    environment : mapping
        Where the ISONET_* variables are looked up.

    Returns
    -------
    int
        Exit status; 0 only when the result is in its place.

    Raises
    ------
    CryodlError
        Nothing was returned; RELION must stop.
    """
    started = time.monotonic()
    settings = RelionSettings.from_environment(environment)
    call = read_call(star)
    state = read_refinement(call)
    report = _first_report(call, state)
    try:
        for note in unknown_variables(environment):
            report.warn(note)
        # RELION would read whatever lies there, also what an earlier run left.
        with suppress(FileNotFoundError):
            call.result.unlink()
        if call.dimensionality != 3 or call.name.kind == "body":
            report.action, report.reason = "program", "2D average or body"
            return pass_to_program(call, state)
        return _reconstruct_map(call, state, settings, report)
    except BaseException as error:
        report.action = "failed"
        report.warn(str(error) or type(error).__name__, print_it=False)
        raise
    finally:
        report.seconds = time.monotonic() - started
        with suppress(ResourceError):
            announce(report, call.name.folder)


def _reconstruct_map(
    call: ReconstructionCall, state: RefinementState, settings: RelionSettings, report: CallReport
) -> int:
    workers = len(os.sched_getaffinity(0))
    own = regularised_map(call, state, workers)
    check_map(own, own)
    report.sd_relion = float(own.std(dtype=np.float64))
    pixel = _pixel_size(call, state)
    if call.name.half is None or call.name.number != 1:
        report.action = "relion"
        report.reason = "all particles" if state.auto_refine else "not an auto-refinement"
        _hand_over(call, own, pixel or 1.0, report)
        return 0
    if pixel is None:
        pixel = pixel_size_angstrom(call, state)
    task = HalfMapTask(call, state, settings, pixel, report)
    note_settings(settings, call.name.folder)
    if task.decide():
        # Only from here on is anything imported that takes time.
        from cryodl.methods.spisonet.relion.halves import corrected_map

        result = corrected_map(task, own)
    elif settings.prestart == "unfil":
        report.action = "unfil"
        result = plain_map(task, unregularised_map(call, state, workers))
    else:
        report.action = "relion"
        result = plain_map(task, own)
    check_map(result, own, np.inf if report.action == "unfil" else 10.0)
    _hand_over(call, result, pixel, report)
    return 0


def _hand_over(
    call: ReconstructionCall, result: NDArray[np.float32], pixel: float, report: CallReport
) -> None:
    report.sd_result = float(result.std(dtype=np.float64))
    write_volume(call.result, result, pixel_size_angstrom=pixel, label=report.line()[:79])


def _first_report(call: ReconstructionCall, state: RefinementState) -> CallReport:
    name = call.name
    return CallReport(
        run=name.run,
        iteration=name.iteration,
        half=name.half,
        map=f"{name.kind}{name.number:03d}",
        relion_version=".".join(str(part) for part in state.version or ()),
        healpix_order=state.healpix_order,
    )


def _pixel_size(call: ReconstructionCall, state: RefinementState) -> float | None:
    try:
        return pixel_size_angstrom(call, state)
    except InputError:
        return None


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(f"told to stop by signal {signal.Signals(number).name}")

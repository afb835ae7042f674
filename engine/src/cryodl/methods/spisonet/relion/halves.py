"""The iterations in which the network runs: one of the two calls corrects both half maps."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc import write_volume
from cryodl.core.relion.call import STAR_SUFFIX, ReconstructionCall, read_arrays, read_call
from cryodl.core.relion.program import read_box, regularised_map, unregularised_map
from cryodl.core.relion.reconstruct import Prior, prior_attenuation
from cryodl.errors import CryodlError, ResourceError
from cryodl.methods.spisonet.relion.coordination import Meeting, Outcome, WorkerFailedError
from cryodl.methods.spisonet.relion.correction import HalfMap, correct_maps
from cryodl.methods.spisonet.relion.processes import parent_watch
from cryodl.methods.spisonet.relion.result import Interrupted, check_map, plain_map
from cryodl.methods.spisonet.relion.task import HalfMapTask

PARTNER_PATIENCE_SECONDS = 60.0
# When only its weights are wanted, and its map is there: ours alone are nearly as good.
WEIGHTS_PATIENCE_SECONDS = 5.0


def corrected_map(task: HalfMapTask, own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the corrected half map of this call, made here or by the call for the other half.

    Parameters
    ----------
    task : HalfMapTask
        The call.
    own : (n, n, n) ndarray
        RELION's own map, the yardstick and the fall-back.

    Raises
    ------
    CryodlError
        The correction failed and ISONET_ON_ERROR is ``fail``, or nothing can be written.
    """
    meeting = Meeting(
        task.call.name.shared,
        task.half,
        lambda half: _fingerprint(task.call, half),
        stale_seconds=task.settings.stale,
        timeout_seconds=task.settings.timeout,
    )
    check_alive = parent_watch()
    outcome = meeting.enter(check_alive)
    if meeting.took_over:
        task.report.warn("the call that held the lock is gone; this one does its work")
    try:
        if outcome is None:
            with meeting.working(check_alive):
                return _as_worker(task, own, meeting)
        if outcome.alone:
            return _alone(task, own)
        return _as_waiter(task, own, outcome)
    finally:
        meeting.leave(finished=outcome is not None)


def _as_worker(
    task: HalfMapTask, own: NDArray[np.float32], meeting: Meeting
) -> NDArray[np.float32]:
    task.report.role = "worker for both halves"
    record: dict[str, Any] = {"results": {}}
    other = meeting.other
    maps: dict[int, NDArray[np.float32]] = {}
    try:
        _make_folder(task.folder)
        halves = _half_maps(task, own, meeting)
        if other not in halves:
            record["alone"] = True
            task.report.role = "alone"
        maps = correct_maps(task, halves)
        record["weight"] = task.report.weight
        for result in maps.values():
            check_map(result, own)
        if other in maps:
            path = task.folder / f"half{other}.mrc"
            write_volume(path, maps[other], pixel_size_angstrom=task.pixel_size_angstrom)
            entry = {"file": f"{task.folder.name}/{path.name}", "bytes": path.stat().st_size}
            record["results"][str(other)] = entry
    except Interrupted:
        raise
    except Exception as error:
        _refuse_or_report(task, error)
        meeting.publish({"fallback": True, "message": task.report.message})
        return _fall_back(task, own)
    meeting.publish(record)
    task.report.action = "network"
    return maps[task.half]


def _alone(task: HalfMapTask, own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correct this half only, as the other call did with its own."""
    task.report.role = "alone"
    try:
        _make_folder(task.folder)
        result = correct_maps(task, {task.half: _own_half(task, own)})[task.half]
        check_map(result, own)
    except Interrupted:
        raise
    except Exception as error:
        _refuse_or_report(task, error)
        return _fall_back(task, own)
    task.report.action = "network"
    return result


def _as_waiter(
    task: HalfMapTask, own: NDArray[np.float32], outcome: Outcome
) -> NDArray[np.float32]:
    task.report.role = "waiter"
    if outcome.record.get("fallback"):
        message = f"the other half's call: {outcome.record.get('message', '')}"
        if task.settings.on_error == "fail":
            raise WorkerFailedError(message)
        task.report.warn(message)
        return _fall_back(task, own)
    task.report.weight = str(outcome.record.get("weight", ""))
    path = task.folder.parent / outcome.record["results"][str(task.half)]["file"]
    try:
        result = read_box(path, task.call.box_size_px)
        check_map(result, own)
    except CryodlError as error:
        _refuse_or_report(task, error)
        return _fall_back(task, own)
    if not task.settings.keep_files:
        with suppress(OSError):
            path.unlink()
    task.report.action = "network"
    return result


def _refuse_or_report(task: HalfMapTask, error: Exception) -> None:
    """Raise what went wrong, or warn of it when RELION's own map may take the place."""
    with suppress(CryodlError, OSError):
        write_text(task.folder / f"failure_half{task.half}.txt", traceback.format_exc())
    if task.settings.on_error == "fail":
        if isinstance(error, CryodlError):
            raise error
        raise CryodlError(
            f"{task.call.star}: the correction failed with {type(error).__name__}: {error}; see "
            f"{task.folder.name}/failure_half{task.half}.txt"
        ) from error
    text = str(error) if isinstance(error, CryodlError) else f"{type(error).__name__}: {error}"
    task.report.warn(f"the correction failed, RELION's own map is used instead: {text}")


def _fall_back(task: HalfMapTask, own: NDArray[np.float32]) -> NDArray[np.float32]:
    task.report.action = "fallback"
    return plain_map(task, own)


def _half_maps(task: HalfMapTask, own: NDArray[np.float32], meeting: Meeting) -> dict[int, HalfMap]:
    """Collect this half's map and, where its inputs exist, the other's."""
    halves = {task.half: _own_half(task, own)}
    call, state = task.call, task.state
    needs_weight = task.settings.directional_weight != "fsc"
    other_unfiltered = _unfiltered(call, meeting.other)
    at_hand = other_unfiltered.is_file() and not state.gradient_refinement
    other_call = None
    needs_own = "relion" in (task.settings.beyond, task.settings.measured)
    needs_arrays = needs_weight or needs_own or not at_hand
    patience = WEIGHTS_PATIENCE_SECONDS if at_hand else PARTNER_PATIENCE_SECONDS
    # They are complete only once the call for them has come.
    if needs_arrays and not state.sequential_halves and meeting.partner_is_here(patience):
        other_call = read_call(f"{call.name.root(meeting.other)}{STAR_SUFFIX}")
    if at_hand:
        volume = read_box(other_unfiltered, call.box_size_px)
    elif other_call is not None:
        volume = unregularised_map(other_call, state, _threads())
    else:
        task.report.warn(
            f"half {meeting.other} is not reconstructed at the same time and RELION wrote no "
            "unfil map: each half is corrected by its own network"
        )
        return halves
    weight = _sampling(other_call) if needs_weight and other_call is not None else None
    wanted = other_call if needs_own else None
    other_own = None if wanted is None else regularised_map(wanted, state, _threads())
    halves[meeting.other] = HalfMap(volume, weight, other_own)
    return halves


def _own_half(task: HalfMapTask, own: NDArray[np.float32]) -> HalfMap:
    volume = unregularised_map(task.call, task.state, _threads())
    return HalfMap(volume, _sampling(task.call), own)


def _sampling(call: ReconstructionCall) -> NDArray[np.float32]:
    return prior_attenuation(
        read_arrays(call)[2],
        box_size_px=call.box_size_px,
        current_size_px=call.current_size_px,
        prior=Prior(call.tau2, call.tau2_fudge),
    )


def _unfiltered(call: ReconstructionCall, half: int) -> Path:
    return Path(f"{call.name.root(half)}_unfil.mrc")


def _fingerprint(call: ReconstructionCall, half: int) -> str:
    """Tell one writing of a half's inputs from another by time and size."""
    for path in (_unfiltered(call, half), Path(f"{call.name.root(half)}{STAR_SUFFIX}")):
        with suppress(OSError):
            status = path.stat()
            return f"{path.name} {status.st_mtime_ns} {status.st_size}"
    return ""


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{folder}: could not be made ({error.strerror}), expected a writable job folder; "
            "free some space or check the permissions"
        ) from error


def _threads() -> int:
    return len(os.sched_getaffinity(0))

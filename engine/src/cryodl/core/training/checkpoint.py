"""The state of a training run on disk: always one whole file, and the one before it."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cryodl.core.io.atomic import atomic_path
from cryodl.errors import CheckpointError

FORMAT = 1
LAST, PREVIOUS, DAMAGED = "last.pt", "previous.pt", "damaged.pt"
_KEYS = frozenset({"format", "fixed", "weights", "optimizer", "step", "epoch", "history"})


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write ``last.pt`` and keep the one before as ``previous.pt``.

    Killed at any moment, this leaves at least one whole file.

    Parameters
    ----------
    folder
        Made if absent.
    state
        Tensors, numbers, texts, and lists and dictionaries of them.

    Returns
    -------
    Path
        ``folder/last.pt``.

    Raises
    ------
    ResourceError
        The disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / LAST
    # torch reports a full disk as a bug of its own, so it writes to memory and we to the disk.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    with atomic_path(last) as temporary:
        temporary.write_bytes(buffer.getbuffer())
        if last.exists():
            _flush(temporary)
            last.replace(folder / PREVIOUS)
    return last


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one checkpoint, on the host.

    Raises
    ------
    CheckpointError
        The file is absent, cut short, or not a checkpoint of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # torch itself does not compare the checksums of tensors
        if broken is not None:
            raise zipfile.BadZipFile(f"checksum of {broken} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise whatever the unpickler trips over
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read ({reason}), expected a checkpoint of cryodl; "
            "use another one or start afresh with --overwrite"
        ) from error
    if not isinstance(state, dict) or not state.keys() >= _KEYS or state["format"] != FORMAT:
        version = state.get("format") if isinstance(state, dict) else None
        raise CheckpointError(
            f"{path}: found format {version!r}, expected a training state of format {FORMAT}; "
            "use another file or start afresh with --overwrite"
        )
    return state


def read_newest(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """Return the newest readable checkpoint of a folder and its path, None if there is none.

    A damaged ``last.pt`` is set aside as ``damaged.pt``, lest it replace the good one before it.

    Raises
    ------
    CheckpointError
        There are checkpoints, but none can be read.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    failure: CheckpointError | None = None
    for path in found:
        try:
            state = read_checkpoint(path)
        except CheckpointError as error:
            failure = failure or error
            continue
        if failure is not None:
            with contextlib.suppress(FileNotFoundError):  # another process may have done it
                (folder / LAST).replace(folder / DAMAGED)
        return state, path
    if failure is not None:
        raise failure
    return None


def check_settings(state: Mapping[str, Any], fixed: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint of other settings.

    Raises
    ------
    CheckpointError
        Names the first setting that differs.
    """
    saved = state["fixed"]
    for name in sorted(set(saved) | set(fixed)):
        # Tuples come back as they were, and absent settings count as None.
        if saved.get(name) != fixed.get(name):
            raise CheckpointError(
                f"{path}: found {name.replace('_', ' ')} {saved.get(name)!r}, expected "
                f"{fixed.get(name)!r} as asked for now; resume with the settings of the first run "
                "or start afresh with --overwrite"
            )


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a folder and what a killed run left half-written."""
    for name in (LAST, PREVIOUS, DAMAGED):
        (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of a run that was killed while writing."""
    for path in folder.glob(".cryodl-*"):
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

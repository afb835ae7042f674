"""The state of an averaging run between its rounds, on the disk so that it can go on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.atomic import atomic_path, write_json
from cryodl.errors import InputError


@dataclass
class Round:
    """What one round has found.

    Attributes
    ----------
    number : int
        0 is the start.
    rotations, shifts_px : (N, 3, 3), (N, 3)
        Poses in the frame of the boxes.
    scores, margins, confidence, spread_degrees : (N,)
        Of the poses; zeros at the start.
    halves : (N,) int
        1 or 2.
    classes : (N,) int
        Number of the reference that each is averaged with, from 1 to K.
    class_rotations, class_shifts_px : (K, N, 3, 3), (K, N, 3)
        Poses against each of the K references.
    half1, half2, average : (K, n, n, n) float32
        Maps of these poses, one a class.
    fsc : (K, k)
        Corrected for the mask.
    resolution_angstrom : float
        Where that of the best class falls below 0.143.
    change_degrees, score : float
        Medians of the change against the round before, and of the scores.
    """

    number: int
    rotations: NDArray[np.float64]
    shifts_px: NDArray[np.float64]
    scores: NDArray[np.float64]
    margins: NDArray[np.float64]
    confidence: NDArray[np.float64]
    spread_degrees: NDArray[np.float64]
    halves: NDArray[np.int64]
    classes: NDArray[np.int64]
    class_rotations: NDArray[np.float64]
    class_shifts_px: NDArray[np.float64]
    half1: NDArray[np.float32]
    half2: NDArray[np.float32]
    average: NDArray[np.float32]
    fsc: NDArray[np.float64]
    resolution_angstrom: float
    change_degrees: float
    facts: dict[str, float] = field(default_factory=dict)


def save_round(folder: Path, state: Round) -> None:
    """Write a round; the small file that makes it count comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name, value in vars(state).items() if isinstance(value, np.ndarray)}
    with atomic_path(folder / "state.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    rest = {k: v for k, v in asdict(state).items() if k not in arrays}
    write_json(folder / "round.json", rest)


def load_round(folder: Path) -> Round:
    """Read a round back.

    Raises
    ------
    InputError
        Its files are damaged.
    """
    try:
        rest = json.loads((folder / "round.json").read_text(encoding="utf-8"))
        with np.load(folder / "state.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Round(**rest, **arrays)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{folder}: cannot be read ({error}), expected a round of this run; remove that folder "
            "or use --overwrite"
        ) from None


def finished_rounds(folder: Path) -> list[Path]:
    """Return the folders of complete rounds in order, without gaps."""
    found = []
    for number in range(len(list(folder.glob("round*"))) + 1):
        path = round_folder(folder, number)
        if not (path / "round.json").is_file():
            break
        found.append(path)
    return found


def round_folder(folder: Path, number: int) -> Path:
    """Return the folder of a round."""
    return folder / f"round{number:03d}"

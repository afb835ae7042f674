"""What a training, a clustering or a selection left behind, for the commands that follow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.read import read_particles
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.data import open_boxes
from cryodl.methods.autoencoder3d.recordings import Recordings


@dataclass(frozen=True)
class Trained:
    """The subvolumes of a training, their codes and poses; one row a particle.

    Attributes
    ----------
    folder : Path
        Of the training.
    particles : ParticleSet
        As written.
    names : list of str
        Of the particles in the training.
    boxes, posed : (N, n, n, n) float16
        As recorded, and in the standard pose.
    codes : (N, d) float32
        Of the network.
    rotations, centres_px : (N, 3, 3) and (N, 3) float64
        Pose in the frame of the box.
    frames : (N, 3, 3) float64
        A in the frame of the tomogram.
    recordings : Recordings
        What was measured.
    account : dict
        ``box_size_px``, ``pixel_size_angstrom`` (of the network's box), ``pose``, ``tomograms``,
        ``dark``.
    """

    folder: Path
    particles: ParticleSet
    names: list[str]
    boxes: NDArray[np.float32]
    posed: NDArray[np.float32]
    codes: NDArray[np.float32]
    rotations: NDArray[np.float64]
    centres_px: NDArray[np.float64]
    frames: NDArray[np.float64]
    recordings: Recordings
    account: dict[str, Any]

    @property
    def cut(self) -> NDArray[np.float64] | None:
        """From the frames of the boxes to that of the tomogram, (N, 3, 3); None if they agree."""
        turns = self.frames @ np.swapaxes(self.rotations, 1, 2)
        return None if np.allclose(turns, np.eye(3), atol=1e-6) else turns


def read_trained(folder: Path) -> Trained:
    """Read what `autoencoder3d train` wrote.

    Raises
    ------
    InputError
        The folder is not that of a finished training.
    """
    check_run(folder, "autoencoder3d train")
    account = read_json(folder / "subvolumes.json")
    try:
        with np.load(folder / "codes.npz") as stored:
            content = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder / 'codes.npz'}: cannot be read ({error}), expected the codes of "
            "autoencoder3d train; train again"
        ) from error
    rows = content["rows"]
    ranges = [(float(a), float(b), float(c)) for a, b, c in account["ranges"]]
    return Trained(
        folder,
        read_particles(folder / "particles.star", require_images=False),
        [str(name) for name in content["names"]],
        _rows(open_boxes(folder / "boxes.npy"), rows),
        _rows(open_boxes(folder / "posed.npy"), rows),
        content["codes"],
        content["rotations"],
        content["centres_px"],
        content["frames"],
        Recordings(ranges, content["recordings"]),
        account,
    )


def _rows(boxes: NDArray, rows: NDArray[np.int64]) -> NDArray:
    """Return some boxes, still mapped when they are all."""
    return boxes if len(rows) == len(boxes) else boxes[rows]


def check_run(folder: Path, command: str) -> dict[str, Any]:
    """Return the results of a finished run of a command.

    Raises
    ------
    InputError
        No folder, not finished, or of another command.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: found no such folder, expected one of cryodl {command}")
    if not (folder / "result.json").is_file():
        raise InputError(
            f"{folder}: found no result.json, expected a finished run of cryodl {command}; finish "
            "it with --resume"
        )
    result = read_json(folder / "result.json")
    if result.get("command") != command:
        raise InputError(
            f"{folder}: found a run of {result.get('command')}, expected one of {command}; give "
            "its folder"
        )
    return result


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        Missing, damaged, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}), expected an object; correct it or make it "
            "again"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: found a {type(found).__name__}, expected a JSON object")
    return found

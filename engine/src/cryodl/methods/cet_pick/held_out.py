"""Labels kept from training, to choose the threshold and to say how good the picks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryodl.core.evaluation.matching import match_points
from cryodl.methods.cet_pick.calibration import LEAST_SCORE, Calibration, Control, calibrate
from cryodl.methods.cet_pick.data import LabelledTomogram
from cryodl.methods.cet_pick.inputs import CheckedTomogram
from cryodl.methods.cet_pick.model import PickingNetwork
from cryodl.methods.cet_pick.peaks import find_peaks
from cryodl.methods.cet_pick.predict import heat_map
from cryodl.methods.cet_pick.step import PickingStep
from cryodl.methods.cet_pick.tomogram import WorkingTomogram

LEAST_LABELS = 3
DISTANCE_OF_DIAMETER = 0.6
_MATCH_OF_DIAMETER = 0.5


@dataclass(frozen=True)
class HeldOut:
    """A part of one tomogram that is not trained on.

    Attributes
    ----------
    tomogram : WorkingTomogram
        The tomogram.
    columns : (int, int)
        First and stop column of the part.
    points_xyz : list of ndarray
        Of each kind, its labels there, in working voxels with slices not merged.
    trained_xyz : list of ndarray
        Of each kind, the labels of this tomogram that are trained on.
    """

    tomogram: WorkingTomogram
    columns: tuple[int, int]
    points_xyz: list[NDArray[np.float64]]
    trained_xyz: list[NDArray[np.float64]]


def split_labels(
    checked: Sequence[CheckedTomogram], kinds: Sequence[str], fraction: float, crop_px: int
) -> tuple[list[LabelledTomogram], list[HeldOut]]:
    """Return what is trained on, and what is held out at the far end of each tomogram.

    Nothing is held out of a tomogram too small or with too few labels to spare them.
    """
    training, held = [], []
    for entry in checked:
        width = entry.tomogram.shape[2]
        cut = _cut(entry.points_xyz, fraction, width, crop_px)
        of_kind = [
            entry.points_xyz[[k == kind for k in entry.kinds]].reshape(-1, 3) for kind in kinds
        ]
        kept = [entry.tomogram.heat_map_points(p[p[:, 0] < cut]) for p in of_kind]
        training.append(LabelledTomogram(entry.tomogram, kept, (0, cut)))
        if cut < width:
            apart = [p[p[:, 0] >= cut] for p in of_kind]
            seen = [p[p[:, 0] < cut] for p in of_kind]
            held.append(HeldOut(entry.tomogram, (cut, width), apart, seen))
    return training, held


def _cut(points_xyz: NDArray[np.float64], fraction: float, width: int, crop_px: int) -> int:
    """Return the even column from which labels are held out; the width for none."""
    wanted = max(LEAST_LABELS, round(fraction * len(points_xyz)))
    if fraction == 0 or len(points_xyz) < 3 * LEAST_LABELS:
        return width
    columns = np.sort(points_xyz[:, 0])
    cut = int(0.5 * (columns[-wanted] + columns[-wanted - 1]))
    cut -= cut % 2
    return cut if crop_px <= cut < width - 2 else width


def calibrate_kinds(
    network: PickingNetwork,
    held: Sequence[HeldOut],
    bbox_px: float,
    device: torch.device,
    fully_labelled: bool,
    with_control: bool = False,
) -> list[Calibration]:
    """Return, for each kind, what the held-out labels say.

    The control is what is picked in the same tomograms with their grey values turned over: it
    takes one more pass of the network.
    """
    kinds = len(held[0].points_xyz)
    found = [_scores(network, part, bbox_px, device) for part in held]
    controls = _control_scores(network, held, bbox_px, device) if with_control else [None] * kinds
    return [
        calibrate(
            *(np.concatenate([part[kind][which] for part in found]) for which in range(3)),
            control=controls[kind],
            fully_labelled=fully_labelled,
        )
        for kind in range(kinds)
    ]


def _control_scores(
    network: PickingNetwork, held: Sequence[HeldOut], bbox_px: float, device: torch.device
) -> list[Control]:
    """Return, for each kind, scores of picks where no particle can be, and their weight.

    They come from whole tomograms, as more of them tell more, and weigh as little as the held-out
    part is of the whole.
    """
    found: list[list[NDArray[np.float64]]] = []
    for part in held:
        maps = heat_map(network, part.tomogram, device, inverted=True)
        found.append([_picked(scores, part, bbox_px)[1] for scores in maps])
    apart = sum(part.columns[1] - part.columns[0] for part in held)
    weight = apart / sum(part.tomogram.shape[2] for part in held)
    return [Control(np.concatenate(kind), weight) for kind in zip(*found, strict=True)]


def _picked(
    scores: NDArray[np.float32], part: HeldOut, bbox_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    distance = DISTANCE_OF_DIAMETER * bbox_px
    return find_peaks(
        scores, part.tomogram.spacing_zyx, distance_px=distance, threshold=LEAST_SCORE
    )


def _scores(
    network: PickingNetwork, part: HeldOut, bbox_px: float, device: torch.device
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return, for each kind, scores of held-out picks, held-out labels and trained labels."""
    maps = heat_map(network, part.tomogram, device)
    found = []
    for kind, scores in enumerate(maps):
        points, values = _picked(scores, part, bbox_px)
        labelled = [
            _at_labels(points, values, truth, bbox_px)
            for truth in (part.points_xyz[kind], part.trained_xyz[kind])
        ]
        apart = (points[:, 0] >= part.columns[0]) & (points[:, 0] < part.columns[1])
        found.append((values[apart], labelled[0], labelled[1]))
    return found


def _at_labels(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    labels: NDArray[np.float64],
    bbox_px: float,
) -> NDArray[np.float64]:
    """Return the score of the pick at each label, 0 where there is none."""
    picks, matched = match_points(points, labels, _MATCH_OF_DIAMETER * bbox_px)
    found = np.zeros(len(labels))
    found[matched] = values[picks]
    return found


@dataclass(frozen=True)
class Validation:
    """Called after every epoch: the expected error of the picks on held-out labels."""

    held: list[HeldOut]
    bbox_px: float
    fully_labelled: bool

    def __call__(self, step_module: nn.Module, epoch: int) -> dict[str, float]:
        """Return expected recall, precision and 1 - F1, means over the kinds."""
        network = cast(PickingStep, step_module).network
        device = next(step_module.parameters()).device
        found = calibrate_kinds(network, self.held, self.bbox_px, device, self.fully_labelled)
        network.train(step_module.training)
        return {
            "recall": float(np.mean([c.recall for c in found])),
            "precision": float(np.mean([c.precision for c in found])),
            "expected_error": 1 - float(np.mean([c.f1 for c in found])),
            "threshold": float(np.mean([c.threshold for c in found])),
        }

"""What a round of averaging makes of poses: maps of every class, in one frame, and their FSC."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.settings import SearchSettings
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.run.folder import RunFolder
from cryodl.methods.selfalign.averaging import (
    STRICT,
    HalfMaps,
    agreement,
    average_halves,
    band_of,
    close_mask,
)
from cryodl.methods.selfalign.config import RefineConfig
from cryodl.methods.selfalign.frames import moved_poses, order_of_classes, turn_between_halves
from cryodl.methods.selfalign.inputs import CheckedParticles
from cryodl.methods.selfalign.rounds import Round

STRICT_ROUNDS = 3


@dataclass(frozen=True)
class Loop:
    """What stays the same over the rounds."""

    config: RefineConfig
    run: RunFolder
    checked: CheckedParticles
    halves: NDArray[np.int64]
    mask: NDArray[np.float32] | None
    settings: SearchSettings
    device: str
    references: list[NDArray[np.float32]]

    @property
    def is_split_by_rank(self) -> bool:
        """True where classes have no references of their own: the first round sorts by score."""
        return self.config.class_count > max(1, len(self.references))

    @property
    def pixel(self) -> float:
        """Pixel size in Å."""
        return self.checked.pixel_size_angstrom

    @property
    def box(self) -> int:
        """Box size in px."""
        return self.checked.particles.box_size_px


def measured(loop: Loop, state: Round, kept: NDArray[np.bool_]) -> Round:
    """Average the poses of a round and measure what the halves agree on."""
    state = _averaged(loop, state, kept)
    moved = _in_one_frame(loop, state)
    if moved is not None:
        state = _averaged(loop, moved, kept)
    curves, resolutions, halves = [], [], []
    for index in range(loop.config.class_count):
        maps = HalfMaps(state.half1[index], state.half2[index], state.average[index])
        mask = loop.mask
        if mask is None and state.number > STRICT_ROUNDS:
            mask = close_mask(maps.average, loop.pixel)
        found, _ = agreement(maps, mask, loop.pixel)
        curves.append(found.corrected)
        resolutions.append(found.resolution_angstrom)
        halves.append(float(band_of(found.unmasked, STRICT, 1)))
    facts = {
        "kept": float(kept.sum()),
        "score": float(np.median(state.scores)),
        "unmasked_shell_half": max(halves),
    }
    if loop.config.class_count > 1:
        for index, resolution in enumerate(resolutions, 1):
            facts[f"class{index}_particles"] = float((state.classes == index).sum())
            facts[f"class{index}_resolution"] = resolution
    state = replace(state, fsc=np.stack(curves), resolution_angstrom=min(resolutions), facts=facts)
    loop.run.metrics(
        step=state.number,
        resolution=state.resolution_angstrom,
        change_degrees=state.change_degrees,
        **state.facts,
    )
    loop.run.log(
        f"round {state.number}: {state.resolution_angstrom:.1f} A, median score "
        f"{state.facts['score']:.2f}, turned by {state.change_degrees:.2f} degrees"
    )
    return state


def _averaged(loop: Loop, state: Round, kept: NDArray[np.bool_]) -> Round:
    """Average each class; one that is empty in a half set keeps the maps that it had."""
    maps: list[HalfMaps] = []
    for index in range(loop.config.class_count):
        own = kept & (state.classes == index + 1)
        filled = all((own & (loop.halves == half)).any() for half in (1, 2))
        if filled or (not index and not len(state.average)):
            poses = (state.rotations, state.shifts_px)
            maps.append(average_halves(loop.checked, *poses, loop.halves, own, loop.device))
        elif len(state.average):
            loop.run.log(f"class {index + 1} is empty in a half set: its maps stay as they were")
            maps.append(HalfMaps(state.half1[index], state.half2[index], state.average[index]))
        else:
            maps.append(maps[0])
    names = ("half1", "half2", "average")
    return replace(state, **{name: np.stack([getattr(m, name) for m in maps]) for name in names})


def _in_one_frame(loop: Loop, state: Round) -> Round | None:
    """Bring half 2 into the frame of half 1, class by class; None where it is there already."""
    rows = np.flatnonzero(loop.halves == 2)
    state = replace(
        state,
        classes=np.array(state.classes),
        class_rotations=np.array(state.class_rotations),
        class_shifts_px=np.array(state.class_shifts_px),
        half2=np.array(state.half2),
    )
    moved = False
    if loop.is_split_by_rank and state.number:
        order = order_of_classes(state.half1, state.half2, loop.pixel)
        if (order != np.arange(len(order))).any():
            moved = True
            state.classes[rows] = order[state.classes[rows] - 1] + 1
            back = np.argsort(order)
            state.half2[:] = state.half2[back]
            for values in (state.class_rotations, state.class_shifts_px):
                values[:, rows] = values[back][:, rows]
    for index in range(loop.config.class_count):
        found = turn_between_halves(
            state.half1[index],
            state.half2[index],
            loop.settings,
            everywhere=state.number == 0,
            device=loop.device,
        )
        if found is None:
            continue
        moved = True
        turn, shift = found
        loop.run.log(
            f"half 2 turned by {float(angular_distance_degrees(turn, np.eye(3))):.1f} degrees and "
            f"moved by {np.linalg.norm(shift):.1f} px onto half 1"
        )
        state.class_rotations[index, rows], state.class_shifts_px[index, rows] = moved_poses(
            state.class_rotations[index, rows], state.class_shifts_px[index, rows], turn, shift
        )
    if not moved:
        return None
    own = (state.classes - 1, np.arange(len(state.classes)))
    return replace(
        state, rotations=state.class_rotations[own], shifts_px=state.class_shifts_px[own]
    )

"""The work of ``cryodl selfalign refine``: the gold-standard averaging loop."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.spectra import FourierPoints
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices, limit_threads
from cryodl.errors import InputError
from cryodl.methods.selfalign.align import (
    align_batches,
    choose_work,
    measured_power,
)
from cryodl.methods.selfalign.averaging import (
    LENIENT,
    STRICT,
    assign_halves,
    band_of,
    default_mask,
    first_reference,
    kept_by_score,
    reference_of_half,
)
from cryodl.methods.selfalign.config import RefineConfig
from cryodl.methods.selfalign.inputs import (
    box_frame,
    check_map,
    check_mask,
    check_particles,
    search_settings,
)
from cryodl.methods.selfalign.measured import STRICT_ROUNDS, Loop, measured
from cryodl.methods.selfalign.predict import Proposer, train_proposer
from cryodl.methods.selfalign.refine_report import write_results
from cryodl.methods.selfalign.rounds import (
    Round,
    finished_rounds,
    load_round,
    round_folder,
    save_round,
)
from cryodl.methods.selfalign.start import start_from_particles

_LEAST_SHELL = 3
_SETTLED_SHARE = 0.02
_OTHER_DEGREES = 20.0


def run_refine(config: RefineConfig, run: RunFolder) -> None:
    """Average particles, half by half, and write poses, maps and resolution.

    Raises
    ------
    InputError
        Particles, reference and mask that do not fit together.
    """
    limit_threads()
    loop = _prepared(config, run)
    folder = run.path("rounds")
    done = finished_rounds(folder) if config.resume else []
    if not config.resume:
        shutil.rmtree(folder, ignore_errors=True)
    rounds = [load_round(path) for path in done]
    if rounds:
        run.log(f"resumed after round {rounds[-1].number}")
    else:
        rounds.append(_start(loop))
        save_round(round_folder(folder, 0), rounds[0])
    while len(rounds) <= config.iterations and not _settled(rounds, loop):
        rounds.append(_round(loop, rounds))
        save_round(round_folder(folder, rounds[-1].number), rounds[-1])
    rounds[-1] = _judged(loop, rounds)
    write_results(loop.config, run, loop.checked, rounds, loop.mask)


def _prepared(config: RefineConfig, run: RunFolder) -> Loop:
    checked = check_particles(config, config.star, run)
    particles = checked.particles
    box, pixel = particles.box_size_px, checked.pixel_size_angstrom
    least = 4 * config.class_count
    if len(particles) < least:
        raise InputError(
            f"{config.star}: {len(particles)} particles, expected at least {least} and better "
            f"{25 * least}; give more"
        )
    references = []
    if config.reference is not None:
        references.append(check_map(config.reference, "reference", box, pixel))
    elif config.mode != "refine" and config.symmetry.strip().upper() != "C1":
        raise InputError(
            f"--symmetry: found {config.symmetry} without --reference, expected C1, for nothing "
            "says where the axes are; refine with C1, turn the average upright, and give it"
        )
    for path in config.other_references or []:
        references.append(check_map(path, "other-references", box, pixel))
    halves = assign_halves(particles.half_sets, particles.tomograms, config.seed)
    loop = Loop(
        config=config,
        run=run,
        checked=checked,
        halves=halves,
        mask=check_mask(config.mask, box, pixel),
        settings=search_settings(config, box),
        device=choose_devices(config.devices).torch_device(),
        references=references,
    )
    counts = [(halves == half).sum() for half in (1, 2)]
    run.log(f"{len(particles)} particles of {box} px in halves of {counts[0]} and {counts[1]}")
    return loop


def _start(loop: Loop) -> Round:
    """Return round 0: poses as they are in the file, or found without a reference."""
    rotations, shifts = (np.array(values) for values in box_frame(loop.checked.particles))
    kept = np.ones(len(loop.halves), dtype=bool)
    if not loop.references and loop.config.mode != "refine":
        kept[:] = False
        for half in (1, 2):
            members = np.flatnonzero(loop.halves == half)
            chosen, found = start_from_particles(
                loop.checked,
                members,
                loop.settings,
                loop.config.seed + half,
                loop.config.start_templates,
                loop.config.start_particles,
                lambda part: loop.run.progress(0.1 * part, "looking for a start"),
            )
            loop.run.log(
                f"half {half}: {len(chosen)} particles aligned to one of them, median log "
                f"likelihood ratio {np.median(found.score):.1f}"
            )
            good = found.score >= np.quantile(found.score, 0.3)
            rotations[chosen], shifts[chosen] = found.rotations, found.shifts_px
            kept[chosen[good]] = True
    count, empty = loop.config.class_count, np.zeros(len(kept))
    blank = Round(
        0, rotations, shifts, empty, empty, empty, empty, loop.halves,
        np.ones(len(kept), dtype=np.int64), np.stack([rotations] * count),
        np.stack([shifts] * count), *(np.zeros(0, dtype=np.float32),) * 3, np.zeros(0),
        loop.box * loop.pixel, 180.0,
    )  # fmt: skip
    if not loop.references:
        return measured(loop, blank, kept)
    lowpass = loop.config.initial_lowpass
    maps = [first_reference(one, lowpass, loop.pixel) for one in loop.references]
    filtered = np.stack(maps if len(maps) == count else maps[:1] * count)
    curve = (np.arange(loop.box // 2 + 1) <= band_shell_of(loop, lowpass)).astype(float)
    return replace(
        blank, half1=filtered, half2=filtered, average=filtered, fsc=np.stack([curve] * count),
        facts={"kept": float(len(kept))},
    )  # fmt: skip


def band_shell_of(loop: Loop, resolution_angstrom: float) -> int:
    """Return the shell of a resolution, at least 3."""
    shell = int(loop.box * loop.pixel / resolution_angstrom)
    return int(np.clip(shell, _LEAST_SHELL, loop.box // 2 - 1))


def _round(loop: Loop, rounds: list[Round]) -> Round:
    """Align each half to its own averages, and average again."""
    last, number = rounds[-1], len(rounds)
    strict = number <= STRICT_ROUNDS
    first = number == 1 and bool(loop.references)
    threshold = LENIENT if first or not strict else STRICT
    # One band for all classes, or the sharpest would draw particles for that alone.
    shell = min(band_of(curve, threshold, _LEAST_SHELL) for curve in last.fsc)
    if first:
        shell = band_shell_of(loop, loop.config.initial_lowpass)
    everywhere = number <= loop.config.global_iterations and loop.config.mode != "refine"
    step = _local_step(rounds, shell, loop)
    mode = "refine" if not everywhere else loop.config.mode
    where = "all rotations" if everywhere else f"{step:.1f} degrees about the last pose"
    loop.run.log(f"round {number}: {where}, band up to {loop.box * loop.pixel / shell:.1f} A")
    points = FourierPoints(loop.box, shell, loop.device)
    power = measured_power(loop.checked, points)
    settings = replace(
        loop.settings,
        local_degrees=step,
        coarse_shell=min(loop.settings.coarse_shell, shell),
        finest_degrees=float(np.clip(step / 4, 0.5, 1.5)),
    )
    by_rank = number == 1 and loop.is_split_by_rank
    found = []
    for index in range(1 if by_rank else loop.config.class_count):
        parts = []
        for half, maps in ((1, last.half1), (2, last.half2)):
            members = np.flatnonzero(loop.halves == half)
            density = (
                maps[index] if first else reference_of_half(maps[index], last.fsc[index], shell)
            )
            mask = loop.mask if loop.mask is not None else default_mask(loop.box)
            aligner = Aligner(MapReference(density, points, mask), settings)
            proposer = _network(loop, density, half) if mode == "net" else None
            start = (last.class_rotations[index], last.class_shifts_px[index])
            parts.append(_aligned(loop, aligner, mode, proposer, members, points, power, start))
        found.append(_in_order(parts, loop.halves))
    state = _chosen(loop, replace(last, number=number), found, by_rank)
    change = angular_distance_degrees(last.rotations, state.rotations, loop.config.symmetry)
    state = replace(state, change_degrees=float(np.median(change)))
    state = measured(loop, state, kept_by_score(state.scores, loop.halves, loop.config.keep))
    state.facts["changed_class"] = float((last.classes != state.classes).mean())
    return state


def _in_order(parts: list[Alignment], halves: NDArray[np.int64]) -> Alignment:
    """Put the poses of half 1 and half 2 into the order of the particles."""
    rows = np.argsort(np.concatenate([np.flatnonzero(halves == half) for half in (1, 2)]))
    joined = Alignment.joined(parts)
    return Alignment(*(values[rows] for values in vars(joined).values()))


def _chosen(loop: Loop, state: Round, found: list[Alignment], by_rank: bool) -> Round:
    """Give each particle the class of its best score; by rank where there is one reference."""
    count, total = loop.config.class_count, len(loop.halves)
    if by_rank:
        classes = _ranks(found[0].score, loop.halves, count)
        found = found * count
    else:
        classes = np.argmax([one.score for one in found], axis=0)
    values = [
        np.stack(column)[classes, np.arange(total)]
        for column in zip(*(vars(f).values() for f in found))
    ]
    rotations, shifts, scores, margins, confidence, spread = values
    return replace(
        state,
        rotations=rotations, shifts_px=shifts, scores=scores, margins=margins,
        confidence=confidence, spread_degrees=spread, classes=classes + 1,
        class_rotations=np.stack([one.rotations for one in found]),
        class_shifts_px=np.stack([one.shifts_px for one in found]),
    )  # fmt: skip


def _ranks(scores: NDArray[np.float64], halves: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Sort the particles of each half into as many equal groups, the best scores first.

    What another structure is fits the common reference less, so that the groups differ.
    """
    groups = np.zeros(len(scores), dtype=np.int64)
    for half in (1, 2):
        members = np.flatnonzero(halves == half)
        order = members[np.argsort(-scores[members], kind="stable")]
        groups[order] = np.arange(len(order)) * count // len(order)
    return groups


def _judged(loop: Loop, rounds: list[Round]) -> Round:
    """Compare last poses that come from a local search with the best of all others.

    A search about one pose knows no other, and so not how sure it is.
    """
    last = rounds[-1]
    if last.number <= loop.config.global_iterations and loop.config.mode != "refine":
        return last
    loop.run.log("the last poses are compared with the best of all others")
    shell = min(band_of(curve, LENIENT, _LEAST_SHELL) for curve in last.fsc)
    points = FourierPoints(loop.box, shell, loop.device)
    power = measured_power(loop.checked, points)
    settings = replace(loop.settings, coarse_shell=min(loop.settings.coarse_shell, shell))
    mask = loop.mask if loop.mask is not None else default_mask(loop.box)
    margins, confidence = np.array(last.margins), np.array(last.confidence)
    for index, half in product(range(loop.config.class_count), (1, 2)):
        rows = np.flatnonzero((loop.halves == half) & (last.classes == index + 1))
        if len(rows) == 0:
            continue
        density = (last.half1 if half == 1 else last.half2)[index]
        density = reference_of_half(density, last.fsc[index], shell)
        aligner = Aligner(MapReference(density, points, mask), settings)
        poses = (last.rotations, last.shifts_px)
        own = _aligned(loop, aligner, "refine", None, rows, points, power, poses)
        best = _aligned(loop, aligner, "auto", None, rows, points, power, poses)
        symmetry = loop.config.symmetry
        apart = angular_distance_degrees(own.rotations, best.rotations, symmetry) >= _OTHER_DEGREES
        margins[rows] = np.where(apart, own.score - best.score, best.margin)
        ahead = 0.5 * (np.maximum(own.score, 0) ** 2 - np.maximum(best.score, 0) ** 2)
        sure = 1 / (1 + np.exp(np.clip(-ahead, -50, 50)))
        confidence[rows] = np.where(apart, sure, best.confidence)
    return replace(last, margins=margins, confidence=confidence)


def _aligned(
    loop: Loop,
    aligner: Aligner,
    mode: str,
    proposer: Proposer | None,
    members: NDArray[np.integer],
    points: FourierPoints,
    power: NDArray[np.float32],
    start: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Alignment:
    work = choose_work(aligner, mode, loop.checked, proposer)
    if mode == "refine":

        def work(seen, chosen, volumes):  # type: ignore[no-untyped-def]
            poses = {"rotations": start[0][chosen], "shifts_px": start[1][chosen]}
            return aligner.align(seen, "refine", **poses)

    return align_batches(
        loop.checked,
        members,
        points,
        power,
        work,
        loop.config.batch_size,
        lambda part: loop.run.progress(0.0 + part * 0.99, "aligning"),
    )


def _local_step(rounds: list[Round], shell: int, loop: Loop) -> float:
    """Return the first step of a local search: three times the last change, or the resolution."""
    smallest = np.rad2deg(1 / (np.pi * shell * 0.6))
    last = rounds[-1].change_degrees
    wanted = 3 * last if len(rounds) > 2 else 8.0
    return float(np.clip(wanted, max(smallest, 1.0), 8.0))


def _settled(rounds: list[Round], loop: Loop) -> bool:
    """Return whether two rounds in a row gained nothing."""
    if len(rounds) < max(4, loop.config.global_iterations + 3):
        return False
    bands = [max(band_of(curve, LENIENT, 1) for curve in one.fsc) for one in rounds[-3:]]
    still = all(
        one.change_degrees < 1.0 and one.facts.get("changed_class", 0.0) < _SETTLED_SHARE
        for one in rounds[-2:]
    )
    return still and max(bands[1:]) <= bands[0]


def _network(loop: Loop, density: NDArray[np.float32], half: int) -> Proposer:
    """Train a network on the average of one half, for that half alone."""
    members = np.flatnonzero(loop.halves == half)[:32]
    volumes, transfers = loop.checked.read(members)
    return train_proposer(
        density,
        volumes,
        transfers,
        steps=loop.config.train_steps,
        seed=loop.config.seed + half,
        symmetry=loop.config.symmetry,
        pixel_size_angstrom=loop.pixel,
        max_shift_px=loop.settings.max_shift_px,
        device=loop.device,
        log=loop.run.log,
    )

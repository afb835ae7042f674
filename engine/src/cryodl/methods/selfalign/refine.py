"""The work of ``cryodl selfalign refine``: the gold-standard averaging loop."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner, Alignment, SearchSettings
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.rotation_grid import rotation_vectors_to_matrices
from cryodl.core.alignment.spectra import FourierPoints, observe
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices, limit_threads
from cryodl.errors import InputError
from cryodl.methods.selfalign.align import (
    align_batches,
    choose_work,
    measured_power,
    search_settings,
)
from cryodl.methods.selfalign.averaging import (
    LENIENT,
    STRICT,
    agreement,
    assign_halves,
    average_halves,
    band_of,
    close_mask,
    default_mask,
    first_reference,
    kept_by_score,
    reference_of_half,
)
from cryodl.methods.selfalign.config import RefineConfig
from cryodl.methods.selfalign.inputs import (
    CheckedParticles,
    box_frame,
    check_map,
    check_mask,
    check_particles,
)
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

_STRICT_ROUNDS = 3
_LEAST_SHELL = 3
_SAME_FRAME_DEGREES, _SAME_FRAME_PX = 0.5, 0.1


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

    @property
    def pixel(self) -> float:
        """Pixel size in Å."""
        return self.checked.pixel_size_angstrom

    @property
    def box(self) -> int:
        """Box size in px."""
        return self.checked.particles.box_size_px


def run_refine(config: RefineConfig, run: RunFolder) -> None:
    """Average particles, half by half, and write poses, maps and resolution.

    Raises
    ------
    InputError
        Particles, reference and mask that do not fit together.
    """
    limit_threads()
    loop, reference = _prepared(config, run)
    folder = run.path("rounds")
    done = finished_rounds(folder) if config.resume else []
    if not config.resume:
        shutil.rmtree(folder, ignore_errors=True)
    rounds = [load_round(path) for path in done]
    if rounds:
        run.log(f"resumed after round {rounds[-1].number}")
    else:
        rounds.append(_start(loop, reference))
        save_round(round_folder(folder, 0), rounds[0])
    while len(rounds) <= config.iterations and not _settled(rounds, loop):
        rounds.append(_round(loop, rounds, reference))
        save_round(round_folder(folder, rounds[-1].number), rounds[-1])
    write_results(loop.config, run, loop.checked, rounds, loop.mask)


def _prepared(config: RefineConfig, run: RunFolder) -> tuple[Loop, NDArray[np.float32] | None]:
    checked = check_particles(config, config.star, run)
    particles = checked.particles
    box, pixel = particles.box_size_px, checked.pixel_size_angstrom
    if len(particles) < 4:
        raise InputError(
            f"{config.star}: {len(particles)} particles, expected at least 4 and better 100; give "
            "more"
        )
    reference = None
    if config.reference is not None:
        reference = check_map(config.reference, "reference", box, pixel)
    elif config.mode != "refine" and config.symmetry.strip().upper() != "C1":
        raise InputError(
            f"--symmetry: found {config.symmetry} without --reference, expected C1, for nothing "
            "says where the axes are; refine with C1, turn the average upright, and give it"
        )
    halves = assign_halves(particles.half_sets, particles.tomograms, config.seed)
    loop = Loop(
        config=config,
        run=run,
        checked=checked,
        halves=halves,
        mask=check_mask(config.mask, box, pixel),
        settings=search_settings(config, box),
        device=choose_devices(config.devices).torch_device(),
    )
    counts = [(halves == half).sum() for half in (1, 2)]
    run.log(f"{len(particles)} particles of {box} px in halves of {counts[0]} and {counts[1]}")
    return loop, reference


def _start(loop: Loop, reference: NDArray[np.float32] | None) -> Round:
    """Return round 0: poses as they are in the file, or found without a reference."""
    rotations, shifts = (np.array(values) for values in box_frame(loop.checked.particles))
    kept = np.ones(len(loop.halves), dtype=bool)
    if reference is None and loop.config.mode != "refine":
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
    empty = np.zeros(len(kept))
    blank = Round(
        0, rotations, shifts, empty, empty, empty, empty, loop.halves,
        *(np.zeros(0, dtype=np.float32),) * 3, np.zeros(0), loop.box * loop.pixel, 180.0,
    )  # fmt: skip
    if reference is not None:
        filtered = first_reference(reference, loop.config.initial_lowpass, loop.pixel)
        shell = band_shell_of(loop, loop.config.initial_lowpass)
        curve = (np.arange(loop.box // 2 + 1) <= shell).astype(float)
        return replace(
            blank, half1=filtered, half2=filtered, average=filtered, fsc=curve,
            facts={"kept": float(len(kept))},
        )  # fmt: skip
    return _measured(loop, blank, kept)


def band_shell_of(loop: Loop, resolution_angstrom: float) -> int:
    """Return the shell of a resolution, at least 3."""
    shell = int(loop.box * loop.pixel / resolution_angstrom)
    return int(np.clip(shell, _LEAST_SHELL, loop.box // 2 - 1))


def _round(loop: Loop, rounds: list[Round], reference: NDArray[np.float32] | None) -> Round:
    """Align each half to its own average, and average again."""
    last, number = rounds[-1], len(rounds)
    strict = number <= _STRICT_ROUNDS
    first = number == 1 and reference is not None
    shell = band_of(last.fsc, LENIENT if first or not strict else STRICT, _LEAST_SHELL)
    if first:
        shell = band_shell_of(loop, loop.config.initial_lowpass)
    everywhere = number <= loop.config.global_iterations and loop.config.mode != "refine"
    step = _local_step(rounds, shell, loop)
    mode = "refine" if not everywhere else loop.config.mode
    where = "all rotations" if everywhere else f"{step:.1f} degrees about the last pose"
    loop.run.log(f"round {number}: {where}, band up to {loop.box * loop.pixel / shell:.1f} A")
    points = FourierPoints(loop.box, shell, loop.device)
    power = measured_power(loop.checked, points)
    state = replace(last, number=number, **_copied(last))  # type: ignore[arg-type]
    for half, density in ((1, last.half1), (2, last.half2)):
        members = np.flatnonzero(loop.halves == half)
        density = density if first else reference_of_half(density, last.fsc, shell)
        mask = loop.mask if loop.mask is not None else default_mask(loop.box)
        settings = replace(
            loop.settings,
            local_degrees=step,
            coarse_shell=min(loop.settings.coarse_shell, shell),
            finest_degrees=float(np.clip(step / 4, 0.5, 1.5)),
        )
        aligner = Aligner(MapReference(density, points, mask), settings)
        proposer = _network(loop, density, half) if mode == "net" else None
        start = (last.rotations, last.shifts_px)
        found = _aligned(loop, aligner, mode, proposer, members, points, power, start)
        state.rotations[members], state.shifts_px[members] = found.rotations, found.shifts_px
        state.scores[members], state.margins[members] = found.score, found.margin
        state.confidence[members] = found.confidence
        state.spread_degrees[members] = found.spread_degrees
    change = angular_distance_degrees(last.rotations, state.rotations, loop.config.symmetry)
    state = replace(state, change_degrees=float(np.median(change)))
    return _measured(loop, state, kept_by_score(state.scores, loop.halves, loop.config.keep))


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


def _measured(loop: Loop, state: Round, kept: NDArray[np.bool_]) -> Round:
    """Average the poses of a round and measure what the halves agree on."""
    poses = (state.rotations, state.shifts_px)
    maps = average_halves(loop.checked, *poses, loop.halves, kept, loop.device)
    moved = _in_one_frame(loop, replace(state, half1=maps.half1, half2=maps.half2))
    if moved is not None:
        state = moved
        poses = (state.rotations, state.shifts_px)
        maps = average_halves(loop.checked, *poses, loop.halves, kept, loop.device)
    mask = loop.mask
    if mask is None and state.number > _STRICT_ROUNDS:
        mask = close_mask(maps.average, loop.pixel)
    found, _ = agreement(maps, mask, loop.pixel)
    state = replace(
        state,
        half1=maps.half1,
        half2=maps.half2,
        average=maps.average,
        fsc=found.corrected,
        resolution_angstrom=found.resolution_angstrom,
        facts={
            "kept": float(kept.sum()),
            "score": float(np.median(state.scores)),
            "unmasked_shell_half": float(band_of(found.unmasked, STRICT, 1)),
        },
    )
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


def _in_one_frame(loop: Loop, state: Round) -> Round | None:
    """Turn the poses of half 2 so that its map lies on that of half 1: frames may drift.

    Returns None where they lie on each other, as always with more axes than one.
    """
    n, symmetry = loop.box, loop.config.symmetry.strip().upper()
    if not symmetry.startswith("C"):
        return None
    points = FourierPoints(n, max(4, n // 4), loop.device)
    settings = replace(loop.settings, max_shift_px=n / 6, coarse_shell=min(8, n // 4))
    aligner = Aligner(MapReference(state.half1, points, default_mask(n)), settings)
    seen = observe(points, state.half2[None])
    if state.number == 0:
        found = aligner.align(seen, "exhaustive")
    else:
        upright = np.eye(3)[None]
        found = aligner.align(seen, "refine", rotations=upright, shifts_px=np.zeros((1, 3)))
    turn, shift = found.rotations[0], found.shifts_px[0]
    if symmetry != "C1":
        # About the axis and along it: nothing else keeps the axis where it is.
        angle = np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])
        turn = rotation_vectors_to_matrices([0.0, 0.0, angle])
        shift = shift * [0.0, 0.0, 1.0]
    near = angular_distance_degrees(turn, np.eye(3)) < _SAME_FRAME_DEGREES
    if near and np.linalg.norm(shift) < _SAME_FRAME_PX:
        return None
    loop.run.log(
        f"half 2 turned by {float(angular_distance_degrees(turn, np.eye(3))):.1f} degrees and "
        f"moved by {np.linalg.norm(shift):.1f} px onto half 1"
    )
    # x_2 = G x_1 - d, so that A_2 x_2 - s = (A_2 G) x_1 - (s + A_2 d).
    rows = loop.halves == 2
    rotations, shifts = state.rotations.copy(), state.shifts_px.copy()
    shifts[rows] += np.einsum("nij,j->ni", rotations[rows], shift)
    rotations[rows] = rotations[rows] @ turn
    return replace(state, rotations=rotations, shifts_px=shifts)


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
    bands = [band_of(one.fsc, LENIENT, 1) for one in rounds[-3:]]
    still = all(one.change_degrees < 1.0 for one in rounds[-2:])
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


def _copied(state: Round) -> dict[str, NDArray[np.float64]]:
    names = ("rotations", "shifts_px", "scores", "margins", "confidence", "spread_degrees")
    return {name: np.array(getattr(state, name)) for name in names}

"""The work of ``cryodl selfalign align``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.reference import MapReference
from cryodl.core.alignment.spectra import FourierPoints, Observations, observe, spectral_power
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices, limit_threads
from cryodl.errors import ConfigError
from cryodl.methods.selfalign.config import AlignConfig
from cryodl.methods.selfalign.figures import histograms, viewing_directions
from cryodl.methods.selfalign.hand import warn_of_hand
from cryodl.methods.selfalign.inputs import (
    CheckedParticles,
    band_shell,
    box_frame,
    check_map,
    check_mask,
    check_particles,
    search_settings,
    with_box_poses,
)
from cryodl.methods.selfalign.pairs_align import align_pairs
from cryodl.methods.selfalign.predict import Proposer, load_proposer

_BEYOND = 0.05  # share of particles beyond the largest shift that is no accident
_MEASURED = 64  # particles that the power spectrum is measured from


def run_align(config: AlignConfig, run: RunFolder) -> None:
    """Align particles and write their poses.

    Raises
    ------
    InputError
        Particles, reference, mask or model that do not fit together.
    """
    limit_threads()
    if config.pairs is not None:
        particles, found = align_pairs(config, run)
    else:
        particles, found = _align_to_map(config, run)
    write_alignment(run, "aligned.star", particles, found)
    run.add_file("star", "aligned.star")
    report_alignment(run, found)


def _align_to_map(config: AlignConfig, run: RunFolder) -> tuple[ParticleSet, Alignment]:
    if config.star is None or config.reference is None:
        raise ConfigError("STAR and --reference: found none, expected both; give them")
    checked = check_particles(config, config.star, run)
    box, pixel = checked.particles.box_size_px, checked.pixel_size_angstrom
    reference = check_map(config.reference, "reference", box, pixel)
    mask = check_mask(config.mask, box, pixel)
    device = choose_devices(config.devices).torch_device()
    points = FourierPoints(box, band_shell(config.resolution, box, pixel), device)
    settings = search_settings(config, box, local_degrees=config.local_degrees)
    aligner = Aligner(MapReference(reference, points, mask), settings)
    proposer = None
    if config.model is not None:
        proposer = load_proposer(config.model, reference, pixel, device)
    run.log(
        f"{config.mode}: {len(checked.particles)} particles of {box} px, band up to "
        f"{box * pixel / points.max_shell:.1f} A, shifts to {settings.max_shift_px:g} px"
    )
    power = measured_power(checked, points)
    everything = np.arange(len(checked.particles))
    begun = time.process_time()
    found = align_batches(
        checked,
        everything,
        points,
        power,
        choose_work(aligner, config.mode, checked, proposer),
        config.batch_size,
        lambda part: run.progress(part, "aligning"),
    )
    run.add_value("cpu_seconds_per_particle", (time.process_time() - begun) / len(everything))
    if config.mode in ("auto", "exhaustive"):
        warn_of_hand(checked, reference, mask, points, power, settings, run)
    warn_of_shifts(found, settings.max_shift_px, run)
    before = box_frame(checked.particles)[0]
    _report_change(run, before, found.rotations, config.symmetry)
    return with_box_poses(checked.particles, found.rotations, found.shifts_px), found


def warn_of_shifts(found: Alignment, max_shift_px: float, run: RunFolder) -> None:
    """Tell when particles lie where the search ends: it goes on for a pixel beyond its limit."""
    lengths = np.linalg.norm(found.shifts_px, axis=1)
    beyond, count = int((lengths > max_shift_px).sum()), len(lengths)
    if beyond > _BEYOND * count:
        text = (
            f"{beyond} of {count} particles lie more than {max_shift_px:g} px from the centres of "
            "their boxes, where the search ends: some poses may be wrong, however sure they look. "
            "Raise --max-shift-px."
        )
        run.report.distrust(text)
        run.log(f"warning: {text}")


def measured_power(checked: CheckedParticles, points: FourierPoints) -> NDArray[np.float32]:
    """Return the power spectrum of an even choice of the particles."""
    count = len(checked.particles)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MEASURED)).astype(int))
    volumes, transfers = checked.read(chosen)
    multiplied = checked.volumes.premultiplied
    power = spectral_power(points, volumes, transfers, premultiplied=multiplied)
    return power / np.float32(checked.volumes.noise_share)


Work = Callable[[Observations, NDArray[np.integer], NDArray[np.float32]], Alignment]


def choose_work(
    aligner: Aligner, mode: str, checked: CheckedParticles, proposer: Proposer | None
) -> Work:
    """Return what is done with each batch: observations, numbers and volumes to poses."""
    rotations, shifts = box_frame(checked.particles)

    def work(
        seen: Observations, chosen: NDArray[np.integer], volumes: NDArray[np.float32]
    ) -> Alignment:
        if proposer is not None and mode != "exhaustive":
            return proposer.align(aligner, seen, volumes, mode)
        if mode == "refine":
            return aligner.align(
                seen, "refine", rotations=rotations[chosen], shifts_px=shifts[chosen]
            )
        return aligner.align(seen, "exhaustive" if mode == "exhaustive" else "auto")

    return work


def align_batches(
    checked: CheckedParticles,
    chosen: NDArray[np.integer],
    points: FourierPoints,
    power: NDArray[np.float32],
    work: Work,
    batch_size: int,
    tell: Callable[[float], None],
) -> Alignment:
    """Align some of the particles, batch by batch."""
    parts = []
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start : start + batch_size]
        volumes, transfers = checked.read(rows)
        seen = observe(
            points,
            volumes,
            transfers,
            premultiplied=checked.volumes.premultiplied,
            power=power,
        )
        parts.append(work(seen, rows, volumes))
        tell((start + len(rows)) / len(chosen))
    return Alignment.joined(parts)


def write_alignment(run: RunFolder, name: str, particles: ParticleSet, found: Alignment) -> None:
    """Write particles with their poses and what is known of these."""
    for label, values in (
        ("cdlScore", found.score),
        ("cdlScoreMargin", found.margin),
        ("cdlConfidence", found.confidence),
        ("cdlPoseSpread", found.spread_degrees),
    ):
        particles = particles.with_column(label, np.round(values, 5))
    path: Path = run.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_particles(path, particles)


def report_alignment(run: RunFolder, found: Alignment) -> None:
    """Tell scores, confidence and directions."""
    run.add_value("particles", len(found.score))
    run.add_value("median_score", float(np.median(found.score)))
    run.add_value("confident", float((found.confidence > 0.9).mean()))
    run.add_value("median_spread_degrees", float(np.median(found.spread_degrees)))
    run.report.fact("particles", str(len(found.score)))
    run.report.fact("median score", f"{np.median(found.score):.2f}")
    run.report.fact("confidence above 0.9", f"{(found.confidence > 0.9).mean():.0%}")
    run.report.fact("angle known to", f"{np.median(found.spread_degrees):.1f}°")
    run.report.heading("Scores")
    run.report.figure(
        histograms(
            {
                "Score": found.score,
                "Margin to the next pose": found.margin,
                "Confidence": found.confidence,
                "Spread (degrees)": found.spread_degrees,
            }
        ),
        "The score of a pose, how far the next one 20 degrees away or more is behind, the "
        "probability of being the right one of those compared, and the deviation that the noise "
        "allows about each axis.",
    )
    run.report.heading("Directions")
    run.report.figure(
        viewing_directions(found.rotations),
        "The beam in the frame of the reference, one point a particle, in equal areas.",
    )
    run.report.distrust(
        "A score says how well a particle fits the reference, not that the reference is right: "
        "noise fits too. Against pure noise scores of up to about 5 to 6 are usual."
    )


def _report_change(
    run: RunFolder,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    symmetry: str,
) -> None:
    if np.allclose(before, np.eye(3)):
        return
    change = angular_distance_degrees(before, after, symmetry)
    run.add_value("median_change_degrees", float(np.median(change)))
    run.report.heading("Change")
    run.report.figure(
        histograms({"Angle to the pose of the file (degrees)": change}),
        "How far each particle was turned from the pose that the file had.",
    )

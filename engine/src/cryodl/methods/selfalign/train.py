"""The work of ``cryodl selfalign train``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryodl.core.alignment.spectra import FourierPoints, spectral_power, spectral_snr
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import angular_distance_degrees
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.io.mrc import read_volume
from cryodl.core.run.figures import loss_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.settings import TrainingSettings
from cryodl.methods.selfalign.config import SearchConfig, TrainConfig
from cryodl.methods.selfalign.data import PairSettings, PairSource, prepared
from cryodl.methods.selfalign.figures import histograms
from cryodl.methods.selfalign.inputs import check_map, check_particles, largest_shift_px
from cryodl.methods.selfalign.losses import PoseStep
from cryodl.methods.selfalign.model import PRESETS, build_network, count_parameters
from cryodl.methods.selfalign.predict import (
    MODEL,
    Proposer,
    proposer_grid,
    save_proposer,
    start_network,
)

_AXES = {"x": 0.0, "y": 90.0}
_MOST_PARTICLES = 64
_TEST_BATCHES = 4
_EPOCHS = 8


@dataclass(frozen=True)
class Material:
    """What pairs are made of."""

    reference: NDArray[np.float32] | None
    particles: NDArray[np.float32] | None
    wedge: NDArray[np.float32] | None
    noise: NDArray[np.float32] | None
    box_px: int
    pixel_size_angstrom: float

    def source(self, settings: PairSettings, *, shared_noise: bool = False) -> PairSource:
        """Return what makes pairs of it."""
        return PairSource(
            settings,
            self.reference,
            self.particles,
            self.wedge,
            noise=self.noise,
            shared_noise=shared_noise,
        )


def run_train(config: TrainConfig, run: RunFolder) -> None:
    """Train a network and write it.

    Raises
    ------
    InputError
        Particles or reference that cannot be used.
    TrainingError
        The loss is not finite.
    """
    material = _material(config, run)
    size = PRESETS[config.preset]
    pairs = _pair_settings(config, material)
    source = material.source(pairs)
    grid = proposer_grid(config.preset, config.symmetry)
    network = build_network(config.preset, pairs.max_shift_px, config.seed, len(grid))
    start_network(network, material.reference, material.wedge, grid)
    count = count_parameters(network, with_statistics=size.published)
    run.log(
        f"{config.preset}: {count:,} parameters, {config.steps} steps of {config.batch_size} "
        f"pairs in boxes of {size.box_px} px"
    )
    group = torch.as_tensor(symmetry_matrices(config.symmetry)).float()
    shift_weight = 1.0 if size.published else 0.25
    step = PoseStep(network, group, shift_weight, grid if len(grid) else None)
    result = fit(step, source, _settings(config, size.learning_rate), run, resume=config.resume)
    template = (
        prepared(material.reference, size.box_px)
        if material.reference is not None
        else np.zeros((size.box_px,) * 3, dtype=np.float32)
    )
    network.eval()
    proposer = Proposer(
        network, config.preset, template, grid, material.box_px, config.symmetry, "cpu"
    )
    run.add_file("model", MODEL)
    facts: dict[str, Any] = {
        "pixel_size_angstrom": material.pixel_size_angstrom,
        "cone_degrees": config.cone,
        "snr_range": list(pairs.snr_range),
        "parameters": count,
    }
    save_proposer(run.path(MODEL), proposer, facts)
    run.add_value("parameters", count)
    _report(config, run, proposer, pairs, material, result)


def _material(config: TrainConfig, run: RunFolder) -> Material:
    checked = None
    if config.star is not None:
        words = config.model_dump(
            include={"output", "pixel_size", "tilt_min", "tilt_max", "tilt_axis", "contrast"}
        )
        checked = check_particles(SearchConfig(**words, symmetry="C1"), config.star, run)
    if checked is not None:
        box, pixel = checked.particles.box_size_px, checked.pixel_size_angstrom
    else:
        volume = read_volume(
            config.reference,  # type: ignore[arg-type]
            require_cubic=True,
            pixel_size_angstrom=config.pixel_size,
        )
        box, pixel = volume.data.shape[0], volume.pixel_size_angstrom
    reference = None
    if config.reference is not None:
        reference = check_map(config.reference, "reference", box, pixel)
    particles, wedge, noise = None, None, None
    if checked is not None:
        chosen = np.arange(min(_MOST_PARTICLES, len(checked.particles)))
        volumes, transfers = checked.read(chosen)
        noise = _noise_spectrum(volumes, transfers)
        particles = volumes if config.source != "reference" else None
        wedge = None if transfers is None else transfers.reshape(-1, box, box, box)[0]
    if config.tilt_min is not None and config.tilt_max is not None:
        axis = _AXES[config.tilt_axis]
        wedge = missing_wedge(box, config.tilt_min, config.tilt_max, tilt_axis_degrees=axis)
    if wedge is None:
        run.log("warning: no tilts are known; pairs have no missing wedge (--tilt-min, --tilt-max)")
    return Material(reference, particles, wedge, noise, box, pixel)


def _noise_spectrum(
    volumes: NDArray[np.float32], transfers: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return the power of the noise of particles by shell."""
    n = volumes.shape[1]
    points = FourierPoints(n, (n - 1) // 2)
    power = spectral_power(points, volumes, transfers)
    return power / (1 + spectral_snr(points, volumes, transfers))


def _pair_settings(config: TrainConfig, material: Material) -> PairSettings:
    size = PRESETS[config.preset]
    shift = largest_shift_px(config.max_shift_px, material.box_px)
    return PairSettings(
        box_px=size.box_px,
        max_shift_px=shift * size.box_px / material.box_px,
        cone_degrees=config.cone,
        snr_range=(config.snr_min, config.snr_max),
        fixed_template=size.kind != "matching",
        particle_share={"reference": 0.0, "particles": 1.0, "mixed": 0.5}[config.source],
        batch_size=config.batch_size,
        seed=config.seed,
    )


def _settings(config: TrainConfig, learning_rate: float) -> TrainingSettings:
    epochs = min(_EPOCHS, config.steps)
    return TrainingSettings(
        steps_per_epoch=-(-config.steps // epochs),
        epochs=epochs,
        learning_rate=config.learning_rate or learning_rate,
        schedule="one-cycle",
        gradient_clip=1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        progress_span=(0.02, 0.95),
        signature={"preset": config.preset, "source": config.source, "cone": config.cone},
    )


def answers(network: nn.Module, batch: dict[str, torch.Tensor], grid: torch.Tensor) -> Any:
    """Return the poses a network gives for a batch: rotations (b, 3, 3), shifts or None."""
    with torch.inference_mode():
        first, second = network(batch["particle"], batch["template"])
    if len(grid):
        return grid[first.argmax(dim=1)], None
    return first, second


def errors_of_fresh_pairs(
    network: nn.Module, source: PairSource, grid: torch.Tensor, symmetry: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return errors of fresh pairs: angles in degrees, shifts in px of the network's box."""
    angles, moves = [], []
    for number in range(_TEST_BATCHES):
        batch = source.batch(number, 0, 0, 1)
        rotations, shifts = answers(network, batch, grid)
        found = _orthogonal(rotations.double().numpy())
        angles.append(angular_distance_degrees(found, batch["rotation"].double().numpy(), symmetry))
        guess = torch.zeros_like(batch["shift"]) if shifts is None else shifts
        moves.append((guess - batch["shift"]).norm(dim=1).double().numpy())
    return np.concatenate(angles), np.concatenate(moves)


def _orthogonal(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, v = np.linalg.svd(matrices)
    return np.asarray(u @ v)


def _report(
    config: TrainConfig,
    run: RunFolder,
    proposer: Proposer,
    pairs: PairSettings,
    material: Material,
    result: FitResult,
) -> None:
    network = proposer.network.to("cpu")
    # Seeds that training never sees.
    fresh = replace(pairs, seed=pairs.seed + 1_000_003)
    angles, moves = errors_of_fresh_pairs(
        network, material.source(fresh), proposer.grid, config.symmetry
    )
    run.add_value("test_median_degrees", float(np.median(angles)))
    run.add_value("test_mean_shift_px", float(moves.mean()))
    report = run.report
    report.fact("parameters", f"{count_parameters(network):,}")
    report.fact("median angle on fresh pairs", f"{np.median(angles):.1f}°")
    report.heading("Training")
    names = [n for n in result.history[0] if n not in ("epoch", "step", "learning_rate")]
    report.figure(
        loss_curves({name: [line[name] for line in result.history] for name in names}), "Losses."
    )
    report.heading("Fresh pairs")
    report.figure(histograms({"Angle (degrees)": angles}), "Errors of the network alone.")
    if material.particles is not None and not pairs.fixed_template:
        shared, _ = errors_of_fresh_pairs(
            network, material.source(fresh, shared_noise=True), proposer.grid, config.symmetry
        )
        run.add_value("test_median_degrees_shared_noise", float(np.median(shared)))
        report.text(
            f"With the same noise in both members the median would be {np.median(shared):.1f} "
            f"degrees, with noise of their own it is {np.median(angles):.1f}: the difference is "
            "what the network reads from noise."
        )
    report.distrust(
        "The network alone is a proposal. Use --mode auto: every pose is then searched about it "
        "and judged by a score that knows the wedge."
    )

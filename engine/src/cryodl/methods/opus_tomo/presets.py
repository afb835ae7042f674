"""What a preset stands for, and the choices of a training after the user's own are put in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cryodl.errors import ConfigError
from cryodl.methods.opus_tomo.config import TrainConfig
from cryodl.methods.opus_tomo.model import NetworkSize


@dataclass(frozen=True)
class Choices:
    """A preset, or a preset with the user's choices.

    Attributes
    ----------
    size : NetworkSize
        Of the networks.
    largest_px : int
        Render boxes to at most this, if `downfrac` is not given.
    downfrac : float or None
        Fraction of the voxels along an edge.
    epochs, batch_size, learning_rate
        Of the training.
    bfactor : float
        As published.
    residual : bool
        Encode residuals.
    evidence : bool
        The prior weighs as the noise asks, not by the SNR.
    refine_steps : int
        Of each latent at the end.
    schedule : str
        Of the learning rate.
    """

    size: NetworkSize
    largest_px: int
    downfrac: float | None
    epochs: int
    batch_size: int
    learning_rate: float
    bfactor: float = 0.0
    residual: bool = True
    evidence: bool = True
    refine_steps: int = 3
    schedule: str = "cosine"


PRESETS = {
    "demo": Choices(NetworkSize("compact", 1.0, 8, 4, 32), 32, None, 12, 8, 2e-3),
    "small": Choices(NetworkSize("published", 0.25, 8, 4, 80), 64, None, 30, 8, 5e-4),
    "default": Choices(NetworkSize("published", 1.0, 8, 4, 160), 152, None, 40, 8, 1e-4, 1.0),
    "legacy": Choices(
        NetworkSize("published", 1.0, 12, 4, 160, normalise=False),
        10_000,
        0.65,
        40,
        8,
        5e-5,
        4.0,
        residual=False,
        evidence=False,
        refine_steps=0,
        schedule="constant",
    ),
}


def choose(config: TrainConfig) -> Choices:
    """Return the preset with what the user chose in its place.

    Raises
    ------
    ConfigError
        A training without anything to learn.
    """
    preset = PRESETS[config.preset]
    guards = preset.size.normalise if config.guards is None else config.guards
    size = replace(
        preset.size,
        zdim=config.zdim or preset.size.zdim,
        template_px=config.templateres or preset.size.template_px,
        normalise=guards,
    )
    residual = preset.residual if config.enc_input is None else config.enc_input == "residual"
    if config.batch_size == 2 and guards:
        raise ConfigError(
            "--batch-size: found 2, expected 4 or more for normalised latents; raise it or give "
            "--no-guards"
        )
    return replace(
        preset,
        size=size,
        downfrac=config.downfrac or preset.downfrac,
        epochs=config.epochs or preset.epochs,
        batch_size=config.batch_size or preset.batch_size,
        learning_rate=config.lr or preset.learning_rate,
        bfactor=preset.bfactor if config.bfactor is None else config.bfactor,
        residual=residual,
        refine_steps=preset.refine_steps if config.refine_latents else 0,
    )


def render_fraction(choices: Choices, box_px: int) -> float:
    """Return the fraction of the voxels along an edge that is worked with."""
    return choices.downfrac or min(1.0, choices.largest_px / box_px)


def memory_gb(size: NetworkSize, parameters: int, crop_px: int, batch: int, turned: int) -> float:
    """Estimate the memory of one training step, GiB.

    Fitted to the measured peaks of steps of all presets but the published schedule's, from 32 to
    152 voxels and 2 to 32 particles, which it meets within 12 %: weights, gradients and moments of
    the optimiser with the activations, or these with what the optimiser needs for its step.

    Parameters
    ----------
    size : NetworkSize
        For the edge of the decoded density.
    parameters : int
        Numbers that are trained.
    crop_px, batch : int
        Edge of the working box, and particles of a step.
    turned : int
        Densities that are compared with each particle.
    """
    c, t = 4 * float(crop_px) ** 3, 4 * float(size.template_px) ** 3
    activations = batch * (26.5 * t + (turned - 1) * (3 * t + 4 * c))
    return 0.11 + (max(16.0 * parameters + activations, 32.0 * parameters) + 22.5 * c) / 2**30

"""Parameters of `opus-tomo train`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from cryodl.core.config.parameters import parameter
from cryodl.methods.opus_tomo.config.input import ParticleInput


class TrainConfig(ParticleInput):
    """Learn what differs between aligned subtomograms.

    An encoder turns what is left of a particle after the consensus was taken away into a few
    numbers, a decoder turns these into a density, which is compared with the particle through its
    CTF and wedge. Similar particles end up with similar numbers.
    """

    mask: Path | None = parameter(
        None,
        help="Solvent mask of the box; found from the average when there is none.",
        group="Input",
        original="-r/--ref_vol",
    )
    preset: Literal["demo", "small", "default", "legacy"] = parameter(
        "small",
        help="Size of the networks and length of the training. demo: small boxes on a processor; "
        "small: a quarter of the published channels; default: the published ones, on a GPU; "
        "legacy: the published networks with the published schedule and encoder input.",
        group="Training",
    )
    zdim: int | None = parameter(
        None,
        help="Dimensions of the latent space; by default that of the preset.",
        group="Training",
        original="--zdim",
        ge=1,
        le=256,
    )
    epochs: int | None = parameter(
        None,
        help="Passes over all particles; by default that of the preset.",
        group="Training",
        original="-n/--num-epochs",
        ge=1,
    )
    keep_every: int = parameter(
        10,
        help="Keep the networks after every so many epochs, for opus-tomo analyze --epoch; 0 keeps "
        "the last only.",
        group="Training",
        original="--checkpoint",
        expert=True,
        ge=0,
    )
    batch_size: int | None = parameter(
        None,
        help="Particles of a step and process; by default that of the preset.",
        group="Training",
        original="-b",
        ge=2,
    )
    lr: float | None = parameter(
        None,
        help="Peak learning rate; by default that of the preset.",
        group="Training",
        original="--lr",
        gt=0,
        le=1,
    )
    valfrac: float = parameter(
        0.1,
        help="Share of the particles that are encoded but not trained on, to see whether noise is "
        "learned by heart.",
        group="Training",
        original="--valfrac",
        ge=0,
        le=0.5,
    )
    split: Path | None = parameter(
        None,
        help="Text file with the names of the particles that are held out, in place of a share.",
        group="Training",
        original="--split",
        expert=True,
    )
    downfrac: float | None = parameter(
        None,
        help="Fraction of the voxels along an edge that are kept by cutting Fourier space; by "
        "default what the preset can handle.",
        group="Boxes",
        original="--downfrac",
        gt=0,
        le=1,
    )
    templateres: int | None = parameter(
        None,
        help="Edge of the decoded density, a multiple of 16.",
        unit="px",
        group="Boxes",
        original="--templateres",
        multiple_of=16,
        ge=16,
        le=512,
    )
    beta_control: float = parameter(
        1.0,
        help="Weight of the latent prior; 1 is what noise of the estimated strength asks for. "
        "Less lets weak differences and noise into the latents, more keeps both out.",
        group="Losses",
        original="--beta-control",
        ge=0,
        le=10,
    )
    beta: Literal["cos", "linear", "constant"] = parameter(
        "cos",
        help="How the weight of the prior rises: in cycles (the published cos, which is a saw "
        "tooth), once, or not.",
        group="Losses",
        original="--beta",
    )
    cycles: int = parameter(
        2, help="Cycles of the prior's weight.", group="Losses", expert=True, ge=1
    )
    lamb: float = parameter(
        0.5,
        help="Weight of structural disentanglement, which draws together latents of particles "
        "seen from different directions; published range 0.1 to 3, 0 for none.",
        group="Losses",
        original="--lamb",
        ge=0,
        le=10,
    )
    bfactor: float | None = parameter(
        None,
        help="The density is compared after exp(-bfactor pi^2 s^2), s in 1/A, and so comes out "
        "sharper by it; 4 is the published setting and a B-factor of 158 A^2.",
        group="Losses",
        original="--bfactor",
        ge=0,
        le=100,
    )
    enc_input: Literal["residual", "raw"] | None = parameter(
        None,
        help="What the encoder sees: what is left after the consensus was taken away, or the "
        "particle as published, whose largest variation is the wedge.",
        group="Losses",
        expert=True,
    )
    guards: bool | None = parameter(
        None,
        help="Normalised latents and little latent noise at the start, without which the decoder "
        "may ignore the latents.",
        group="Losses",
        expert=True,
    )
    refine_latents: bool = parameter(
        True,
        help="At the end improve each latent against its own particle with the decoder fixed.",
        group="Losses",
        expert=True,
    )
    estpose: bool = parameter(
        False,
        help="Correct rotation and shift of each particle and write them to the STAR file.",
        group="Poses",
        original="--estpose",
    )
    pose_method: Literal["local", "network"] = parameter(
        "local",
        help="local: each pose is fitted to the decoded density of its particle between rounds of "
        "training. network: predicted by the encoder, as published.",
        group="Poses",
        expert=True,
    )
    pose_rounds: int = parameter(
        3, help="Corrections before the training.", group="Poses", expert=True, ge=1, le=10
    )
    sigma_rotation: float = parameter(
        3.0, help="Expected error of the rotations.", unit="degrees", group="Poses", gt=0, le=20
    )
    sigma_shift: float = parameter(
        1.5, help="Expected error of the shifts.", unit="px", group="Poses", gt=0, le=20
    )
    pose_hypotheses: Literal["1", "7"] = parameter(
        "1",
        help="Compare a particle with the density as it is, or also turned a little about each "
        "axis either way, weighted by how well they fit.",
        group="Poses",
        original="--pose-hypotheses",
        expert=True,
    )
    bodies: list[Path] | None = parameter(
        None,
        help="Soft masks of sub-units that move as rigid bodies, one MRC file each, in the box of "
        "the particles. After the training their turns and shifts are learned from the latents.",
        group="Motions",
        original="--masks",
        expert=True,
    )
    cache_gb: float = parameter(
        4.0,
        help="Memory for particles that have been brought into the frame of the reference; the "
        "rest is read again each epoch.",
        group="Run",
        expert=True,
        changeable=True,
        ge=0,
    )
    tmp_prefix: str = parameter(
        "tmp",
        help="Name of the density that is written after each round to look at.",
        group="Run",
        original="--tmp-prefix",
        expert=True,
        changeable=True,
        min_length=1,
    )

    @field_validator("tmp_prefix")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if "/" in value or "\\" in value:
            raise ValueError(f"found {value!r}, expected a name without folders; give one")
        return value

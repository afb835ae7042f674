"""What a training of states carries from one part of its work to the next."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryodl.methods.opus_tomo.canonical import Sampling
from cryodl.methods.opus_tomo.config import TrainConfig
from cryodl.methods.opus_tomo.data import ParticleStore
from cryodl.methods.opus_tomo.density import DensityModel
from cryodl.methods.opus_tomo.inputs import CheckedParticles
from cryodl.methods.opus_tomo.presets import Choices


@dataclass
class Training:
    """A training on its way: what stands, and what changes from round to round.

    Attributes
    ----------
    config, choices, checked, sampling
        What was asked for and found.
    store : ParticleStore
        Particles in the poses that are now believed.
    model : DensityModel
        What is trained.
    members, held : (n,) int
        Particles that are trained on and that are held out.
    history : list of dict
        Metrics of each epoch.
    """

    config: TrainConfig
    choices: Choices
    checked: CheckedParticles
    sampling: Sampling
    store: ParticleStore
    model: DensityModel
    members: NDArray[np.intp]
    held: NDArray[np.intp]
    mask: NDArray[np.float32] | None
    device: str
    history: list[dict[str, float]] = field(default_factory=list)

"""What images and subtomograms of simulated particles have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryodl.core.simulation.poses import PoseKnowledge, known_poses
from cryodl.core.simulation.recording import Contrast
from cryodl.core.simulation.structures import (
    Structure,
    load_structures,
    make_structure,
    states_of,
)


@dataclass(frozen=True, kw_only=True)
class PopulationSettings:
    """Particles to simulate, whatever records them; lengths in px unless the name says otherwise.

    Attributes
    ----------
    structures
        Shipped densities or paths of cubic MRC files, one a class.
    number
        Of particles.
    box_size_px, pixel_size_angstrom
        Of what is written of each.
    proportions
        Of the classes; None is equal.
    max_shift_px
        Particles lie off the centre by up to this along each axis.
    motion_degrees, motion_steps
        Range of the hinge of `structures.bend`, and the number of states it is cut into.
    known_poses, rotation_error_degrees, shift_error_px
        What the data file tells of the poses, see `poses.known_poses`.
    contrast
        ``bright``: matter is bright; ``dark``: as on a micrograph.
    intensity_scale, intensity_offset
        What is written is divided by one deviation of noise (of signal where there is no noise),
        then multiplied by the scale, then the offset is added.
    equalise
        True gives all structures the same contrast.
    resolution_angstrom
        Finest detail of the structures; None is 2.5 pixels.
    """

    structures: tuple[str, ...] = ("groel_groes",)
    number: int
    box_size_px: int
    pixel_size_angstrom: float
    proportions: tuple[float, ...] | None = None
    max_shift_px: float = 2.0
    motion_degrees: float = 0.0
    motion_steps: int = 1
    known_poses: PoseKnowledge = "true"
    rotation_error_degrees: float
    shift_error_px: float = 1.0
    contrast: Contrast = "bright"
    intensity_scale: float = 1.0
    intensity_offset: float = 0.0
    equalise: bool = False
    resolution_angstrom: float | None = None

    def load_states(
        self, densities: Sequence[NDArray[np.float32]] | None = None
    ) -> list[list[Structure]]:
        """Return the states of each class.

        Parameters
        ----------
        densities
            ``(m, m, m)`` arrays at the pixel size, one a class, instead of `structures`.

        Raises
        ------
        ConfigError, InputError
            Structures that are not there or do not fit the box.
        """
        if densities is None:
            loaded = load_structures(
                self.structures,
                self.pixel_size_angstrom,
                largest_box_px=self.box_size_px,
                resolution_angstrom=self.resolution_angstrom,
                equalise=self.equalise,
            )
        else:
            loaded = [make_structure(f"class{i + 1}", d) for i, d in enumerate(densities)]
        return states_of(loaded, self.motion_degrees, self.motion_steps)

    def tell_poses(
        self,
        rotations: NDArray[np.float64],
        shifts_px: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return rotations (N, 3, 3) and shifts (N, 3) as far as the data file tells them."""
        return known_poses(
            rotations,
            shifts_px,
            self.known_poses,
            self.rotation_error_degrees,
            self.shift_error_px,
            rng,
        )

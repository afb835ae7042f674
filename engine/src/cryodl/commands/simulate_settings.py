"""Turn the parameters of a simulation into what the core takes."""

from __future__ import annotations

from typing import Any

from cryodl.commands.simulate_particles_config import SimulateParticlesConfig
from cryodl.commands.simulate_recorded_config import (
    MoleculesConfig,
    SimulateSubtomogramsConfig,
    TiltSeriesConfig,
)
from cryodl.core.simulation.imaging import Reconstruction
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.tilt_series import Optics, TiltScheme
from cryodl.errors import ConfigError


def population_of(config: SimulateParticlesConfig | SimulateSubtomogramsConfig) -> dict[str, Any]:
    """Return the arguments of `PopulationSettings`.

    Raises
    ------
    ConfigError
        Shares that do not fit the structures.
    """
    return {
        "structures": tuple(config.structure),
        "number": config.number,
        "box_size_px": config.box_size_px,
        "pixel_size_angstrom": config.pixel_size,
        "proportions": proportions_of(config),
        "max_shift_px": config.max_shift_px,
        "motion_degrees": config.motion,
        "motion_steps": config.motion_steps,
        "known_poses": config.poses,
        "rotation_error_degrees": config.pose_error,
        "shift_error_px": config.shift_error_px,
        "contrast": config.contrast,
        "intensity_scale": config.intensity_scale,
        "intensity_offset": config.intensity_offset,
        "equalise": config.equalise,
        "resolution_angstrom": config.resolution,
    }


def tilt_scheme_of(config: TiltSeriesConfig) -> TiltScheme:
    """Return which tilts are recorded.

    Raises
    ------
    ConfigError
        The lowest tilt is above the highest.
    """
    if config.tilt_min > config.tilt_max:
        raise ConfigError(
            f"--tilt-min and --tilt-max: found {config.tilt_min:g} and {config.tilt_max:g}, "
            "expected the smaller first; give for example -60 and 60"
        )
    return TiltScheme(
        config.tilt_min,
        config.tilt_max,
        config.tilt_increment,
        config.tilt_order,
        config.tilt_axis,
        config.dose_per_tilt,
    )


def optics_of(config: TiltSeriesConfig, *, defocus_gradient: bool = False) -> Optics:
    """Return the microscope of a tilt series."""
    return Optics(
        config.defocus if config.ctf else None,
        config.voltage,
        config.spherical_aberration,
        config.amplitude_contrast,
        config.bfactor,
        config.dose_damping,
        config.thickness_damping,
        defocus_gradient,
    )


def reconstruction_of(config: TiltSeriesConfig) -> Reconstruction:
    """Return how volumes are made."""
    return Reconstruction(config.filter, config.phase_flip)


def noise_of(config: TiltSeriesConfig) -> NoiseSettings:
    """Return how noisy the data are."""
    return NoiseSettings(
        config.noise,
        config.snr,
        config.noise_exponent,
        config.noise_statistics,
        config.noise_correlation_px,
    )


def proportions_of(config: MoleculesConfig) -> tuple[float, ...] | None:
    """Return the shares of the structures, None for equal ones.

    Raises
    ------
    ConfigError
        Not one share for each structure, or none above 0.
    """
    shares, count = config.proportion, len(config.structure)
    if shares and (len(shares) != count or min(shares) < 0 or not sum(shares) > 0):
        raise ConfigError(
            f"--proportion: found {' '.join(f'{share:g}' for share in shares)}, expected {count} "
            "numbers, one for each --structure, 0 or more and not all 0; correct them"
        )
    return tuple(config.proportion) or None

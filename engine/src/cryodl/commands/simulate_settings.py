"""Turn the parameters of a simulation into what the core takes."""

from __future__ import annotations

from cryodl.commands.simulate_recorded_config import MoleculesConfig, TiltSeriesConfig
from cryodl.core.simulation.imaging import Reconstruction
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.tilt_series import Optics, TiltScheme


def tilt_scheme_of(config: TiltSeriesConfig) -> TiltScheme:
    """Return which tilts are recorded."""
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
    """Return the shares of the structures, None for equal ones."""
    return tuple(config.proportion) or None

"""The work of ``cryodl simulate particles``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.simulate_axes import axis_xyz
from cryodl.commands.simulate_particles_config import SimulateParticlesConfig
from cryodl.commands.simulate_pictures import gallery, view_directions
from cryodl.commands.simulate_settings import population_of
from cryodl.commands.simulate_tables import (
    finite,
    names_of,
    write_facts,
    write_particle_table,
    write_references,
)
from cryodl.core.io.mrc_stack import write_stack
from cryodl.core.run.folder import RunFolder
from cryodl.core.simulation.noise import NoiseSettings
from cryodl.core.simulation.particles import ImageSettings, ImageSimulator
from cryodl.core.simulation.tilt_series import Optics

_SHOWN = 8


def run_particles(config: SimulateParticlesConfig, run: RunFolder) -> None:
    """Simulate single-particle images and write them with their truth.

    Parameters
    ----------
    config
        Checked parameters.
    run
        The open output folder.

    Raises
    ------
    ConfigError, InputError
        If a structure is not there or does not fit the box.
    """
    settings = settings_of(config)
    simulator = ImageSimulator(settings, config.seed)
    run.log(f"{config.number} images of {config.box_size_px} px, {config.pixel_size:g} A a pixel")
    run.add_file("images", "particles.mrcs")
    first: list[NDArray[np.float32]] = []
    write_stack(
        run.path("particles.mrcs"),
        _followed(simulator, run, first),
        number=config.number,
        image_shape=(config.box_size_px, config.box_size_px),
        pixel_size_angstrom=config.pixel_size,
    )
    run.path("truth").mkdir(exist_ok=True)
    _write_tables(config, run, simulator)
    _write_truth(config, run, simulator)
    _report(config, run, simulator, first)


def settings_of(config: SimulateParticlesConfig) -> ImageSettings:
    """Return what the core takes."""
    return ImageSettings(
        **population_of(config),
        views=config.views,
        view_spread_degrees=config.view_spread,
        uniform_fraction=config.uniform_fraction,
        axis_xyz=axis_xyz(config.axis),
        optics=Optics(
            config.defocus if config.ctf else None,
            config.voltage,
            config.spherical_aberration,
            config.amplitude_contrast,
            config.bfactor,
        ),
        defocus_spread_angstrom=config.defocus_spread,
        per_micrograph=config.per_micrograph,
        noise=NoiseSettings(config.noise, config.snr, config.noise_exponent),
    )


def _followed(
    simulator: ImageSimulator, run: RunFolder, first: list[NDArray[np.float32]]
) -> Iterator[NDArray[np.float32]]:
    """Yield the images, tell how far it is, and keep the first few."""
    number = simulator.settings.number
    for index, image in enumerate(simulator):
        if index < _SHOWN:
            first.append(image)
        run.progress(0.95 * (index + 1) / number, f"image {index + 1}")
        yield image


def _write_tables(
    config: SimulateParticlesConfig, run: RunFolder, simulator: ImageSimulator
) -> None:
    numbers = range(config.number)
    for name, rotations, shifts, true in (
        ("particles.star", simulator.known_rotations, simulator.known_shifts_px, False),
        ("truth/particles.star", simulator.rotations, simulator.shifts_px, True),
    ):
        columns: dict[str, object] = {
            "rlnMicrographName": [f"micrograph_{m + 1:05d}.mrc" for m in simulator.micrographs],
        }
        if config.ctf:
            columns["rlnDefocusU"] = columns["rlnDefocusV"] = simulator.defocus_angstrom
            columns["rlnDefocusAngle"] = 0.0
        if config.bfactor > 0:
            columns["rlnCtfBfactor"] = config.bfactor
        if true:
            columns["rlnClassNumber"] = simulator.classes
            columns["cdlState"] = simulator.states
        write_particle_table(
            run.path(name),
            "image",
            rotations,
            shifts * [1, 1, 0] * config.pixel_size,
            optics=simulator.settings.optics,
            columns=columns,
            image_paths=[run.path("particles.mrcs")] * config.number,
            image_indices=numbers,
            names=[f"{i + 1:06d}@particles.mrcs" for i in numbers],
            half_sets=simulator.half_sets,
            classes=simulator.classes if true else None,
            pixel_size_angstrom=config.pixel_size,
            box_size_px=config.box_size_px,
        )
    run.add_file("data", "particles.star")
    run.add_file("star", "particles.star")
    run.add_file("truth_star", "truth/particles.star")


def _write_truth(
    config: SimulateParticlesConfig, run: RunFolder, simulator: ImageSimulator
) -> None:
    write_references(run, simulator.references(), config.pixel_size)
    facts = {
        "parameters": config.fixed_values(),
        "snr_measured": finite(simulator.measured_snr()),
        "snr_meaning": "variance of the noise-free image where the particle is over the variance "
        "of the noise, both means over the images",
        "classes": names_of(simulator.structures),
        "pose": "x_image = A x_reference - s, projected along z",
    }
    write_facts(run, facts, number=config.number, pixel_size=config.pixel_size)
    run.add_value("box_size_px", config.box_size_px)


def _report(
    config: SimulateParticlesConfig,
    run: RunFolder,
    simulator: ImageSimulator,
    first: list[NDArray[np.float32]],
) -> None:
    report = run.report
    snr = finite(simulator.measured_snr())
    report.fact("images", str(config.number))
    report.fact("signal to noise, measured", "no noise" if snr is None else f"{snr:.3g}")
    report.fact("micrographs", str(int(simulator.micrographs[-1]) + 1))
    report.heading("Images")
    clean = [simulator.clean(i) for i in range(len(first))]
    report.figure(
        gallery({"without noise": clean, "image": first}),
        "The first images, with their contrast transfer function, without and with noise.",
    )
    report.heading("Views")
    report.figure(
        view_directions(simulator.rotations[:, 2]),
        "Directions of view of the particle, looking down its z axis; the rim is the equator. "
        "Crosses lie on the far side.",
    )
    report.distrust(
        "Simulated: no neighbours, no beam-induced motion, no errors of the defocus. Real "
        "particles are harder."
    )

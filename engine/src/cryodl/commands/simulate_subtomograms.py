"""The work of ``cryodl simulate subtomograms``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryodl.commands.simulate_pictures import gallery
from cryodl.commands.simulate_recorded_config import SimulateSubtomogramsConfig
from cryodl.commands.simulate_settings import (
    noise_of,
    optics_of,
    population_of,
    reconstruction_of,
    tilt_scheme_of,
)
from cryodl.commands.simulate_tables import (
    finite,
    names_of,
    write_facts,
    write_particle_table,
    write_references,
)
from cryodl.core.io.mrc import write_volume
from cryodl.core.run.figures import central_slices
from cryodl.core.run.folder import RunFolder
from cryodl.core.simulation.subtomograms import SubtomogramSettings, SubtomogramSimulator

_SHOWN = 8


def run_subtomograms(config: SimulateSubtomogramsConfig, run: RunFolder) -> None:
    """Simulate subtomograms and write them with their truth.

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
    simulator = SubtomogramSimulator(settings_of(config), config.seed)
    run.log(
        f"{config.number} subtomograms of {config.box_size_px} px, {config.pixel_size:g} A a "
        f"pixel, {len(simulator.tilts().tilt_angles_degrees)} tilts"
    )
    images = [f"subtomograms/{i + 1:06d}.mrc" for i in range(config.number)]
    first = _write_volumes(config, run, simulator, images)
    ctf_images = _write_transfers(config, run, simulator)
    _write_tables(config, run, simulator, images, ctf_images)
    _write_truth(config, run, simulator)
    _report(config, run, simulator, first)


def settings_of(config: SimulateSubtomogramsConfig) -> SubtomogramSettings:
    """Return what the core takes."""
    return SubtomogramSettings(
        **population_of(config),
        junk_fraction=config.junk_fraction,
        neighbours=config.neighbours,
        imaging=config.imaging,
        scheme=tilt_scheme_of(config),
        optics=optics_of(config),
        reconstruction=reconstruction_of(config),
        noise=noise_of(config),
        defocus_spread_angstrom=config.defocus_spread,
    )


def _write_volumes(
    config: SimulateSubtomogramsConfig,
    run: RunFolder,
    simulator: SubtomogramSimulator,
    images: list[str],
) -> list[np.ndarray]:
    """Write one file a particle; return the first few."""
    run.path("subtomograms").mkdir(exist_ok=True)
    run.add_files(images)
    first = []
    for index, volume in enumerate(simulator):
        write_volume(run.path(images[index]), volume, pixel_size_angstrom=config.pixel_size)
        if index < _SHOWN:
            first.append(volume)
        run.progress(0.95 * (index + 1) / config.number, f"particle {index + 1}")
    return first


def _write_transfers(
    config: SimulateSubtomogramsConfig, run: RunFolder, simulator: SubtomogramSimulator
) -> list[str]:
    """Write the transfer volumes; return the name that belongs to each particle."""
    if not config.ctf_volumes:
        return []
    run.path("ctf").mkdir(exist_ok=True)
    if not (config.ctf and config.defocus_spread > 0 and config.imaging == "tilt-series"):
        run.write_map("ctf", "ctf/ctf.mrc", simulator.transfer(0), pixel_size_angstrom=1.0)
        return ["ctf/ctf.mrc"] * config.number
    names = [f"ctf/{i + 1:06d}.mrc" for i in range(config.number)]
    run.add_files(names)
    for index, name in enumerate(names):
        write_volume(run.path(name), simulator.transfer(index), pixel_size_angstrom=1.0)
    return names


def _write_tables(
    config: SimulateSubtomogramsConfig,
    run: RunFolder,
    simulator: SubtomogramSimulator,
    images: list[str],
    ctf_images: list[str],
) -> None:
    run.path("truth").mkdir(exist_ok=True)
    optics = simulator.settings.optics
    for name, rotations, shifts, true in (
        ("particles.star", simulator.known_rotations, simulator.known_shifts_px, False),
        ("truth/particles.star", simulator.rotations, simulator.shifts_px, True),
    ):
        columns: dict[str, object] = {}
        if config.ctf:
            columns["rlnDefocusU"] = columns["rlnDefocusV"] = simulator.defocus_angstrom
            columns["rlnDefocusAngle"] = 0.0
        if true:
            columns["rlnClassNumber"] = simulator.classes
            columns["cdlState"] = simulator.states
            columns["cdlStructure"] = [
                "junk" if c == 0 else simulator.structures[c - 1][0].name.split()[0]
                for c in simulator.classes
            ]
        write_particle_table(
            run.path(name),
            "volume",
            rotations,
            shifts * config.pixel_size,
            optics=optics,
            columns=columns,
            image_paths=[run.path(image) for image in images],
            ctf_paths=[run.path(image) for image in ctf_images],
            names=images,
            tomograms=["simulated"] * config.number,
            half_sets=simulator.half_sets,
            classes=simulator.classes if true else None,
            pixel_size_angstrom=config.pixel_size,
            box_size_px=config.box_size_px,
        )
    run.add_file("star", "particles.star")
    run.add_file("truth_star", "truth/particles.star")


def _write_truth(
    config: SimulateSubtomogramsConfig, run: RunFolder, simulator: SubtomogramSimulator
) -> None:
    write_references(run, simulator.references(), config.pixel_size)
    tilts = simulator.tilts()
    facts = {
        "parameters": config.fixed_values(),
        "snr_measured": finite(simulator.measured_snr()),
        "snr_meaning": "variance of the noise-free subtomogram inside the particle over the "
        "variance of the noise in the subtomogram, both means over the particles",
        "classes": names_of(simulator.structures),
        "tilt_angles_degrees": tilts.tilt_angles_degrees.tolist(),
        "dose_before_e_per_angstrom2": tilts.dose_e_per_angstrom2.tolist(),
        "pose": "x_particle = A x_reference - s, A and s of rlnAngle* and rlnOrigin*Angst",
    }
    run.add_file("data", "particles.star")
    write_facts(run, facts, number=config.number, pixel_size=config.pixel_size)
    run.add_value("box_size_px", config.box_size_px)


def _report(
    config: SimulateSubtomogramsConfig,
    run: RunFolder,
    simulator: SubtomogramSimulator,
    first: list[np.ndarray],
) -> None:
    from scipy.ndimage import gaussian_filter

    report = run.report
    snr = finite(simulator.measured_snr())
    report.fact("subtomograms", str(config.number))
    report.fact("signal to noise, measured", "no noise" if snr is None else f"{snr:.3g}")
    report.fact("structures", ", ".join(Path(name).stem for name in config.structure))
    report.heading("Particles")
    report.figure(
        gallery(
            {
                "specimen": [simulator.specimen(i) for i in range(len(first))],
                "subtomogram": first,
                "smoothed": [gaussian_filter(volume, 1.5) for volume in first],
            }
        ),
        "The first particles: slice through the centre across z, before and after "
        "recording, and smoothed by 1.5 pixels.",
    )
    report.heading("What is seen of Fourier space")
    report.figure(
        central_slices({"factor on the signal": simulator.transfer(0)}, symmetric=True),
        "Origin in the middle; black is not measured (or has the wrong sign).",
    )
    report.table(
        ["class", "structure", "particles"],
        [["0", "junk", int(np.sum(simulator.classes == 0))]]
        + [
            [str(i + 1), states[0].name, int(np.sum(simulator.classes == i + 1))]
            for i, states in enumerate(simulator.structures)
        ],
    )
    report.distrust(
        "Simulated: tilts are aligned without error, the ice is even and nothing bends. Real "
        "subtomograms are harder."
    )

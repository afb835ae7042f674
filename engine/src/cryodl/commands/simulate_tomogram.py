"""The work of ``cryodl simulate tomogram``."""

from __future__ import annotations

import numpy as np

from cryodl.commands.simulate_pictures import tomogram_slices
from cryodl.commands.simulate_recorded_config import SimulateTomogramConfig
from cryodl.commands.simulate_settings import (
    noise_of,
    optics_of,
    proportions_of,
    reconstruction_of,
    tilt_scheme_of,
)
from cryodl.commands.simulate_tables import finite, write_facts, write_particle_table
from cryodl.core.io.atomic import write_text
from cryodl.core.io.mrc_stack import write_stack
from cryodl.core.run.folder import RunFolder
from cryodl.core.simulation.scene import SceneSettings
from cryodl.core.simulation.tomogram import (
    SimulatedTomogram,
    TomogramSettings,
    simulate_tomogram,
)


def run_tomogram(config: SimulateTomogramConfig, run: RunFolder) -> None:
    """Simulate a tomogram and write it with its truth.

    Parameters
    ----------
    config
        Checked parameters.
    run
        The open output folder.

    Raises
    ------
    ConfigError, InputError
        If a structure is not there or does not fit.
    """
    settings = settings_of(config)
    depth, height, width = settings.shape_zyx
    run.log(f"tomogram of {width} x {height} x {depth} px, {config.pixel_size:g} A a pixel")
    result = simulate_tomogram(settings, config.seed, name="tomogram")
    placed = len(result.classes)
    run.log(f"{placed} of {config.number} particles found room, SNR {result.snr:.3g}")
    run.progress(0.8, "writing")
    run.path("truth").mkdir(exist_ok=True)
    _write_maps(config, run, result)
    _write_places(config, run, result)
    _write_facts(config, run, result)
    _report(config, run, result)


def settings_of(config: SimulateTomogramConfig) -> TomogramSettings:
    """Return what the core takes."""
    pixel = config.pixel_size
    scene = SceneSettings(
        number=config.number,
        proportions=proportions_of(config),
        spacing=config.spacing,
        border_px=config.border_px,
        decoys=config.decoys,
        vesicles=config.vesicles,
        sheets=config.sheets,
        vesicle_radius_px=config.vesicle_radius and config.vesicle_radius / pixel,
        membrane_thickness_px=config.membrane_thickness / pixel,
        beads=config.beads,
        bead_radius_px=config.bead_diameter / 2 / pixel,
        bead_contrast=config.bead_contrast,
        texture=config.ice_texture,
        texture_correlation_px=config.texture_correlation / pixel,
    )
    return TomogramSettings(
        structures=tuple(config.structure),
        shape_zyx=(
            config.thickness_px,
            config.height_px or config.box_size_px,
            config.box_size_px,
        ),
        pixel_size_angstrom=pixel,
        scene=scene,
        motion_degrees=config.motion,
        motion_steps=config.motion_steps,
        scheme=tilt_scheme_of(config),
        optics=optics_of(config, defocus_gradient=config.defocus_gradient),
        reconstruction=reconstruction_of(config),
        noise=noise_of(config),
        contrast=config.contrast,
        intensity_scale=config.intensity_scale,
        intensity_offset=config.intensity_offset,
        equalise=config.equalise,
        resolution_angstrom=config.resolution,
    )


def _write_maps(config: SimulateTomogramConfig, run: RunFolder, result: SimulatedTomogram) -> None:
    pixel = config.pixel_size
    run.write_map("data", "tomogram.mrc", result.volume, pixel_size_angstrom=pixel)
    run.write_map("clean", "truth/clean.mrc", result.clean, pixel_size_angstrom=pixel)
    run.write_map("labels", "truth/labels.mrc", result.labels, pixel_size_angstrom=pixel)
    for number, states in enumerate(result.references, start=1):
        for state, reference in enumerate(states):
            key = f"reference_class{number}" + (f"_state{state}" if len(states) > 1 else "")
            run.write_map(key, f"truth/{key}.mrc", reference, pixel_size_angstrom=pixel)
    if config.tilt_images:
        images = -result.tilt_images if config.contrast == "dark" else result.tilt_images
        write_stack(
            run.path("tilt_series.mrcs"),
            images,
            number=len(images),
            image_shape=(images.shape[1], images.shape[2]),
            pixel_size_angstrom=pixel,
        )
        run.add_file("tilt_images", "tilt_series.mrcs")
        angles = "".join(f"{angle:.2f}\n" for angle in result.tilts.tilt_angles_degrees)
        write_text(run.path("tilt_series.rawtlt"), angles)
        run.add_file("tilt_angles", "tilt_series.rawtlt")


def _write_places(
    config: SimulateTomogramConfig, run: RunFolder, result: SimulatedTomogram
) -> None:
    """Write coordinates as text, all and by class, and as STAR with poses."""
    tables = {"coordinates": result.coordinates_px}
    if len(result.references) > 1:
        for number in range(1, len(result.references) + 1):
            chosen = result.coordinates_px[result.classes == number]
            tables[f"coordinates_class{number}"] = chosen
    tables.update(decoys=result.decoys_px, beads=result.beads_px)
    for name, places in tables.items():
        if len(places):
            lines = "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in places)
            write_text(run.path(f"truth/{name}.txt"), lines)
            run.add_file(name, f"truth/{name}.txt")
    if not len(result.classes):
        return
    write_particle_table(
        run.path("truth/particles.star"),
        "none",
        result.rotations,
        np.zeros((len(result.classes), 3)),
        optics=optics_of(config),
        columns={"rlnClassNumber": result.classes, "cdlState": result.states},
        coordinates_px=result.coordinates_px,
        tomograms=["tomogram.mrc"] * len(result.classes),
        classes=result.classes,
        pixel_size_angstrom=config.pixel_size,
    )
    run.add_file("truth_star", "truth/particles.star")


def _write_facts(config: SimulateTomogramConfig, run: RunFolder, result: SimulatedTomogram) -> None:
    facts = {
        "parameters": config.fixed_values(),
        "particles_placed": len(result.classes),
        "snr_measured": finite(result.snr),
        "snr_meaning": "variance of the noise-free tomogram of the particles alone, inside them, "
        "over the variance of the noise in the tomogram",
        "labels": {"0": "ice", **{str(i + 1): n for i, n in enumerate(result.label_names)}},
        "tilt_angles_degrees": result.tilts.tilt_angles_degrees.tolist(),
        "dose_before_e_per_angstrom2": result.tilts.dose_e_per_angstrom2.tolist(),
        "coordinates": "x y z in pixels from the first voxel: array[z, y, x]",
        "pose": "x_particle = A x_reference about the coordinate, A of rlnAngle*",
    }
    write_facts(run, facts, number=len(result.classes), pixel_size=config.pixel_size)


def _report(config: SimulateTomogramConfig, run: RunFolder, result: SimulatedTomogram) -> None:
    report = run.report
    report.fact("particles placed, asked", f"{len(result.classes)}, {config.number}")
    snr = finite(result.snr)
    report.fact("signal to noise, measured", "none" if snr is None else f"{snr:.3g}")
    report.fact("tilts", str(len(result.tilts.tilt_angles_degrees)))
    report.heading("Slices")
    report.figure(
        tomogram_slices(result.volume, result.clean, result.coordinates_px, result.classes),
        "Central slice across z and across y; circles mark particles whose centre is within 4 "
        "pixels of the slice, one colour a class. The tomogram is shown smoothed by one pixel.",
    )
    counts = np.bincount(result.labels.ravel(), minlength=len(result.label_names) + 1)
    report.table(
        ["label", "what", "particles", "share of the volume"],
        [
            [
                str(label),
                name,
                int(np.sum(result.classes == label)) if label <= len(result.references) else "",
                float(counts[label] / result.labels.size),
            ]
            for label, name in enumerate(result.label_names, start=1)
        ],
    )
    if len(result.classes) < config.number:
        report.distrust(
            f"{config.number - len(result.classes)} particles found no room. A larger volume or "
            "a smaller --spacing makes some."
        )
    report.distrust(
        "Simulated: tilts are aligned without error and nothing bends. Real tomograms are harder."
    )

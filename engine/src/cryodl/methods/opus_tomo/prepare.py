"""The work of ``cryodl opus-tomo prepare``: checked particles, a consensus and a mask."""

from __future__ import annotations

import numpy as np

from cryodl.core.fourier.masked_fsc import masked_fsc
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.figures import central_slices, shell_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.volumes.masks import estimate_mask
from cryodl.core.volumes.particle_average import average_particles
from cryodl.methods.opus_tomo.config import PrepareConfig
from cryodl.methods.opus_tomo.inputs import open_particles


def run_prepare(config: PrepareConfig, run: RunFolder) -> None:
    """Check particles, average them in their poses, find a mask.

    Raises
    ------
    InputError
        Particles that cannot be right, or an average in which nothing stands out.
    """
    checked = open_particles(config, run.log)
    particles, pixel = checked.particles, checked.pixel_size_angstrom
    found = average_particles(
        particles,
        checked.settings,
        progress=lambda done: run.progress(0.9 * done, "averaging particles"),
    )
    sign = np.float32(checked.sign)
    mask = estimate_mask(
        sign * found.average, pixel, config.low_pass, config.extend, config.soft_edge
    )
    run.write_map("consensus", "consensus.mrc", sign * found.average, pixel_size_angstrom=pixel)
    run.write_map("mask", "mask.mrc", mask, pixel_size_angstrom=pixel)
    write_particles(run.path("particles.star"), particles)
    run.add_file("star", "particles.star")
    _report(run, checked.known_transfer, sign * found.average, mask)
    curve = masked_fsc(found.half1, found.half2, mask, pixel)
    run.report.heading("Resolution")
    run.report.figure(
        shell_curves(
            {"half sets, within the mask": curve.corrected},
            box_size_px=particles.box_size_px,
            pixel_size_angstrom=pixel,
        ),
        "Fourier shell correlation of the averages of the two half sets.",
    )
    run.report.fact("particles", str(len(particles)))
    run.add_value("particles", len(particles))
    run.add_value("box_px", particles.box_size_px)
    run.add_value("pixel_size_angstrom", pixel)
    run.add_value("contrast", "bright" if sign > 0 else "dark")


def _report(run: RunFolder, known: bool, average: np.ndarray, mask: np.ndarray) -> None:
    run.report.heading("Consensus and mask")
    run.report.figure(
        central_slices({"consensus": average, "mask": mask}),
        "The mask must hold all that may differ between particles, with room to spare.",
    )
    if not known:
        run.report.distrust(
            "Neither CTF nor tilts are known. Give --tilt-min and --tilt-max at least."
        )

"""The commands that look at maps and filter them: fsc3d, sampling, whiten, combine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.io.star import write_star
from cryodl.core.run.threads import thread_limit
from cryodl.methods.spisonet import figures
from cryodl.methods.spisonet.inputs import (
    SAME_DATA,
    HalfMaps,
    check_band,
    check_resolution,
    read_half_maps,
    read_map,
    read_mask,
    read_weight,
)

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet import config as settings
    from cryodl.methods.spisonet.fsc3d import Fsc3D


def run_fsc3d(config: settings.Fsc3dConfig, run: RunFolder) -> None:
    """Compute the 3DFSC of two half maps and write volume, table and report."""
    maps = read_half_maps(config.half1, config.half2, config.mask, config.pixel_size)
    if config.limit_res is not None:
        check_resolution("--limit-res", config.limit_res, maps.half1)
    run.log(f"half maps of {maps.box_size_px} voxels, {maps.pixel_size_angstrom:.4g} A a voxel")
    if maps.same_data:
        run.log(f"warning: {SAME_DATA}")
    result = fsc3d_of(maps, config, run)
    write_fsc3d(result, maps, run)
    run.log(
        f"resolution {result.resolution_angstrom:.2f} A at FSC 0.143, "
        f"sphericity {result.sphericity:.3f}"
    )


def fsc3d_of(maps: HalfMaps, config: settings.Fsc3dConfig, run: RunFolder) -> Fsc3D:
    """Return the 3DFSC of checked half maps."""
    from cryodl.methods.spisonet.fsc3d import compute_fsc3d

    if maps.half2 is None:
        raise ValueError("a 3DFSC needs two half maps")
    with thread_limit(config.ncpus) as workers:
        return compute_fsc3d(
            maps.half1.data,
            maps.half2.data,
            maps.mask,
            maps.pixel_size_angstrom,
            limit_resolution_angstrom=config.limit_res,
            cone_half_angle_degrees=config.cone_angle,
            mode=config.mode,
            estimator=config.estimator,
            keep_high_resolution=config.keep_highres,
            progress=lambda fraction: run.progress(fraction, "3DFSC"),
            workers=workers,
        )


def write_fsc3d(result: Fsc3D, maps: HalfMaps, run: RunFolder) -> None:
    """Write the 3DFSC's volume, table, figures and the words that go with them."""
    run.write_map("fsc3d", "fsc3d.mrc", result.volume, like=maps.half1)
    write_star(run.path("fsc3d.star"), {"fsc3d": result.table()})
    run.add_file("table", "fsc3d.star")
    run.add_value("resolution", round(result.resolution_angstrom, 3))
    run.add_value("sphericity", round(result.sphericity, 4))
    run.report.fact("resolution at FSC 0.143", f"{result.resolution_angstrom:.2f} Å")
    run.report.fact("sphericity (1 = isotropic)", f"{result.sphericity:.2f}")
    run.report.heading("Correlation by direction")
    run.report.figure(
        figures.directional_curves(result, maps.box_size_px, maps.pixel_size_angstrom),
        "FSC of the half maps over the whole shell, and the range over directions. A wide band "
        "means that resolution depends on direction.",
    )
    run.report.figure(
        figures.fourier_slices(result.volume),
        "Central slices of the 3DFSC, zero frequency in the middle: white is well measured, black "
        "is missing.",
    )
    if maps.same_data:
        run.report.distrust(SAME_DATA)
    if maps.mask is None:
        run.report.distrust(
            "No mask was given: noise of the solvent lowers the correlation. Give the mask of the "
            "refinement for figures that compare with RELION's."
        )


def run_whiten(config: settings.WhitenConfig, run: RunFolder) -> None:
    """Flatten the amplitude spectrum of a map in a band."""
    from cryodl.core.fourier.shells import amplitude_spectrum
    from cryodl.methods.spisonet.filters import whiten

    source = read_map(config.map, config.pixel_size)
    mask = None if config.mask is None else read_mask(config.mask, source)
    check_band(config.low_res, config.high_res, source)
    result = whiten(
        source.data,
        source.pixel_size_angstrom,
        mask=mask,
        low_resolution_angstrom=config.low_res,
        high_resolution_angstrom=config.high_res,
    )
    run.write_map("map", "whitened.mrc", result, like=source)
    before, after = amplitude_spectrum(source.data), amplitude_spectrum(result)
    run.report.figure(
        figures.amplitude_curves(
            {"input": before, "whitened": after}, source.pixel_size_angstrom, len(source.data)
        ),
        "Mean amplitude by resolution.",
    )
    run.log(f"whitened from {config.low_res:g} to {config.high_res:g} A")


def run_angular_whiten(config: settings.AngularWhitenConfig, run: RunFolder) -> None:
    """Give all directions of a band the same mean amplitude."""
    from cryodl.core.run.figures import central_slices
    from cryodl.methods.spisonet.filters import angular_whiten

    source = read_map(config.map, config.pixel_size)
    check_band(config.low_res, config.high_res, source)
    result = angular_whiten(
        source.data,
        source.pixel_size_angstrom,
        low_resolution_angstrom=config.low_res,
        high_resolution_angstrom=config.high_res,
    )
    run.write_map("map", "angular_whitened.mrc", result, like=source)
    run.report.figure(
        central_slices({"input": source.data, "whitened by direction": result}), "Central slices."
    )
    run.report.distrust(
        "Directions that were hardly measured hold mostly noise; this filter makes it as strong as "
        "the signal of the others."
    )
    run.log(f"directions evened out from {config.low_res:g} to {config.high_res:g} A")


def run_combine(config: settings.CombineConfig, run: RunFolder) -> None:
    """Join the low resolution of one map to the high resolution of another."""
    from cryodl.core.io.mrc import check_same_grid
    from cryodl.core.run.figures import central_slices
    from cryodl.methods.spisonet.recombination import combine

    low = read_map(config.low, config.pixel_size)
    high = read_map(config.high, config.pixel_size)
    check_same_grid(low, high)
    check_resolution("--threshold-res", config.threshold_res, low)
    mask = None if config.mask is None else read_mask(config.mask, low)
    weight = None if config.aniso_file is None else read_weight(config.aniso_file, low)
    result = combine(
        low.data,
        high.data,
        config.threshold_res,
        low.pixel_size_angstrom,
        mask=mask,
        weight=weight,
        match=config.match,
    )
    run.write_map("map", "combined.mrc", result, like=low)
    run.report.figure(
        central_slices({"low": low.data, "high": high.data, "combined": result}), "Central slices."
    )
    run.log(f"joined at {config.threshold_res:g} A")


def run_sampling(config: settings.SamplingConfig, run: RunFolder) -> None:
    """Compute how evenly the views of a particle set sample Fourier space."""
    from cryodl.methods.spisonet.particles import read_views
    from cryodl.methods.spisonet.sampling import compute_sampling

    views = read_views(config.star, config.number_subset, config.seed, config.pixel_size)
    pixel = views.pixel_size_angstrom
    if pixel is None:
        pixel = 1.0
        run.report.distrust(
            "The particles do not tell their pixel size: 1 A was taken, and the resolutions are "
            "those of such a volume. Give --pixel-size."
        )
        run.log(f"{config.star}: no pixel size, so 1 A is taken; give --pixel-size")
    result = compute_sampling(
        views.rot_degrees,
        views.tilt_degrees,
        box_size_px=config.box_size_px,
        pixel_size_angstrom=pixel,
        low_resolution_angstrom=config.low_res,
        high_resolution_angstrom=config.high_res,
        symmetry=config.symmetry,
    )
    run.write_map("map", "sampling.mrc", result, pixel_size_angstrom=pixel)
    run.add_value("particles_read", views.read)
    run.add_value("particles_used", len(views.rot_degrees))
    run.report.fact("particles used", f"{len(views.rot_degrees)} of {views.read}")
    run.report.figure(
        figures.view_histogram(views.rot_degrees, np.asarray(views.tilt_degrees)),
        "Views of the particles. An even spread over rot and cos(tilt) is isotropic.",
    )
    run.report.figure(figures.fourier_slices(result), "Central slices of the sampling density.")
    run.log(f"sampling of {len(views.rot_degrees)} views")

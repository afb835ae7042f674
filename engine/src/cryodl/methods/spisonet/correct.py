"""Anisotropy correction of half maps, from files to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cryodl.core.io.mrc import Volume
from cryodl.core.volumes.masks import estimate_mask
from cryodl.methods.spisonet import correct_report
from cryodl.methods.spisonet.contrast import contrast_sign, contrast_signs
from cryodl.methods.spisonet.directional_weight import directional_weight
from cryodl.methods.spisonet.inputs import (
    SAME_DATA,
    HalfMaps,
    check_resolution,
    read_half_maps,
    read_map,
    read_weight,
)
from cryodl.methods.spisonet.prepared import Correction, Prepared

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet.config import CorrectConfig


def run_correct(config: CorrectConfig, run: RunFolder) -> None:
    """Correct one or two half maps and write maps, model and report."""
    prepared = prepare(config, run)
    truth = correct_report.read_truth_inputs(config, prepared.maps, prepared.weight)
    from cryodl.methods.spisonet.restore import restore_halves

    corrections, history = restore_halves(prepared, config, run)
    finished = [
        _finish(prepared, number, correction, run)
        for number, correction in enumerate(corrections, start=1)
    ]
    run.add_value("loss", history[-1]["loss"] if history else None)
    run.add_value("limit_resolution", round(prepared.limit_angstrom, 3))
    correct_report.write(config, prepared, finished, corrections, history, truth, run)


def prepare(config: CorrectConfig, run: RunFolder) -> Prepared:
    """Read and check all inputs, and work out what was not given.

    Raises
    ------
    InputError, ConfigError
        Anything that does not fit, before the first computation that takes long.
    """
    from cryodl.core.training.launch import local_devices

    local_devices(config.devices, config.launcher)  # an absent device is refused before all else
    maps = read_half_maps(config.half1, config.half2, config.mask, config.pixel_size)
    if config.limit_res is not None:
        check_resolution("--limit-res", config.limit_res, maps.half1)
    given = None if config.aniso_file is None else read_weight(config.aniso_file, maps.half1)
    reference = _read_reference(config, maps.half1, run)
    _check_model(config)
    run.log(f"half maps of {maps.box_size_px} voxels, {maps.pixel_size_angstrom:.4g} A a voxel")
    if maps.same_data:
        run.log(f"warning: {SAME_DATA}")
    halves = [maps.half1.data] + ([] if maps.half2 is None else [maps.half2.data])
    masks = _masks(halves, maps, config, run)
    weight, limit = directional_weight(config, maps, given, masks, run)
    if reference is not None:
        halves, weight = _with_reference(config, halves, reference, weight, masks, maps)
    if config.aniso_file is None and weight.min() < weight.max():
        run.write_map("fsc3d", "fsc3d.mrc", weight, like=maps.half1)
    return Prepared(maps, halves, masks, weight, config.aniso_estimator == "mean-cosine", limit)


def _check_model(config: CorrectConfig) -> None:
    if config.pretrained_model is not None:
        from cryodl.methods.spisonet.model import load_network

        load_network(config.pretrained_model, int(config.width), config.norm)


def _read_reference(config: CorrectConfig, like: Volume, run: RunFolder) -> np.ndarray | None:
    if config.reference is None:
        return None
    reference = read_map(config.reference)
    check_resolution("--ref-resolution", config.ref_resolution, like)
    same_box = reference.data.shape == like.data.shape
    ratio = reference.pixel_size_angstrom / like.pixel_size_angstrom
    if same_box and abs(ratio - 1) < 1e-3:
        return reference.data
    from cryodl.core.volumes.boxes import resample_volume

    run.log(
        f"{config.reference}: resampled from {len(reference.data)} voxels of "
        f"{reference.pixel_size_angstrom:.4g} A, as its header says, to the grid of the half maps"
    )
    return resample_volume(
        reference.data,
        reference.pixel_size_angstrom,
        like.data.shape[0],
        like.pixel_size_angstrom,
    )


def _masks(
    halves: list[np.ndarray], maps: HalfMaps, config: CorrectConfig, run: RunFolder
) -> list[np.ndarray]:
    """Return the mask of each half map; independent halves must not meet, not even in a mask."""
    if maps.mask is not None:
        return [maps.mask] * len(halves)
    pixel = maps.pixel_size_angstrom
    signs = contrast_signs(halves, [None] * len(halves), independent=config.independent)
    if config.independent:
        masks = [estimate_mask(half * sign, pixel) for half, sign in zip(halves, signs)]
    else:
        masks = [estimate_mask(np.mean(halves, axis=0) * signs[0], pixel)] * len(halves)
    run.log(f"no mask given: estimated one, {float((masks[0] > 0.5).mean()):.1%} of the box")
    if masks[0].min() < masks[0].max():
        run.write_map("mask", "mask.mrc", masks[0], like=maps.half1)
    return masks


def _with_reference(
    config: CorrectConfig,
    halves: list[np.ndarray],
    reference: np.ndarray,
    weight: np.ndarray,
    masks: list[np.ndarray],
    maps: HalfMaps,
) -> tuple[list[np.ndarray], np.ndarray]:
    from cryodl.methods.spisonet.recombination import with_reference

    pixel, resolution = maps.pixel_size_angstrom, config.ref_resolution
    signs = contrast_signs(halves, masks, independent=config.independent)
    bright = reference * np.float32(contrast_sign(reference))
    joined = [
        with_reference(
            half,
            bright * np.float32(sign),
            weight,
            resolution,
            pixel,
            mask=mask,
            match=config.match,
        )
        for half, mask, sign in zip(halves, masks, signs)
    ]
    return [half for half, _ in joined], joined[0][1]


def _finish(prepared: Prepared, number: int, correction: Correction, run: RunFolder) -> np.ndarray:
    """Write a corrected half map as predicted, and with the input beyond the limit."""
    from cryodl.methods.spisonet.recombination import join_beyond

    source = prepared.maps.half1 if number == 1 else prepared.maps.half2
    name = f"corrected_half{number}"
    run.write_map(f"{name}_filtered", f"{name}_filtered.mrc", correction.filtered, like=source)
    joined = join_beyond(
        correction.filtered,
        prepared.halves[number - 1],
        prepared.limit_angstrom,
        prepared.maps.pixel_size_angstrom,
    )
    run.write_map(name, f"{name}.mrc", joined, like=source)
    return joined

"""The work of ``cryodl simulate half-maps``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryodl.commands.simulate import SimulateHalfMapsConfig, axis_xyz
from cryodl.core.evaluation.directional import DirectionalScore, region_fsc, score_direction
from cryodl.core.io.atomic import write_json
from cryodl.core.run.figures import central_slices, shell_curves
from cryodl.core.run.folder import RunFolder
from cryodl.core.run.records import plain
from cryodl.core.simulation.half_maps import (
    NoiseModel,
    Reconstruction,
    SimulatedHalfMaps,
    simulate_missing_cone,
    simulate_preferred_orientation,
)
from cryodl.core.simulation.structures import load_structure


def run_half_maps(config: SimulateHalfMapsConfig, run: RunFolder) -> None:
    """Simulate half maps and write them with their truth.

    Parameters
    ----------
    config
        Checked parameters.
    run
        The open output folder.

    Raises
    ------
    ConfigError
        If the structure is neither a shipped density nor a file.
    InputError
        If the file is not a cubic density.
    """
    truth, pixel_size_angstrom = load_structure(
        config.structure, config.box_size_px, config.pixel_size
    )
    run.log(
        f"{config.structure}: {config.box_size_px} px of {pixel_size_angstrom:.4g} A, "
        f"mode {config.mode}, SNR {config.snr:g}"
    )
    result = simulate(config, truth, pixel_size_angstrom)
    _write(config, run, result)
    _report(config, run, result)


def simulate(
    config: SimulateHalfMapsConfig, truth: NDArray[np.float32], pixel_size_angstrom: float
) -> SimulatedHalfMaps:
    """Run the simulation that the parameters describe.

    Parameters
    ----------
    config
        Checked parameters.
    truth
        Density, ``(n, n, n)`` (z, y, x).
    pixel_size_angstrom
        Its pixel size.

    Returns
    -------
    SimulatedHalfMaps
        Half maps and truth.
    """
    common: dict[str, Any] = {
        "axis_xyz": axis_xyz(config.axis),
        "noise": NoiseModel(config.snr, config.noise_exponent, reconstruction_of(config)),
        "seed": config.seed,
    }
    if config.mode == "cone":
        return simulate_missing_cone(
            truth,
            pixel_size_angstrom,
            half_angle_degrees=config.cone_angle,
            attenuation=config.attenuation,
            **common,
        )
    return simulate_preferred_orientation(
        truth,
        pixel_size_angstrom,
        number_views=config.number,
        distribution=config.views,
        spread_degrees=config.view_spread,
        uniform_fraction=config.uniform_fraction,
        cone_half_angle_degrees=config.cone_angle,
        **common,
    )


def reconstruction_of(config: SimulateHalfMapsConfig) -> Reconstruction:
    """Return the reconstruction that ``auto`` stands for, or the one asked for."""
    if config.reconstruction != "auto":
        return config.reconstruction
    return "unweighted" if config.mode == "cone" else "weighted"


def _write(config: SimulateHalfMapsConfig, run: RunFolder, result: SimulatedHalfMaps) -> None:
    run.path("truth").mkdir(exist_ok=True)
    for key, name in (
        ("half1", "half1.mrc"),
        ("half2", "half2.mrc"),
        ("mask", "mask.mrc"),
        ("truth", "truth/truth.mrc"),
        ("sampling", "truth/sampling.mrc"),
        ("cone", "truth/cone.mrc"),
    ):
        run.write_map(
            key, name, getattr(result, key), pixel_size_angstrom=result.pixel_size_angstrom
        )
    facts = {
        "parameters": config.fixed_values(),
        "axis_xyz": list(axis_xyz(config.axis)),
        "reconstruction": reconstruction_of(config),
        "pixel_size_angstrom": result.pixel_size_angstrom,
        "box_size_px": config.box_size_px,
        "score_half1": plain(asdict(_score(result))),  # a cone of 90 leaves nothing outside
        "volumes": "truth.mrc: real space; sampling.mrc, cone.mrc: Fourier space, origin at n//2",
    }
    write_json(run.path("truth/truth.json"), facts)
    run.add_file("truth_table", "truth/truth.json")
    run.add_value("pixel_size_angstrom", result.pixel_size_angstrom)
    run.add_value("box_size_px", config.box_size_px)


def _score(result: SimulatedHalfMaps) -> DirectionalScore:
    return score_direction(result.half1, result.truth, result.cone.astype(bool))


def _report(config: SimulateHalfMapsConfig, run: RunFolder, result: SimulatedHalfMaps) -> None:
    cone = result.cone.astype(bool)
    score = _score(result)
    report = run.report
    report.fact("structure", Path(config.structure).name)
    report.fact("pixel size", f"{result.pixel_size_angstrom:.4g} Å")
    report.fact("FSC with the truth, cone, low band", f"{score.fsc_inside_low:.2f}")
    report.fact("FSC with the truth, elsewhere, low band", f"{score.fsc_outside_low:.2f}")
    report.heading("Maps")
    maps = {"truth": result.truth, "half map 1": result.half1, "mask": result.mask}
    report.figure(
        central_slices(maps), "Central slices. Left to right: across z, across y, across x."
    )
    report.heading("Sampling")
    weights = {"sampling": result.sampling, "cone of the scores": result.cone}
    report.figure(
        central_slices(weights, symmetric=True),
        "Fourier space, origin in the middle. White is sampled as evenly distributed views would "
        "or better, black is not measured.",
    )
    report.figure(
        shell_curves(
            {
                "inside the cone": region_fsc(result.half1, result.truth, cone),
                "outside": region_fsc(result.half1, result.truth, ~cone),
            },
            box_size_px=config.box_size_px,
            pixel_size_angstrom=result.pixel_size_angstrom,
        ),
        "Half map 1 against the truth, without mask.",
    )
    report.table(
        ["band", "FSC inside", "FSC outside", "power inside", "power outside"],
        [
            [
                f"shells {low} to {high}",
                *(
                    float(getattr(score, f"{figure}_{side}_{band}"))
                    for figure in ("fsc", "power")
                    for side in ("inside", "outside")
                ),
            ]
            for band, low, high in (
                ("low", 1, score.split_shell),
                ("high", score.split_shell + 1, score.limit_shell),
            )
        ],
    )
    report.distrust(
        "Simulated: Gaussian noise, one sampling for both halves, no CTF and no errors of "
        "alignment. Real half maps are harder."
    )
    if config.mode == "preferred":
        report.distrust(
            "Inside a mask, empty directions borrow correlation from their neighbours: judge the "
            "cone by the truth and without mask."
        )

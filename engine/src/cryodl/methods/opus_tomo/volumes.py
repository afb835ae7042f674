"""The work of ``cryodl opus-tomo volumes``: densities of latents."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cryodl.core.fourier.filters import low_pass
from cryodl.core.io.atomic import write_text
from cryodl.core.run.figures import central_slices
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.errors import ConfigError
from cryodl.methods.opus_tomo.analyzed import Analysis, open_analysis
from cryodl.methods.opus_tomo.clusters import along_component
from cryodl.methods.opus_tomo.comparison import compare_clusters, compare_component
from cryodl.methods.opus_tomo.config import VolumesConfig
from cryodl.methods.opus_tomo.density import DensityModel, load_model
from cryodl.methods.opus_tomo.figures import volume_rows
from cryodl.methods.opus_tomo.whole_box import BoxOf, to_whole_box

_SMALLEST_PX, _LARGEST_PX = 8, 1024


def run_volumes(config: VolumesConfig, run: RunFolder) -> None:
    """Decode densities and write them so that they overlay the consensus.

    Raises
    ------
    InputError
        No finished analysis or training.
    ConfigError
        A component that was not followed.
    """
    analysis = open_analysis(config.run)
    names, latents = chosen_latents(config, analysis)
    model, description = load_model(analysis.training.model_path)
    box = BoxOf(description["box_px"], description["render_px"], description["pixel_size_angstrom"])
    pixel = config.pixel_size or box.pixel_size_angstrom
    edge = box.box_px * box.pixel_size_angstrom / pixel
    if not _SMALLEST_PX <= edge <= max(_LARGEST_PX, box.box_px):
        raise ConfigError(
            f"--pixel-size: found {pixel:g} A, which makes boxes of {edge:.0f} px, expected "
            f"{_SMALLEST_PX} to {_LARGEST_PX}; the particles have {box.pixel_size_angstrom:g} A"
        )
    device = str(choose_devices(config.devices).torch_device())
    decoded = decode_latents(model, latents, config.apply_mask, device)
    written: dict[str, NDArray[np.float32]] = {}
    for i, (name, density) in enumerate(zip(names, decoded, strict=True)):
        volume = to_whole_box(
            density,
            model.crop_px,
            box,
            pixel_size_angstrom=pixel,
            cropped=config.box == "crop",
        )
        if config.low_pass is not None:
            volume = low_pass(volume, config.low_pass, pixel)
        if config.flip:
            # Mirrored about the centre voxel: index i goes to n - i.
            volume = np.roll(volume[::-1], 1, axis=0)
        run.write_map(f"volume_{i + 1}", f"{name}.mrc", volume, pixel_size_angstrom=pixel)
        written[name] = volume
        run.progress((i + 1) / len(names), name)
    run.add_value("volumes", [f"{name}.mrc" for name in names])
    _write_script(run, list(written))
    _report(config, run, written)
    _compare(config, run, analysis)


def chosen_latents(
    config: VolumesConfig, analysis: Analysis
) -> tuple[list[str], NDArray[np.float32]]:
    """Return names and structural latents (k, zdim) of the densities that are asked for.

    Along a component the latents are means of particles near each place, weighted by a Gaussian:
    the straight line between them may lie where there is no particle.
    """
    arrays = analysis.arrays
    means = analysis.training.latents["z_mu"]
    if str(arrays["space"]) == "zd":
        raise ConfigError(
            "RUN: found an analysis of the latents of poses, which have no densities; run "
            "opus-tomo analyze without --zd"
        )
    if config.kind == "kmeans":
        centres = arrays["centres"]
        return [f"kmeans{k + 1:02d}" for k in range(len(centres))], means[centres]
    if config.number > int(arrays["components"]):
        raise ConfigError(
            f"--number: found {config.number}, expected 1 to {int(arrays['components'])}, the "
            "components that were followed; give more --pcs to opus-tomo analyze"
        )
    along = arrays["projections"][:, config.number - 1]
    places = along_component(along, config.steps)
    width = max((places[-1] - places[0]) / config.steps, 1e-12)
    distance = ((along[None] - places[:, None]) / width) ** 2
    weights = np.exp(-0.5 * (distance - distance.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    names = [f"pc{config.number}_{k + 1:02d}" for k in range(config.steps)]
    return names, (weights @ means).astype(np.float32)


@torch.no_grad()
def decode_latents(
    model: DensityModel, latents: NDArray[np.float32], masked: bool, device: str
) -> NDArray[np.float32]:
    """Return densities (k, t, t, t) of latents (k, zdim)."""
    model.to(device)
    if not masked:
        model.template_mask.fill_(1.0)
    rows = [
        model.decode(torch.as_tensor(row[None], device=device)).cpu().numpy()[0] for row in latents
    ]
    return np.stack(rows)


def _write_script(run: RunFolder, names: list[str]) -> None:
    """Write a ChimeraX script that morphs through the densities."""
    files = " ".join(f"{name}.mrc" for name in names)
    first = f"open {files} vseries true" if len(names) > 1 else f"open {files}"
    text = f"{first}\nvolume style surface\nvseries play #1 direction oscillate\n"
    run.add_file("chimerax", "series.cxc")
    write_text(run.path("series.cxc"), text)


def _compare(config: VolumesConfig, run: RunFolder, analysis: Analysis) -> None:
    arrays, linear = analysis.arrays, analysis.training.latents["linear"]
    run.report.heading("What a linear method sees")
    if config.kind == "kmeans":
        labels = arrays["labels"]
        compare_clusters(run, linear, arrays["points"], labels, {"cluster": labels})
    else:
        along = arrays["projections"][:, config.number - 1]
        compare_component(run, linear, along, f"component {config.number}")


def _report(config: VolumesConfig, run: RunFolder, written: dict[str, NDArray[np.float32]]) -> None:
    report = run.report
    report.fact("densities", str(len(written)))
    report.heading("Densities")
    report.figure(
        volume_rows(written), "Above the middle slice across z, below the sum along y; one scale."
    )
    volumes = list(written.values())
    if len(volumes) > 1:
        deviation = np.std(np.stack(volumes), axis=0)
        report.figure(
            central_slices({"mean": np.mean(volumes, axis=0), "deviation": deviation}),
            "Where the densities differ.",
        )
    report.distrust(
        "Decoded densities are sharpened by the B-factor of the training and carry no resolution "
        "of their own. Average the particles of a cluster to measure one."
    )
    if config.flip:
        report.distrust("The densities are mirrored: they do not overlay the consensus.")

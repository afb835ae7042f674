"""What ``cryodl bench`` times of each method: its networks, losses and batches, on made-up data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.core.geometry.rotations import random_rotations
from cryodl.core.io.mrc import write_volume
from cryodl.core.simulation.densities import load_density

if TYPE_CHECKING:
    from torch import nn

    from cryodl.core.io.particles.model import ParticleSet
    from cryodl.core.training.batches import BatchSource

_PIXEL_ANGSTROM = 10.0
_STRUCTURE = "groel_groes"


@dataclass(frozen=True)
class Case:
    """A training to time.

    Attributes
    ----------
    what : str
        Network and sizes, in words.
    step, source
        For `cryodl.core.training.loop.fit`.
    gradient_clip : float or None
        As the method trains by default.
    """

    what: str
    step: nn.Module
    source: BatchSource
    gradient_clip: float | None = 1.0


@dataclass(frozen=True)
class Scale:
    """Sizes of the cases: what a processor or a GPU is used for.

    Attributes
    ----------
    width, cube_px, cubes
        Of spIsoNet.
    picker, crop_px, crops
        Preset of cet_pick, and its crops.
    autoencoder, boxes
        Preset of Autoencoder3D, and boxes of a batch.
    latent, particles
        Preset of OPUS-TOMO, and particles of a batch.
    matcher, pairs
        Preset of SelfAlign, and pairs of a batch.
    """

    width: int
    cube_px: int
    cubes: int
    picker: str
    crop_px: int
    crops: int
    autoencoder: Literal["base", "tiny"]
    boxes: int
    latent: str
    particles: int
    matcher: str
    pairs: int


SCALES = {
    "small": Scale(64, 32, 1, "cpu", 48, 4, "base", 32, "demo", 8, "proposer", 32),
    "large": Scale(64, 64, 4, "unet_4", 64, 16, "base", 128, "default", 8, "base", 64),
    "tiny": Scale(16, 16, 1, "cpu", 16, 2, "tiny", 4, "demo", 4, "refcnn", 2),
}


def spisonet(scale: Scale, folder: Path) -> Case:
    """Return the default training of the correction of anisotropy."""
    import torch

    from cryodl.core.simulation.half_maps import NoiseModel, simulate_missing_cone
    from cryodl.methods.spisonet.data import CrossDirectionData, DataSettings
    from cryodl.methods.spisonet.losses import CrossDirectionLoss
    from cryodl.methods.spisonet.model import build_network

    box, cube = scale.cube_px + 16, scale.cube_px
    truth, _ = load_density(_STRUCTURE, box)
    halves = simulate_missing_cone(
        truth, 4.0, half_angle_degrees=30.0, noise=NoiseModel(snr=4.0), seed=0
    )
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    seen = ((halves.sampling > 0.5) * np.clip(1.2 - 2 * radius / box, 0.05, 1)).astype(np.float32)
    arguments = {
        "halves": [halves.half1, halves.half2],
        "fsc3d": seen,
        "mask": halves.mask,
    }
    settings = DataSettings(cube_size_px=cube, batch_size=scale.cubes)
    network = build_network(scale.width, "batch", 0)
    return Case(
        f"U-Net of width {scale.width}, {scale.cubes} x {cube}³",
        CrossDirectionLoss(network, cube),
        CrossDirectionData(arguments, settings, use_gpu=torch.cuda.is_available()),
    )


def cet_pick(scale: Scale, folder: Path) -> Case:
    """Return the training of the picker with all its losses."""
    from cryodl.methods.cet_pick.data import CropShape, CropSource, LabelledTomogram
    from cryodl.methods.cet_pick.labels import label_shape
    from cryodl.methods.cet_pick.model import build_network
    from cryodl.methods.cet_pick.step import LossSettings, PickingStep
    from cryodl.methods.cet_pick.tomogram import Preparation, WorkingTomogram
    from cryodl.methods.cet_pick.train import PRESETS

    generator = np.random.default_rng(0)
    edge = 2 * scale.crop_px
    values = generator.standard_normal((32, edge, edge), dtype=np.float32)
    write_volume(folder / "tomogram.mrc", values, pixel_size_angstrom=_PIXEL_ANGSTROM)
    tomogram = WorkingTomogram(folder / "tomogram.mrc", "zyx", Preparation())
    middle = np.array(values.shape) / 2 / np.array(tomogram.spacing_zyx)
    centres = middle * generator.uniform(0.7, 1.3, (20, 3))
    crop = CropShape(6, scale.crop_px, 4, 1)
    source = CropSource(
        [LabelledTomogram(tomogram, [centres], (0, edge))], crop, label_shape(14), scale.crops, 0
    )
    network = build_network(PRESETS[scale.picker].size, 0)
    what = f"{scale.picker}, {scale.crops} x {crop.depth} x {scale.crop_px}², two views"
    return Case(what, PickingStep(network, LossSettings()), source)


def autoencoder3d(scale: Scale, folder: Path) -> Case:
    """Return the training of the autoencoder with the loss that knows the wedge."""
    import torch

    from cryodl.methods.autoencoder3d.data import STORED, BoxSource
    from cryodl.methods.autoencoder3d.losses import AutoencoderStep, WedgeWeight
    from cryodl.methods.autoencoder3d.model import AutoencoderSize, build_autoencoder
    from cryodl.methods.autoencoder3d.train import DEFAULTS

    edge, count = DEFAULTS[scale.autoencoder].box_px, 2 * scale.boxes
    boxes = np.random.default_rng(0).standard_normal((count, edge, edge, edge))
    np.save(folder / "boxes.npy", boxes.astype(STORED))
    source = BoxSource(
        folder / "boxes.npy",
        np.arange(count),
        np.zeros(count, dtype=np.int64),
        random_rotations(count, np.random.default_rng(1)).astype(np.float32),
        scale.boxes,
        0,
    )
    network = build_autoencoder(AutoencoderSize(scale.autoencoder, edge), 0)
    sine, cosine = np.sin(np.pi / 3), np.cos(np.pi / 3)
    normals = torch.tensor([[[-sine, 0, cosine], [sine, 0, cosine]]]).float()
    step = AutoencoderStep(network, wedge=WedgeWeight(edge, normals))
    return Case(f"{scale.autoencoder}, {scale.boxes} x {edge}³", step, source)


def opus_tomo(scale: Scale, folder: Path) -> Case:
    """Return the training of the latent space."""
    import torch

    from cryodl.core.volumes.masks import soft_sphere
    from cryodl.core.volumes.particle_average import AverageSettings
    from cryodl.methods.opus_tomo.canonical import Sampling
    from cryodl.methods.opus_tomo.data import ParticleSource, ParticleStore, Plan
    from cryodl.methods.opus_tomo.density import DensityModel, Scene
    from cryodl.methods.opus_tomo.model import build_network
    from cryodl.methods.opus_tomo.presets import PRESETS
    from cryodl.methods.opus_tomo.step import LatentStep, StepSettings

    choices = PRESETS[scale.latent]
    edge, count = choices.largest_px, 2 * scale.particles
    particles = _subtomograms(folder, count, edge)
    sampling = Sampling(edge, edge, edge, _PIXEL_ANGSTROM)
    store = ParticleStore(particles, AverageSettings(transfer="wedge"), sampling)
    truth, _ = load_density(_STRUCTURE, edge)
    mask = soft_sphere(edge, edge / 2 - 4, 3)
    scene = Scene(truth, mask, np.ones(edge // 2 + 1, np.float32))
    model = DensityModel(build_network(choices.size, 0), edge, choices.residual)
    model.set_scene(scene, choices.bfactor, _PIXEL_ANGSTROM)
    plan = Plan(np.arange(count), scale.particles, choices.epochs)
    step = LatentStep(model, StepSettings(), torch.as_tensor(store.rotations[:, 2]))
    what = f"{scale.latent}, {scale.particles} x {edge}³, decoded {choices.size.template_px}³"
    return Case(what, step, ParticleSource(store, plan, plan.steps_per_epoch()))


def selfalign(scale: Scale, folder: Path) -> Case:
    """Return the training of the network that proposes poses."""
    import torch

    from cryodl.core.fourier.wedge import missing_wedge
    from cryodl.methods.selfalign.data import PairSettings, PairSource
    from cryodl.methods.selfalign.losses import PoseStep
    from cryodl.methods.selfalign.model import PRESETS, build_network
    from cryodl.methods.selfalign.predict import proposer_grid

    size = PRESETS[scale.matcher]
    settings = PairSettings(size.box_px, 2.0, fixed_template=size.kind != "matching")
    settings = replace(settings, batch_size=scale.pairs)
    reference, _ = load_density(_STRUCTURE, 32)
    source = PairSource(settings, reference, wedge=missing_wedge(32, -60, 60))
    grid = proposer_grid(scale.matcher, "C1")
    network = build_network(scale.matcher, settings.max_shift_px, 0, len(grid))
    step = PoseStep(network, torch.eye(3)[None], 0.25, grid if len(grid) else None)
    return Case(f"{scale.matcher}, {scale.pairs} pairs of {size.box_px}³", step, source)


CASES: dict[str, Callable[[Scale, Path], Case]] = {
    "spisonet": spisonet,
    "cet-pick": cet_pick,
    "selfalign": selfalign,
    "autoencoder3d": autoencoder3d,
    "opus-tomo": opus_tomo,
}


def _subtomograms(folder: Path, count: int, edge: int) -> ParticleSet:
    from cryodl.core.io.particles.make import particles_from_subtomograms

    generator = np.random.default_rng(0)
    truth, _ = load_density(_STRUCTURE, edge)
    paths = [folder / f"particle{number}.mrc" for number in range(count)]
    for path in paths:
        noise: NDArray[np.float32] = generator.standard_normal((edge,) * 3, dtype=np.float32)
        noisy = truth / truth.std() + 2 * noise
        write_volume(path, noisy, pixel_size_angstrom=_PIXEL_ANGSTROM)
    return particles_from_subtomograms(
        paths,
        pixel_size_angstrom=_PIXEL_ANGSTROM,
        box_size_px=edge,
        rotations=random_rotations(count, generator),
    )

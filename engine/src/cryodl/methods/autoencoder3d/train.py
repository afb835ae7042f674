"""The work of ``cryodl autoencoder3d train``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryodl.core.io.atomic import atomic_path, write_json
from cryodl.core.io.particles.model import ParticleSet
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.core.training.devices import choose_devices
from cryodl.core.training.loop import FitResult, fit
from cryodl.core.training.seeds import numpy_generator
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import ConfigError, InputError
from cryodl.methods.autoencoder3d.config import TrainConfig
from cryodl.methods.autoencoder3d.data import (
    BoxSource,
    find_poses,
    open_boxes,
    write_boxes,
    write_posed,
)
from cryodl.methods.autoencoder3d.inputs import Subvolumes, gather
from cryodl.methods.autoencoder3d.losses import AutoencoderStep, WedgeWeight
from cryodl.methods.autoencoder3d.model import (
    Autoencoder,
    AutoencoderSize,
    build_autoencoder,
    save_network,
)
from cryodl.methods.autoencoder3d.pose_normalization import FINE, ROUND, Pose, PoseSettings
from cryodl.methods.autoencoder3d.train_report import report_training

MODEL, CODES, STAR = "model.safetensors", "codes.npz", "particles.star"
BOXES, POSED, ACCOUNT = "boxes.npy", "posed.npy", "subvolumes.json"
_FEWEST = 4


@dataclass(frozen=True)
class Defaults:
    """What a preset trains with when nothing else is said."""

    box_px: int
    epochs: int
    batch_size: int


DEFAULTS = {
    "paper": Defaults(32, 100, 128),
    "base": Defaults(24, 40, 32),
    "tiny": Defaults(16, 20, 32),
}


@dataclass(frozen=True)
class Validation:
    """The loss of boxes that are held out."""

    source: BoxSource
    rows: NDArray[np.int64]

    def __call__(self, step: nn.Module, epoch: int) -> dict[str, float]:
        """Return ``validation``: the mean loss, each box of one weight."""
        total, place = 0.0, next(step.parameters()).device
        for start in range(0, len(self.rows), self.source.batch_size):
            rows = self.rows[start : start + self.source.batch_size]
            batch = {name: t.to(place) for name, t in self.source.take(rows).items()}
            if self.source.turned:
                batch["turned"] = batch["volumes"].flip((1, 2))
            total += float(step(batch)["loss"]) * len(rows)
        return {"validation": total / len(self.rows)}


def run_train(config: TrainConfig, run: RunFolder) -> None:
    """Learn codes and write model, codes and particles.

    Raises
    ------
    InputError
        Data that cannot be used.
    TrainingError
        The loss is not finite.
    """
    found = gather(config, run.log)
    size = AutoencoderSize(config.preset, _network_box(config, found))
    run.log(
        f"{len(found.particles)} particles, box {found.box_size_px} px, network box {size.box_px}"
    )
    rows = _prepare(config, run, found, size.box_px)
    poses = _poses(config, run)
    source = _source(config, run, found, poses, rows)
    network = build_autoencoder(size, config.seed)
    result = _fit(config, run, network, source, found)
    codes, decoded_error = encode_all(network, source, config.devices)
    _write(config, run, network, found, poses, rows, codes)
    report_training(config, run, found, poses, codes, result, decoded_error)


def _network_box(config: TrainConfig, found: Subvolumes) -> int:
    wanted = config.network_box_px or DEFAULTS[config.preset].box_px
    size = min(wanted, found.box_size_px - found.box_size_px % 4)
    if size < 8:
        raise InputError(
            f"{config.inputs[0]}: found boxes of {found.box_size_px} px, expected 8 or more; cut "
            "larger ones"
        )
    return size


def _prepare(
    config: TrainConfig, run: RunFolder, found: Subvolumes, box_px: int
) -> NDArray[np.int64]:
    """Write the boxes and return which can be used."""
    run.add_file("boxes", BOXES)

    def told(done: float) -> None:
        run.progress(0.1 * done, "reading subvolumes")

    good = write_boxes(
        run.path(BOXES), found, box_px, low_pass_angstrom=config.low_pass, progress=told
    )
    if (~good).any():
        run.log(f"{int((~good).sum())} particles are constant and take no part")
    if good.sum() < _FEWEST:
        raise InputError(
            f"{config.inputs[0]}: found {int(good.sum())} boxes that are not constant, expected "
            f"{_FEWEST} or more; extract them again"
        )
    return np.flatnonzero(good)


def _poses(config: TrainConfig, run: RunFolder) -> list[Pose]:
    boxes = open_boxes(run.path(BOXES))
    settings = PoseSettings(
        config.pose, config.threshold, config.pose_smooth, config.keep_all, config.membrane
    )
    poses = find_poses(boxes, settings, lambda done: run.progress(0.1 + 0.05 * done, "poses"))
    if config.pose != "none":
        states = Counter(pose.state for pose in poses)
        run.log("poses: " + ", ".join(f"{n} {state}" for state, n in states.most_common()))
        if not states[FINE] + states[ROUND]:
            raise ConfigError(
                f"--threshold: found {config.threshold}, at which no particle has a shape to go by "
                f"({states.most_common(1)[0][0]} above it), expected matter in the boxes; give "
                "another, or --pose none"
            )
    run.add_file("normalised", POSED)
    write_posed(run.path(POSED), boxes, poses, lambda done: run.progress(0.15 + 0.05 * done))
    return poses


def _source(
    config: TrainConfig,
    run: RunFolder,
    found: Subvolumes,
    poses: list[Pose],
    rows: NDArray[np.int64],
) -> BoxSource:
    return BoxSource(
        run.path(POSED),
        rows,
        found.recordings.kinds,
        frame_rotations(found, poses).astype(np.float32),
        config.batch_size or DEFAULTS[config.preset].batch_size,
        config.seed,
        config.rotinv > 0,
    )


def frame_rotations(found: Subvolumes, poses: list[Pose]) -> NDArray[np.float64]:
    """Return rotations (N, 3, 3) from the standard frame to that of the tomogram."""
    rotations = np.stack([pose.rotation for pose in poses])
    cut = found.recordings.box_rotations
    return rotations if cut is None else cut @ rotations


def _fit(
    config: TrainConfig,
    run: RunFolder,
    network: Autoencoder,
    source: BoxSource,
    found: Subvolumes,
) -> FitResult:
    order = numpy_generator(config.seed, 2**20).permutation(source.rows)
    held = max(1, round(config.val_fraction * len(order)))
    validation = Validation(source, np.sort(order[:held]))
    source = BoxSource(**{**_fields(source), "rows": np.sort(order[held:])})
    wedge = None
    if config.wedge_loss and found.recordings.known:
        normals = torch.from_numpy(found.recordings.normals()).float()
        wedge = WedgeWeight(network.size.box_px, normals)
    step = AutoencoderStep(network, config.sparsity, config.denoise, config.rotinv, wedge)
    settings = TrainingSettings(
        steps_per_epoch=source.steps_per_epoch,
        epochs=config.epochs or DEFAULTS[config.preset].epochs,
        learning_rate=config.learning_rate,
        optimizer="adam",
        weight_decay=0.0,
        schedule="constant" if config.preset == "paper" else "one-cycle",
        gradient_clip=None if config.preset == "paper" else 1.0,
        precision=config.precision,
        devices=config.devices,
        launcher=config.launcher,
        seed=config.seed,
        patience=config.patience,
        monitor="validation",
        keep_best=True,
        progress_span=(0.2, 0.95),
        signature={"preset": config.preset, "box": network.size.box_px},
    )
    count = sum(p.numel() for p in network.parameters())
    run.log(
        f"training {config.preset}: {settings.total_steps} steps of {source.batch_size} boxes, "
        f"{count:,} parameters, {'wedge-aware' if wedge else 'voxel'} loss"
    )
    return fit(step, source, settings, run, resume=config.resume, validate=validation)


def _fields(source: BoxSource) -> dict[str, Any]:
    return {name: getattr(source, name) for name in source.__dataclass_fields__}


@torch.inference_mode()
def encode_all(
    network: Autoencoder, source: BoxSource, devices: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the codes of the rows of a source, and how much of each box is decoded.

    Returns
    -------
    codes : (M, code) float32
    explained : (M,) float32
        Share of the variance of the box that its decoded volume explains.
    """
    place = torch.device(choose_devices(devices).torch_device())
    network = network.to(place).eval()
    codes, explained = [], []
    for start in range(0, len(source.rows), source.batch_size):
        batch = source.take(source.rows[start : start + source.batch_size])
        volumes = batch["volumes"].to(place)
        decoded, found = network(volumes)
        rest = (decoded - volumes).square().mean(dim=(1, 2, 3))
        whole = volumes.square().mean(dim=(1, 2, 3)).clamp(min=1e-6)
        codes.append(found.float().cpu().numpy())
        explained.append((1 - rest / whole).cpu().numpy())
    network.to("cpu")
    return np.concatenate(codes), np.concatenate(explained)


def _write(
    config: TrainConfig,
    run: RunFolder,
    network: Autoencoder,
    found: Subvolumes,
    poses: list[Pose],
    rows: NDArray[np.int64],
    codes: NDArray[np.float32],
) -> None:
    voxel = found.pixel_size_angstrom * found.box_size_px / network.size.box_px
    particles = found.particles
    if config.pose != "none":
        particles = with_standard_poses(found, poses, voxel)
    chosen = particles.subset(rows)
    run.add_file("model", MODEL)
    description = {
        "box_size_px": found.box_size_px,
        "pixel_size_angstrom": voxel,
        "pose": config.pose,
    }
    save_network(run.path(MODEL), network, description)
    run.add_file("codes", CODES)
    with atomic_path(run.path(CODES)) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            names=np.array(chosen.names),
            codes=codes,
            rows=rows,
            rotations=np.stack([poses[i].rotation for i in rows]),
            centres_px=np.stack([poses[i].centre_px for i in rows]),
            states=np.array([poses[i].state for i in rows]),
            recordings=found.recordings.kinds[rows],
            frames=frame_rotations(found, poses)[rows],
        )
    run.add_file("star", STAR)
    write_particles(run.path(STAR), chosen)
    run.add_file("account", ACCOUNT)
    tomograms = {name: str(path) for name, path in found.tomograms.items()}
    write_json(
        run.path(ACCOUNT),
        {**description, **found.recordings.as_dict(), "tomograms": tomograms, "dark": found.dark},
    )
    run.add_value("particles", len(rows))


def with_standard_poses(found: Subvolumes, poses: list[Pose], voxel_angstrom: float) -> ParticleSet:
    """Return the particles with the poses found, in RELION's meaning, in the tomogram's frame."""
    particles = found.particles
    rotations = frame_rotations(found, poses)
    shifts = np.stack([-pose.centre_px for pose in poses]) * voxel_angstrom
    cut = found.recordings.box_rotations
    if cut is not None:
        shifts = np.einsum("nij,nj->ni", cut, shifts)
    return particles.with_poses(rotations, shifts)


def model_path(path: Path) -> Path:
    """Return the model file of a run given by its folder, or the file itself."""
    return path / MODEL if path.is_dir() else path

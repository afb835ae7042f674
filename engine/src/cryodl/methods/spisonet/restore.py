"""Train and predict for each half map, or for both together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from cryodl.core.fourier.filters import low_pass
from cryodl.core.geometry.resample import centred_to_rfft
from cryodl.core.networks.unet import UNet3D
from cryodl.core.run.threads import thread_limit
from cryodl.core.training.devices import limit_threads
from cryodl.core.training.launch import local_devices, process_rank
from cryodl.core.volumes.normalize import standardise
from cryodl.core.volumes.tiles import predict_tiled
from cryodl.methods.spisonet.contrast import contrast_signs
from cryodl.methods.spisonet.data import CrossDirectionData, DataSettings, fitting_cube_size
from cryodl.methods.spisonet.losses import CrossDirectionLoss, PublishedLoss
from cryodl.methods.spisonet.model import build_network, load_network, save_network
from cryodl.methods.spisonet.predict import Corrector
from cryodl.methods.spisonet.prepared import Correction, Prepared, description
from cryodl.methods.spisonet.problem import Problem
from cryodl.methods.spisonet.published import PublishedData, RotationAverage, cube_weight
from cryodl.methods.spisonet.recombination import combine
from cryodl.methods.spisonet.train import train_network, training_settings

if TYPE_CHECKING:
    from cryodl.core.run.folder import RunFolder
    from cryodl.methods.spisonet.config import CorrectConfig

History = list[dict[str, float]]

_TRAINED = 0.9  # share of the time that training takes


def restore_halves(
    prepared: Prepared, config: CorrectConfig, run: RunFolder
) -> tuple[list[Correction], History]:
    """Return the corrected half maps and the history of the last training.

    Together, the half maps teach one network, noise against noise. Independent, each has a
    network of its own that has seen nothing of the other. Maps whose matter is dark are turned to
    bright ones, for density is taken to be positive, and back at the end.
    """
    processes = local_devices(config.devices, config.launcher).processes
    with thread_limit(max(1, config.ncpus // processes) if config.ncpus else 0):
        limit_threads(processes)
        return _restore_all(prepared, config, run)


def _restore_all(
    prepared: Prepared, config: CorrectConfig, run: RunFolder
) -> tuple[list[Correction], History]:
    signs = contrast_signs(prepared.halves, prepared.masks, independent=config.independent)
    if -1 in signs:
        run.log("matter is dark in these maps: corrected with inverted contrast, and turned back")
        bright = [half * np.float32(sign) for half, sign in zip(prepared.halves, signs)]
        prepared = replace(prepared, halves=bright)
    halves = range(len(prepared.halves))
    groups = [[half] for half in halves] if config.independent else [list(halves)]
    corrections: list[Correction] = []
    history: History = []
    for number, group in enumerate(groups):
        part = Part(prepared, config, run, group, number, len(groups))
        restored, history = part.restore()
        corrections += restored
    turned = [
        replace(correction, filtered=correction.filtered * np.float32(sign))
        for correction, sign in zip(corrections, signs)
    ]
    return turned, history


class Part:
    """One training and the half maps it serves.

    Parameters
    ----------
    prepared, config, run
        Of the command.
    group : list of int
        The half maps that are seen.
    number, count : int
        Which part this is, of how many.
    """

    def __init__(
        self,
        prepared: Prepared,
        config: CorrectConfig,
        run: RunFolder,
        group: list[int],
        number: int,
        count: int,
    ) -> None:
        self.prepared = prepared
        self.config = config
        self.run = run
        self.group = group
        self.phase = "" if count == 1 else f"half{group[0] + 1}"
        self.span = (number / count, (number + 1) / count)
        self.number = number
        # Independent networks that began alike would invent alike.
        self.seed = config.seed + number
        self.cube_size_px = fitting_cube_size(config.cube_size, prepared.maps.box_size_px)
        self.tile_size_px = max(config.predict_crop_size, self.cube_size_px + 16)
        if self.cube_size_px < config.cube_size:
            self.tile_size_px = self.cube_size_px + 16
            run.log(
                f"box of {prepared.maps.box_size_px} voxels: training cubes of "
                f"{self.cube_size_px} instead of {config.cube_size}"
            )

    def restore(self) -> tuple[list[Correction], History]:
        """Train, save the network, and correct the half maps of the group."""
        if self.config.method == "classical":
            return self._cross_direction(None), []
        network = self._network()
        published = self.config.method == "published"
        history = self._train(network, published)
        if process_rank(self.config.launcher) == 0:
            self._save(network)
        corrections = self._published(network) if published else self._cross_direction(network)
        return corrections, history

    def _network(self) -> UNet3D:
        width, norm = int(self.config.width), self.config.norm
        if self.config.pretrained_model is not None:
            return load_network(self.config.pretrained_model, width, norm)
        network = build_network(width, norm, self.seed)
        if self.config.method == "cross-direction":
            # Start as the identity: the classical filling is the first guess, not noise.
            for parameter in network.exit.parameters():
                nn.init.zeros_(parameter)
        return network

    def _train(self, network: UNet3D, published: bool) -> History:
        settings = DataSettings(
            cube_size_px=self.cube_size_px,
            batch_size=self.config.batch_size,
            accumulate=self.config.acc_batches,
            emphasis=self.config.emphasis,
            seed=self.seed,
        )
        step: nn.Module
        source: Any
        if published:
            step, source = self._published_step(network, settings)
        else:
            step = CrossDirectionLoss(network, self.cube_size_px)
            source = CrossDirectionData(self._problem_arguments(), settings, use_gpu=self._on_gpu)
        low, high = self.span
        span = (low, low + _TRAINED * (high - low))
        steps = training_settings(self.config, phase="", span=span).total_steps
        result = train_network(
            step,
            source,
            self.config,
            self.run,
            phase=self.phase,
            span=span,
            first_step=self.number * steps,
        )
        return result.history

    @property
    def _on_gpu(self) -> bool:
        return local_devices(self.config.devices, self.config.launcher).kind == "cuda"

    @property
    def _device(self) -> torch.device:
        devices = local_devices(self.config.devices, self.config.launcher)
        index = devices.indices[0] if devices.kind == "cuda" else 0
        return torch.device("cuda", index) if devices.kind == "cuda" else torch.device("cpu")

    def _save(self, network: UNet3D) -> None:
        suffix = f"_{self.phase}" if self.phase else ""
        name = f"model{suffix}.safetensors"
        save_network(self.run.path(name), network, description(self.config, self.prepared))
        self.run.add_file(f"model{suffix}", name)
        if self.number == 0 and suffix:
            self.run.add_file("model", name)

    # --- the default method ----------------------------------------------------------------

    def _problem_arguments(self) -> dict[str, Any]:
        return {
            "halves": [self.prepared.halves[half] for half in self.group],
            "fsc3d": self.prepared.weight,
            "mask": self.prepared.masks[self.group[0]],
            "fill_iterations": self.config.fill_iterations,
            "mean_cosine": self.prepared.mean_cosine,
        }

    def _cross_direction(self, network: UNet3D | None) -> list[Correction]:
        device = self._device
        problem = Problem(**self._problem_arguments(), device=device)
        corrector = Corrector(
            problem,
            None if network is None else network.to(device),
            cube_size_px=self.cube_size_px,
            tile_size_px=self.tile_size_px,
            batch_size=self.config.batch_size,
        )
        start = self.span[0] + _TRAINED * (self.span[1] - self.span[0])
        calibration = corrector.calibrate(
            self.seed,
            lambda fraction: self.run.progress(
                start + (self.span[1] - start) * fraction, "predicting"
            ),
        )
        return [
            Correction(
                corrector.correct(place, calibration, restore=self.config.restore_power),
                calibration.missing.explained,
            )
            for place in range(len(self.group))
        ]

    # --- the published method --------------------------------------------------------------

    def _normalised(self) -> list[np.ndarray]:
        pixel = self.prepared.maps.pixel_size_angstrom
        limit = self.prepared.limit_angstrom
        return [
            standardise(low_pass(self.prepared.halves[half], limit, pixel)) for half in self.group
        ]

    def _published_step(
        self, network: UNet3D, settings: DataSettings
    ) -> tuple[PublishedLoss, PublishedData]:
        weight = cube_weight(self.prepared.weight, self.cube_size_px, rescale=self.config.rescale)
        loss = PublishedLoss(
            network,
            centred_to_rfft(torch.from_numpy(weight)),
            alpha=self.config.alpha,
            beta=self.config.beta,
        )
        mask = self.prepared.masks[self.group[0]]
        return loss, PublishedData(self._normalised(), mask, settings)

    def _published(self, network: UNet3D) -> list[Correction]:
        device = self._device
        used: nn.Module = RotationAverage(network) if self.config.tta else network
        used = used.to(device)
        corrections = []
        for values, half in zip(self._normalised(), self.group):
            source = self.prepared.halves[half]
            predicted = predict_tiled(
                used,
                values,
                cube_size_px=self.cube_size_px,
                tile_size_px=self.tile_size_px,
                batch_size=self.config.batch_size,
                device=device,
            ).numpy()
            joined = combine(
                predicted,
                source,
                self.prepared.limit_angstrom,
                self.prepared.maps.pixel_size_angstrom,
                mask=self.prepared.masks[half],
                weight=self.prepared.weight,
                match=self.config.match,
            )
            pixel = self.prepared.maps.pixel_size_angstrom
            filtered = low_pass(joined, self.prepared.limit_angstrom, pixel)
            corrections.append(Correction(filtered, None))
        return corrections

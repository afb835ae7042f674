"""Trained networks as givers of proposals for the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryodl.core.alignment.aligner import Aligner, Alignment
from cryodl.core.alignment.rotation_grid import even_rotations
from cryodl.core.alignment.spectra import Observations
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.training.schedule import learning_rate_at
from cryodl.core.training.settings import TrainingSettings
from cryodl.core.training.weights import load_weights, read_metadata, save_weights
from cryodl.errors import InputError
from cryodl.methods.selfalign.bank import TemplateBank
from cryodl.methods.selfalign.data import PairSettings, PairSource, prepared, wedge_of
from cryodl.methods.selfalign.losses import PoseStep
from cryodl.methods.selfalign.model import PRESETS, build_network

Map = NDArray[np.float32]
MODEL = "model.safetensors"
# Poses of a proposer that are scored, and turns of the input for networks with one answer.
_SCORED = 16
_TURNS = 8
# Where less sure than this, `auto` searches for itself as well.
_DOUBT = 0.9


@dataclass
class Proposer:
    """A network, its template, and what turns its answers into poses.

    Attributes
    ----------
    network : nn.Module
        In evaluation mode.
    preset : str
        Of `PRESETS`.
    template : (m, m, m) array
        The reference as the network looks at it.
    grid : Tensor, (g, 3, 3)
        Rotations of a preset ``proposer``.
    box_px : int
        Of the particles.
    symmetry : str
    device : str
    """

    network: nn.Module
    preset: str
    template: Map
    grid: Tensor
    box_px: int
    symmetry: str
    device: str

    def propose(self, volumes: Map) -> tuple[Tensor, Tensor | None]:
        """Return rotations (b, c, 3, 3), best first, and shifts (b, c, 3) px if there are any."""
        box = PRESETS[self.preset].box_px
        small = np.stack([prepared(volume, box) for volume in volumes])
        particles = torch.as_tensor(small, device=self.device)[:, None]
        template = torch.as_tensor(self.template, device=self.device)[None, None]
        template = template.expand(len(particles), -1, -1, -1, -1)
        with torch.inference_mode():
            first, second = self.network(particles, template)
        if self.preset == "proposer":
            best = first.topk(min(_SCORED, first.shape[1]), dim=1).indices
            return self.grid.to(first.device)[best].clone(), None
        scale = self.box_px / box
        return first[:, None].clone(), (second[:, None] * scale).clone()

    def align(self, aligner: Aligner, seen: Observations, volumes: Map, mode: str) -> Alignment:
        """Align by proposals: as they are, made better, or in doubt also searched for.

        Parameters
        ----------
        aligner : Aligner
            Of the reference.
        seen, volumes
            The particles, as observations and as boxes with bright matter.
        mode : "net", "refine" or "auto"
        """
        rotations, shifts = self.propose(volumes)
        if mode == "net":
            return self._as_they_are(aligner, seen, rotations, shifts)
        found = aligner.proposals(seen, rotations, 4)
        start = {"rotations": found.rotations.cpu(), "shifts_px": found.shifts.cpu()}
        result = aligner.align(seen, "auto", **start)
        if mode != "auto":
            return result
        doubtful = np.flatnonzero((result.confidence < _DOUBT) | self._poor(result))
        if len(doubtful) == 0:
            return result
        again = aligner.align(seen.chosen(torch.as_tensor(doubtful)), "auto")
        better = again.score > result.score[doubtful]
        for name, values in vars(result).items():
            values[doubtful[better]] = getattr(again, name)[better]
        return result

    def _poor(self, result: Alignment) -> NDArray[np.bool_]:
        """Return which scores are low among those seen: the lowest tenth is searched again."""
        return result.score < np.quantile(result.score, 0.1)

    def _as_they_are(
        self, aligner: Aligner, seen: Observations, rotations: Tensor, shifts: Tensor | None
    ) -> Alignment:
        if shifts is None:
            best = aligner.proposals(seen, rotations[:, :1], 1)
        else:
            best = aligner.scored(seen, rotations, shifts)
        blank = np.zeros(len(best.scores))
        return Alignment(
            best.rotations[:, 0].double().cpu().numpy(),
            best.shifts[:, 0].double().cpu().numpy(),
            best.scores[:, 0].double().cpu().numpy(),
            blank,
            blank.copy(),
            np.full(len(blank), 180.0),
        )


def proposer_grid(preset: str, symmetry: str) -> Tensor:
    """Return the rotations that a proposer chooses from; none for other presets."""
    if PRESETS[preset].grid == 0:
        return torch.zeros(0, 3, 3)
    return torch.as_tensor(even_rotations(PRESETS[preset].grid, symmetry)).float()


def start_network(
    network: nn.Module, reference: Map | None, wedge: Map | None, grid: Tensor
) -> None:
    """Let a bank of templates begin with those of the reference; others begin as they are."""
    if not isinstance(network, TemplateBank) or reference is None:
        return
    box = network.box_px
    seen = None if wedge is None else wedge_of(wedge, box)
    network.start(torch.as_tensor(prepared(reference, box)), grid, seen)


def save_proposer(path: Path, proposer: Proposer, facts: dict[str, Any]) -> None:
    """Write a network with all that is needed to use it, the template included."""
    holder = _Holder(proposer.network, torch.as_tensor(proposer.template))
    header = {
        "method": "selfalign",
        "preset": proposer.preset,
        "symmetry": proposer.symmetry,
        "box_px": proposer.box_px,
        "tmax_px": float(proposer.network.tmax_px),  # type: ignore[arg-type]
        **facts,
    }
    save_weights(path, holder, header)


def load_proposer(
    path: Path, reference: Map, pixel_size_angstrom: float, device: str = "cpu"
) -> Proposer:
    """Read a network for a reference.

    Raises
    ------
    InputError
        It was trained for another box or pixel size, or for another reference.
    """
    file = path / MODEL if path.is_dir() else path
    header = read_metadata(file)
    if "preset" not in header or header["preset"] not in PRESETS:
        raise InputError(f"--model {file}: is no network of selfalign train; give one")
    box, pixel = reference.shape[0], header.get("pixel_size_angstrom", pixel_size_angstrom)
    if header["box_px"] != box or abs(pixel / pixel_size_angstrom - 1) > 0.02:
        raise InputError(
            f"--model {file}: trained for boxes of {header['box_px']} px of {pixel:g} A, the "
            f"particles have {box} of {pixel_size_angstrom:g} A; train one for them"
        )
    preset, symmetry = header["preset"], header["symmetry"]
    grid = proposer_grid(preset, symmetry)
    network = build_network(preset, header["tmax_px"], outputs=len(grid))
    size = PRESETS[preset].box_px
    holder = _Holder(network, torch.zeros(size, size, size))
    load_weights(file, holder)
    template = prepared(reference, size)
    if PRESETS[preset].kind in ("fixed", "proposer"):
        same = float((holder.template.numpy() * template).sum() / (template**2).sum())
        if same < 0.8:
            raise InputError(
                f"--model {file}: was trained for a reference that agrees with --reference only by "
                f"{same:.2f}, expected the same; train one for it"
            )
    network.eval().to(device)
    return Proposer(network, preset, template, grid, box, symmetry, device)


def train_proposer(
    reference: Map,
    volumes: Map,
    transfers: Map | None,
    *,
    steps: int,
    seed: int,
    symmetry: str,
    pixel_size_angstrom: float,
    max_shift_px: float,
    device: str,
    log: Callable[[str], None],
) -> Proposer:
    """Train a proposer on a map in memory, as the averaging loop does between rounds."""
    box, preset = reference.shape[0], "proposer"
    size = PRESETS[preset]
    wedge = None if transfers is None else transfers.reshape(-1, box, box, box)[0]
    pairs = PairSettings(size.box_px, max_shift_px * size.box_px / box, seed=seed)
    source = PairSource(pairs, reference, None, wedge)
    grid = proposer_grid(preset, symmetry)
    network = build_network(preset, pairs.max_shift_px, seed, len(grid))
    start_network(network, reference, wedge, grid)
    group = torch.as_tensor(symmetry_matrices(symmetry)).float()
    step_module = PoseStep(network, group, 1.0, grid).to(device)
    schedule = TrainingSettings(steps, 1, learning_rate=size.learning_rate, schedule="one-cycle")
    optimizer = torch.optim.AdamW(network.parameters(), lr=size.learning_rate, weight_decay=0.01)
    for step in range(steps):
        for choice in optimizer.param_groups:
            choice["lr"] = learning_rate_at(step, schedule)
        batch = {name: t.to(device) for name, t in source.batch(step, 0, 0, 1).items()}
        optimizer.zero_grad(set_to_none=True)
        losses = step_module(batch)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    log(f"network: {steps} steps, {float(losses['near']):.0%} of the last batch near a proposal")
    network.eval()
    template = prepared(reference, size.box_px)
    return Proposer(network, preset, template, grid, box, symmetry, device)


class _Holder(nn.Module):
    """A network and its template in one file."""

    template: Tensor

    def __init__(self, network: nn.Module, template: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("template", template.clone())

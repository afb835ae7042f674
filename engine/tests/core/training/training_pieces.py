"""A small step, its data and a run folder, for the tests of the training loop."""

import json
from pathlib import Path

import torch
from torch import nn

from cryodl.core.io.atomic import write_text
from cryodl.core.networks.unet import UNet3D
from cryodl.core.training.seeds import torch_generator
from cryodl.core.training.settings import TrainingSettings


class DenoisingStep(nn.Module):
    """Two passes of a tiny U-Net with dropout: what could go wrong in a resumed run."""

    def __init__(self, norm="batch", dropout=0.2, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.network = UNet3D((2, 4), convolutions=1, norm=norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch):
        first = self.network(self.dropout(batch["noisy"]))
        second = self.network(first)
        fit = (first.float() - batch["clean"]).square().mean()
        again = (second.float() - batch["clean"]).abs().mean()
        return {"loss": fit + 0.5 * again, "fit": fit.detach(), "again": again.detach()}


class BlobSource:
    """Noisy cubes of a smooth density; item `i` of a step is the same for any world size."""

    def __init__(self, items=2, seed=3, size=8):
        self.items, self.seed, self.size = items, seed, size

    def batch(self, step, micro, rank, world_size):
        axis = torch.linspace(-1, 1, self.size)
        clean = torch.exp(-4 * (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2))
        noisy = []
        for item in range(rank * self.items, (rank + 1) * self.items):
            generator = torch_generator(self.seed, step, micro, item)
            noisy.append(clean + 0.5 * torch.randn(clean.shape, generator=generator))
        stacked = torch.stack(noisy)[:, None]
        return {"noisy": stacked, "clean": clean.expand_as(stacked)}


class RecordingRun:
    """The part of a run folder that the loop uses, kept simple."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.lines = []
        self.fractions = []

    def log(self, message):
        self.lines.append(message)

    def metrics(self, **values):
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def metrics_truncate(self, step):
        path = self.folder / "metrics.jsonl"
        if path.exists():
            kept = [m for m in read_metrics(self.folder) if m["step"] <= step]
            write_text(path, "".join(json.dumps(m) + "\n" for m in kept))

    def progress(self, fraction, note=""):
        self.fractions.append(fraction)


def read_metrics(folder):
    """Return the metrics lines; one that a kill cut short is left out."""
    found = []
    for line in (Path(folder) / "metrics.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def small_settings(**changes):
    """Return settings of a training of a second or so on one CPU."""
    return TrainingSettings(
        **{"steps_per_epoch": 4, "epochs": 3, "learning_rate": 1e-2, "devices": "cpu", **changes}
    )


def weights_of(step):
    """Return a copy of the state of a step."""
    return {name: tensor.clone() for name, tensor in step.state_dict().items()}

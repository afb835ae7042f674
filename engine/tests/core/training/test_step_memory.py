"""Memory of a step, from shapes alone."""

import torch
from torch import nn
from training_pieces import BlobSource, RecordingRun, small_settings, weights_of

from cryodl.core.training.loop import fit
from cryodl.core.training.memory import is_small, step_memory
from cryodl.core.training.precision import Precision

HOST = Precision("32", "cpu")


class Layers(nn.Module):
    """Two convolutions, whose inputs and one activation are kept."""

    def __init__(self, channels=8, looks=False):
        super().__init__()
        self.first = nn.Conv3d(1, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(channels)
        self.second = nn.Conv3d(channels, 1, 3, padding=1, bias=False)
        self.looks = looks

    def forward(self, batch):
        values = torch.relu(self.first(batch["noisy"]))
        if self.looks and bool((values > 1e9).any()):
            values = values * 0
        return {"loss": self.second(values).square().mean()}


def batch_of(items, size=8):
    return {"noisy": torch.randn(items, 1, size, size, size)}


def test_what_is_kept_is_counted_once_and_grows_with_the_batch():
    voxels = 4 * 8**3
    small, large = (step_memory(Layers(), batch_of(n), HOST) for n in (2, 4))
    # Batch, what relu keeps (shared with the second layer), the output, and that it is kept.
    assert small.kept == 2 * voxels * (1 + 8 + 1 + 1)
    assert large.kept == 2 * small.kept and large.weights == small.weights
    assert small.largest == 2 * voxels * 8 and small.is_whole
    parameters = 2 * 27 * 8 + 16
    assert small.weights == 4 * 4 * parameters
    averaged = step_memory(Layers(), batch_of(2), HOST, is_averaged=True)
    assert averaged.weights == 5 * 4 * parameters
    assert small.words(2).startswith("about") and "for 2 items" in small.words(2)


def test_neither_weights_nor_statistics_nor_chance_are_touched():
    step, batch = Layers().train(), batch_of(2)
    before, state = weights_of(step), torch.get_rng_state()
    step_memory(step, batch, HOST)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in step.state_dict().items())
    assert all(p.grad is None for p in step.parameters())


def test_a_step_that_looks_at_values_is_counted_up_to_there():
    found = step_memory(Layers(looks=True), batch_of(2), HOST)
    assert not found.is_whole and found.words(2).startswith("at least")
    assert found.kept > 2 * 4 * 8**3 * 8


def test_it_is_told_before_the_first_step_where_it_matters(tmp_path):
    assert is_small(Layers(), batch_of(2)) and not is_small(Layers(), batch_of(2, size=64))
    run = RecordingRun(tmp_path)
    fit(Layers(), BlobSource(2, size=64), small_settings(steps_per_epoch=1, epochs=1), run)
    told = next(i for i, line in enumerate(run.lines) if line.startswith("Memory: about"))
    assert told < next(i for i, line in enumerate(run.lines) if line.startswith("epoch 1/1"))
    few = RecordingRun(tmp_path / "few")
    fit(Layers(), BlobSource(2), small_settings(steps_per_epoch=1, epochs=1), few)
    assert not any("Memory" in line for line in few.lines)

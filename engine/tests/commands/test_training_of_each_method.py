"""What every method gets from the training loop: smaller batches, memory told, processes."""

import copy
import json
from pathlib import Path

import pytest
import torch

from cryodl.commands.bench_cases import CASES, SCALES
from cryodl.core.training.loop import fit
from cryodl.core.training.memory import step_memory
from cryodl.core.training.precision import Precision
from cryodl.core.training.settings import TrainingSettings

METHODS = sorted(CASES)
# Norms over a batch see only their part of it, and so do losses that are ratios over a batch.
EXACT = {"autoencoder3d": 1e-5, "selfalign": 1e-4}
# Where the gradient is nothing but rounding (a bias that a norm behind it takes away) Adam makes
# steps of the learning rate, 3e-4, in a direction by chance: two steps, in each of two runs.
ROUNDING, BY_CHANCE = 1e-6, 4 * 3e-4


class Run:
    """The part of a run folder that the loop uses."""

    def __init__(self, folder):
        self.folder, self.lines = Path(folder), []
        self.folder.mkdir(exist_ok=True)

    def log(self, message):
        self.lines.append(message)

    def metrics(self, **values):
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def metrics_truncate(self, step):
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)

    def progress(self, fraction, note=""):
        pass


class Shared:
    """Batches of a source, each process its part of them, in the same order for any number."""

    def __init__(self, source):
        self.source = source

    def batch(self, step, micro, rank, world_size):
        whole = self.source.batch(step, micro, 0, 1)
        return {
            name: tensor.tensor_split(world_size)[rank].clone() if tensor.ndim else tensor
            for name, tensor in whole.items()
        }


class Crowded(torch.nn.Module):
    """A step for which the device is too small above so many items."""

    def __init__(self, step, most):
        super().__init__()
        self.step, self.most = step, most

    def forward(self, batch):
        if max(t.shape[0] for t in batch.values() if t.ndim) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return self.step(batch)


def settings(**changes):
    return TrainingSettings(
        **{"steps_per_epoch": 2, "epochs": 1, "devices": "cpu", "gradient_clip": 1.0, **changes}
    )


def case_of(method, folder):
    scale = copy.copy(SCALES["tiny"])
    object.__setattr__(scale, "particles", 8)  # of which a half can still be normalised
    object.__setattr__(scale, "cubes", 2)
    object.__setattr__(scale, "matcher", "proposer")
    return CASES[method](scale, folder)


@pytest.mark.parametrize("method", METHODS)
def test_out_of_memory_halves_the_micro_batch_and_says_so(tmp_path, method):
    case = case_of(method, tmp_path)
    items = max(t.shape[0] for t in case.source.batch(0, 0, 0, 1).values() if t.ndim)
    run = Run(tmp_path / "run")
    result = fit(Crowded(case.step, items // 2), case.source, settings(), run)
    assert sum("out of memory: micro-batches are now computed in 2 parts" in m for m in run.lines)
    assert result.steps == 2
    assert torch.isfinite(torch.tensor(result.history[0]["loss"]))


@pytest.mark.parametrize("method", METHODS)
def test_memory_of_a_step_is_estimated(tmp_path, method):
    case = case_of(method, tmp_path)
    batch = case.source.batch(0, 0, 0, 1)
    found = step_memory(case.step.train(), batch, Precision("32", "cpu"))
    weights = 4 * sum(p.numel() for p in case.step.parameters() if p.requires_grad)
    assert found.weights == 4 * weights
    assert found.kept > 3 * sum(t.numel() * t.element_size() for t in batch.values())
    assert found.is_whole == (method not in ("cet-pick", "opus-tomo"))


def without_gradient(case):
    """Return the names of parameters on which the loss does not depend; few do."""
    step = copy.deepcopy(case.step).train()
    step(case.source.batch(0, 0, 0, 1))["loss"].backward()
    parameters = dict(step.named_parameters())
    idle = {
        name
        for name, parameter in parameters.items()
        if parameter.grad is not None and parameter.grad.abs().max() < ROUNDING
    }
    assert len(idle) <= 1
    return idle


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_train_as_one_does(tmp_path, method):
    case = case_of(method, tmp_path)
    results, states = [], []
    for devices in ("cpu", "cpu:2"):
        step = copy.deepcopy(case.step)
        run = Run(tmp_path / devices.replace(":", ""))
        results.append(fit(step, Shared(case.source), settings(devices=devices), run))
        states.append(step.state_dict())
    assert any("2 x cpu" in line for line in run.lines)
    losses = [result.history[0]["loss"] for result in results]
    tolerance = EXACT.get(method)
    if tolerance is None:
        assert losses[1] == pytest.approx(losses[0], rel=0.3)
        return
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    idle = without_gradient(case)
    for name, weight in states[0].items():
        allowed = BY_CHANCE if name in idle else tolerance
        torch.testing.assert_close(states[1][name], weight, rtol=0, atol=allowed)

"""The loop in one process: it learns, repeats itself, resumes, and stops with a clear word."""

import math

import pytest
import torch
from torch import nn
from training_pieces import (
    BlobSource,
    DenoisingStep,
    RecordingRun,
    read_metrics,
    small_settings,
    weights_of,
)

from cryodl.core.training.checkpoint import read_checkpoint
from cryodl.core.training.loop import fit
from cryodl.errors import CheckpointError, ConfigError, TrainingError


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


class LineStep(nn.Module):
    """Loss (w - target)^2, whose optimiser steps can be done by hand."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        return {"loss": (self.w - batch["target"]).square().mean()}


class Targets:
    """Items of value 1, or what `value` makes of step and micro-batch."""

    def __init__(self, value=lambda step, micro: 1.0, items=2):
        self.value, self.items = value, items

    def batch(self, step, micro, rank, world_size):
        return {"target": torch.full((self.items,), self.value(step, micro))}


def test_it_learns_and_reports(tmp_path):
    run, step = RecordingRun(tmp_path), DenoisingStep()
    result = fit(step, BlobSource(), small_settings(epochs=6), run)
    losses = [line["loss"] for line in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert result.history == read_metrics(tmp_path)
    assert [(m["epoch"], m["step"]) for m in result.history] == [(e, 4 * e) for e in range(1, 7)]
    assert (result.epochs, result.steps, result.stopped_early) == (6, 24, False)
    assert sum("left" in line for line in run.lines) == 6
    assert run.fractions == sorted(run.fractions) and run.fractions[-1] == 1
    assert result.checkpoint == tmp_path / "checkpoints" / "last.pt"
    assert not step.training


def test_first_steps_are_those_of_adamw_done_by_hand(tmp_path):
    step = LineStep()
    settings = small_settings(epochs=1, steps_per_epoch=2, learning_rate=0.1, weight_decay=0.5)
    fit(step, Targets(), settings, RecordingRun(tmp_path))
    weight, mean, square = 0.0, 0.0, 0.0
    for number in (1, 2):
        gradient = 2 * (weight - 1)
        weight *= 1 - 0.1 * 0.5
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        corrected = (mean / (1 - 0.9**number), square / (1 - 0.999**number))
        weight -= 0.1 * corrected[0] / (math.sqrt(corrected[1]) + 1e-8)
    assert step.w.item() == pytest.approx(weight, abs=1e-6)


def test_reported_loss_is_the_mean_over_micro_batches_and_steps(tmp_path):
    source = Targets(lambda step, micro: float(1 + step + 10 * micro))
    settings = small_settings(epochs=1, steps_per_epoch=2, accumulate=2, learning_rate=1e-9)
    result = fit(LineStep(), source, settings, RecordingRun(tmp_path))
    expected = (1 + 11**2 + 2**2 + 12**2) / 4
    assert result.history[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_accumulation_of_two_halves_equals_one_batch(tmp_path):
    class Half(BlobSource):
        def batch(self, step, micro, rank, world_size):
            whole = super().batch(step, 0, 0, 1)
            return {name: t[2 * micro : 2 * micro + 2] for name, t in whole.items()}

    ends = []
    for number, (source, accumulate) in enumerate([(BlobSource(4), 1), (Half(4), 2)]):
        step = DenoisingStep(norm="instance", dropout=0)
        run = RecordingRun(tmp_path / str(number))
        fit(step, source, small_settings(accumulate=accumulate, gradient_clip=0.5), run)
        ends.append(weights_of(step))
    for name, weight in ends[0].items():
        torch.testing.assert_close(ends[1][name], weight, rtol=0, atol=1e-5)


def test_same_seed_same_weights_other_seed_other_weights(tmp_path):
    ends = []
    for number, seed in enumerate([5, 5, 6]):
        step = DenoisingStep()
        fit(step, BlobSource(), small_settings(seed=seed), RecordingRun(tmp_path / str(number)))
        ends.append(weights_of(step))
    assert_equal_weights(ends[0], ends[1])
    assert not torch.equal(ends[0]["network.exit.weight"], ends[2]["network.exit.weight"])


def test_resuming_a_finished_run_changes_nothing_and_more_epochs_go_on(tmp_path):
    run, step = RecordingRun(tmp_path), DenoisingStep()
    fit(step, BlobSource(), small_settings(epochs=2), run)
    again = DenoisingStep(seed=9)
    result = fit(again, BlobSource(), small_settings(epochs=2), run, resume=True)
    assert result.steps == 8
    assert_equal_weights(weights_of(again), weights_of(step))
    longer, whole = DenoisingStep(seed=9), DenoisingStep()
    fit(longer, BlobSource(), small_settings(epochs=3), run, resume=True)
    fit(whole, BlobSource(), small_settings(epochs=3), RecordingRun(tmp_path / "whole"))
    assert_equal_weights(weights_of(longer), weights_of(whole))
    assert [m["epoch"] for m in read_metrics(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path):
    run = RecordingRun(tmp_path)
    fit(DenoisingStep(), BlobSource(), small_settings(signature={"width": 16}), run)
    for changes, message in [
        ({"learning_rate": 0.5}, r"found learning rate 0.01, expected 0.5"),
        ({"signature": {"width": 32}}, r"found signature width 16, expected 32"),
    ]:
        settings = small_settings(**{"signature": {"width": 16}, **changes})
        with pytest.raises(CheckpointError, match=message):
            fit(DenoisingStep(), BlobSource(), settings, run, resume=True)
    settings = small_settings(signature={"width": 16})
    with pytest.raises(CheckpointError, match="expected those of this network|of shape"):
        fit(DenoisingStep(norm="instance"), BlobSource(), settings, run, resume=True)


def test_a_loss_that_is_not_finite_stops_with_advice_and_leaves_a_good_checkpoint(tmp_path):
    source = Targets(lambda step, micro: float("nan") if step == 6 else 1.0)
    with pytest.raises(TrainingError, match=r"found loss nan near step \d.*smaller learning rate"):
        fit(LineStep(), source, small_settings(), RecordingRun(tmp_path))
    state = read_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert state["step"] == 4 and torch.isfinite(state["weights"]["w"])


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    class Explodes(LineStep):
        def forward(self, batch):
            return {"loss": torch.sqrt(self.w - self.w.detach())}  # loss 0, gradient infinite

    settings = small_settings(steps_per_epoch=1, epochs=1)
    with pytest.raises(TrainingError, match="found weights w"):
        fit(Explodes(), Targets(), settings, RecordingRun(tmp_path))
    assert read_checkpoint(tmp_path / "checkpoints" / "last.pt")["step"] == 0


def test_out_of_memory_halves_the_micro_batch_with_the_same_result(tmp_path):
    class Full(DenoisingStep):
        def forward(self, batch):
            if len(batch["noisy"]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
            return super().forward(batch)

    full, roomy = (kind(norm="instance", dropout=0) for kind in (Full, DenoisingStep))
    run = RecordingRun(tmp_path / "full")
    fit(full, BlobSource(7), small_settings(), run)  # 7 = 3 + 2 + 2
    fit(roomy, BlobSource(7), small_settings(), RecordingRun(tmp_path / "roomy"))
    for name, weight in weights_of(roomy).items():
        torch.testing.assert_close(full.state_dict()[name], weight, rtol=0, atol=1e-5)
    assert [line.split(" in ")[-1][0] for line in run.lines if "out of memory" in line] == [
        "2",
        "4",
    ]
    losses = [m["loss"] for m in read_metrics(tmp_path / "full")]
    assert losses == pytest.approx([m["loss"] for m in read_metrics(tmp_path / "roomy")], abs=1e-5)


def test_the_running_mean_is_the_result_and_what_is_validated(tmp_path):
    seen = []

    def validate(step, epoch):
        seen.append(step.w.item())
        assert not step.training and not torch.is_grad_enabled()
        return {"distance": abs(1 - step.w.item())}

    step = LineStep()
    settings = small_settings(ema_decay=0.5, steps_per_epoch=2, learning_rate=0.1, epochs=2)
    result = fit(step, Targets(), settings, RecordingRun(tmp_path), validate=validate)
    state = read_checkpoint(result.checkpoint)
    assert step.w.item() == state["ema"]["w"].item() == seen[-1]
    assert state["weights"]["w"].item() > step.w.item() > 0, "the mean lags behind"
    assert [m["distance"] for m in result.history] == [1 - w for w in seen]


def test_patience_and_the_best_epoch(tmp_path):
    def validate(step, epoch):
        return {"score": abs(epoch - 2)}  # best at epoch 2

    ends = {}

    def remember(step, epoch):
        ends[epoch] = weights_of(step)
        return validate(step, epoch)

    step = LineStep()
    settings = small_settings(epochs=9, patience=3, monitor="score", keep_best=True)
    result = fit(step, Targets(), settings, RecordingRun(tmp_path), validate=remember)
    assert result.stopped_early and result.epochs == 5
    assert_equal_weights(weights_of(step), ends[2])
    resumed = LineStep()
    again = fit(resumed, Targets(), settings, RecordingRun(tmp_path), True, validate=remember)
    assert again.epochs == 5
    assert_equal_weights(weights_of(resumed), ends[2])


def test_two_phases_of_one_run_keep_apart(tmp_path):
    run = RecordingRun(tmp_path)
    common = {"epochs": 2, "steps_per_epoch": 2}
    first = small_settings(**common, phase="half1", progress_span=(0, 0.5))
    second = small_settings(**common, phase="half2", first_step=4, progress_span=(0.5, 1))
    for settings in (first, second):
        fit(DenoisingStep(), BlobSource(), settings, run)
    for settings in (first, second):  # a resumed command goes through both again
        fit(DenoisingStep(), BlobSource(), settings, run, resume=True)
    lines = [(m["phase"], m["step"]) for m in read_metrics(tmp_path)]
    assert lines == [("half1", 2), ("half1", 4), ("half2", 6), ("half2", 8)]
    assert (tmp_path / "checkpoints" / "half2" / "last.pt").exists()
    assert run.fractions[:4] == sorted(run.fractions[:4]) and max(run.fractions[:2]) <= 0.5


def test_own_parameter_groups_with_their_own_rates(tmp_path):
    class Two(LineStep):
        def __init__(self):
            super().__init__()
            self.slow = nn.Parameter(torch.zeros(()))

        def parameter_groups(self):
            return [{"params": [self.w]}, {"params": [self.slow], "learning_rate_factor": 0.01}]

        def forward(self, batch):
            return {"loss": (self.w + self.slow - batch["target"]).square().mean()}

    step = Two()
    fit(step, Targets(), small_settings(epochs=1, weight_decay=0.0), RecordingRun(tmp_path))
    assert step.slow.item() == pytest.approx(0.01 * step.w.item(), rel=1e-4)


def test_bf16_runs_the_network_in_bf16_and_leaves_data_and_weights_in_float32(tmp_path):
    kinds = {}

    class Spy(LineStep):
        def forward(self, batch):
            product = torch.nn.functional.linear(batch["target"][None], self.w.expand(1, 2))
            kinds.update(data=batch["target"].dtype, product=product.dtype, weight=self.w.dtype)
            return {"loss": (product.float() - 2).square().mean()}

    fit(Spy(), Targets(), small_settings(precision="bf16"), RecordingRun(tmp_path))
    expected = {"data": torch.float32, "product": torch.bfloat16, "weight": torch.float32}
    assert kinds == expected


def test_float16_without_a_gpu_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="16 on the CPU, expected a GPU"):
        fit(LineStep(), Targets(), small_settings(precision="16"), RecordingRun(tmp_path))


def test_no_epochs_leave_the_weights_alone(tmp_path):
    step = DenoisingStep()
    before = weights_of(step)
    result = fit(step, BlobSource(), small_settings(epochs=0), RecordingRun(tmp_path))
    assert result.history == [] and result.checkpoint is None
    assert_equal_weights(weights_of(step), before)


def test_a_long_epoch_is_reported_and_saved_within(tmp_path):
    run = RecordingRun(tmp_path)
    settings = small_settings(epochs=1, steps_per_epoch=6, checkpoint_seconds=0, log_seconds=0)
    fit(LineStep(), Targets(), settings, run)
    assert sum("so far" in line for line in run.lines) == 5
    previous = read_checkpoint(tmp_path / "checkpoints" / "previous.pt")
    assert previous["step"] == 5


@pytest.mark.gpu
def test_on_a_gpu_with_float16_and_accumulation(tmp_path):
    settings = small_settings(devices="auto", precision="16", accumulate=2, gradient_clip=1.0)
    result = fit(DenoisingStep(), BlobSource(), settings, RecordingRun(tmp_path))
    assert result.history[-1]["loss"] < result.history[0]["loss"]

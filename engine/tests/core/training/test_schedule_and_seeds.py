"""Learning rates, settings, seeds and batches: functions of counters alone."""

import numpy as np
import pytest
import torch

from cryodl.core.training.batches import Place, split, stream
from cryodl.core.training.progress import duration
from cryodl.core.training.schedule import learning_rate_at
from cryodl.core.training.seeds import (
    derive_seed,
    numpy_generator,
    seed_torch,
    torch_generator,
)
from cryodl.core.training.settings import TrainingSettings
from cryodl.errors import ConfigError, DeviceError


def settings(**changes):
    return TrainingSettings(
        **{"steps_per_epoch": 10, "epochs": 10, "learning_rate": 2.0, **changes}
    )


def test_constant_with_a_linear_rise():
    chosen = settings(warmup_steps=4)
    assert [learning_rate_at(s, chosen) for s in (0, 1, 3, 4, 99)] == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_cosine_is_the_scheduler_of_torch():
    chosen = settings(schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    for step in range(100):
        assert learning_rate_at(step, chosen) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_one_cycle_is_the_scheduler_of_torch():
    chosen = settings(schedule="one-cycle", steps_per_epoch=11, epochs=11)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2.0, total_steps=121)
    theirs = []
    for _ in range(121):
        theirs.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(theirs) < 121:
            scheduler.step()
    ours = [learning_rate_at(step, chosen) for step in range(121)]
    # theirs takes 0.3 of all steps, less one, for the rise; the curves are otherwise the same
    assert ours == pytest.approx(theirs, abs=0.05)
    assert max(ours) == pytest.approx(2.0, rel=1e-3) and ours[-1] < 1e-4


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle"])
def test_the_rate_is_never_zero_even_for_one_step(schedule):
    chosen = settings(schedule=schedule, steps_per_epoch=1, epochs=1)
    assert learning_rate_at(0, chosen) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"steps_per_epoch": 0},
        {"epochs": -1},
        {"learning_rate": 0.0},
        {"optimizer": "sgd"},
        {"schedule": "step"},
        {"precision": "64"},
        {"launcher": "mpi"},
        {"ema_decay": 1.0},
        {"gradient_clip": 0.0},
        {"patience": 0},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_refused(changes):
    name = next(iter(changes)).replace("_", " ")
    with pytest.raises(ConfigError, match=f"{name}: found .* expected"):
        settings(**changes)


def test_the_number_of_epochs_is_fixed_only_where_the_schedule_needs_it():
    assert settings(epochs=5).fixed() == settings(epochs=6, devices="0").fixed()
    cosine = [settings(epochs=n, schedule="cosine").fixed() for n in (5, 6)]
    assert cosine[0] != cosine[1]


def test_seeds_are_the_same_for_ever_and_differ_by_every_counter():
    assert derive_seed(0, 1, 2) == 1535930435702422785
    seeds = {derive_seed(s, a, b) for s in range(5) for a in range(20) for b in range(5)}
    assert len(seeds) == 500 and all(0 <= s < 2**63 for s in seeds)


def test_generators_repeat_themselves():
    assert torch.equal(
        torch.rand(3, generator=torch_generator(1, 2)),
        torch.rand(3, generator=torch_generator(1, 2)),
    )
    assert np.array_equal(numpy_generator(1, 2).random(3), numpy_generator(1, 2).random(3))
    assert numpy_generator(1, 2).random() != numpy_generator(1, 3).random()
    seed_torch(4, 5)
    first = torch.rand(3)
    seed_torch(4, 5)
    assert torch.equal(torch.rand(3), first)


class Counting:
    def batch(self, step, micro, rank, world_size):
        return {"at": torch.tensor([step, micro, rank, world_size])}


def test_batches_come_in_order():
    place = Place(1, 3, torch.device("cpu"))
    found = [b["at"].tolist() for b in stream(Counting(), place, range(4, 6), 2, prefetch=2)]
    assert found == [[4, 0, 1, 3], [4, 1, 1, 3], [5, 0, 1, 3], [5, 1, 1, 3]]


def test_parts_make_up_the_batch():
    batch = {"x": torch.arange(7), "y": torch.arange(14).view(7, 2), "beta": torch.tensor(0.5)}
    parts = split(batch, 4)
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part["y"] for part, _ in parts]), batch["y"])
    assert all(share == len(part["x"]) / 7 for part, share in parts)
    assert all(part["beta"] == 0.5 for part, _ in parts)
    with pytest.raises(DeviceError, match="single item"):
        split(batch, 8)


def test_durations_are_words():
    assert [duration(s) for s in (0.2, 59, 119, 3600, 7500)] == [
        "0 s",
        "59 s",
        "2 min",
        "1 h 00 min",
        "2 h 05 min",
    ]

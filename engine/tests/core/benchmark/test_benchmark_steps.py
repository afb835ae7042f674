"""Counting what a step does, the floor that follows, and the times beside it."""

import math

import pytest
import torch
from torch import nn

from cryodl.core.benchmark.ceilings import Ceilings, floors_of
from cryodl.core.benchmark.clock import Clock
from cryodl.core.benchmark.ledger import Ledger, transform_flops
from cryodl.core.benchmark.shares import time_shares
from cryodl.core.benchmark.steps import time_step
from cryodl.core.training.settings import TrainingSettings

CEILINGS = Ceilings({"convolution": 1e9, "product": 1e9, "transform": 1e9}, 1e9)


@pytest.fixture
def clock():
    return Clock(torch.device("cpu"))


def test_convolutions_of_both_passes_are_counted():
    layer = nn.Conv3d(3, 5, 3, padding=1, bias=False)
    values = torch.randn(2, 3, 8, 8, 8, requires_grad=True)
    with Ledger() as ledger:
        layer(values).sum().backward()
    once = 2 * 2 * 3 * 5 * 27 * 8**3
    assert ledger.flops("convolution") == 3 * once  # forward, for the values, for the weights


def test_products_and_transforms_are_counted_with_their_times():
    one = torch.randn(6, 7)
    cube = torch.randn(4, 8, 8, 8)
    with Ledger() as ledger:
        for _ in range(3):
            one @ one.T
        spectrum = torch.fft.rfftn(cube, dim=(1, 2, 3))
        torch.fft.irfftn(spectrum, s=(8, 8, 8), dim=(1, 2, 3))
    assert ledger.flops("product") == 3 * 2 * 6 * 7 * 6
    assert [call.times for call in ledger.of("product")] == [3]
    each = 2.5 * 4 * 8**3 * math.log2(8**3)
    assert ledger.flops("transform") >= 2 * 0.9 * each
    assert transform_flops((4, 8, 8, 8), (1, 2, 3), True) == each
    assert ledger.moved("other") >= 0


def test_the_floor_is_the_larger_of_operations_and_bytes(clock):
    with Ledger() as ledger:
        torch.zeros(100, 100) @ torch.zeros(100, 100)
    floors = floors_of(ledger, CEILINGS, clock)
    assert floors.counted["product"] == pytest.approx(2e6 / 1e9)
    assert floors.dominating == "product" and floors.alone["product"] > 0
    slow = Ceilings({"product": 1e15}, 1e9)
    assert floors_of(ledger, slow, clock).counted["product"] == pytest.approx(1.2e5 / 1e9)


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, batch):
        return {"loss": self.layer(batch["values"]).square().mean()}


class Source:
    def batch(self, step, micro, rank, world_size):
        return {"values": torch.full((2, 1, 8, 8, 8), float(step + 1))}


def test_a_step_is_timed_beside_the_plain_loop(tmp_path, clock):
    settings = TrainingSettings(steps_per_epoch=2, epochs=1, devices="cpu")
    found = time_step(Step(), Source(), settings, CEILINGS, clock, tmp_path, 1)
    assert found.particles == 2 and found.device_gib is None
    assert min(found.ours, found.plain, found.data, found.host_gib) > 0
    assert found.floors.dominating == "convolution"
    assert found.over_floor > 0 and found.share_of_ceiling > 0
    assert found.flops["convolution"] == 2 * 2 * 2 * 4 * 27 * 8**3  # no gradient of the values


def test_short_work_is_repeated_until_it_can_be_measured(monkeypatch, clock):
    calls = []
    assert clock.best(lambda: calls.append(1), 2, at_least=1e-2) < 1e-3
    assert len(calls) > 10


def test_shares_of_time_follow_the_work(clock):
    one, cube = torch.randn(400, 400), torch.randn(40, 40, 40)

    def products():
        for _ in range(5):
            one @ one

    assert time_shares(products, clock)["product"] > 0.9
    shares = time_shares(lambda: torch.fft.fftn(cube).abs(), clock)
    assert sum(shares.values()) == pytest.approx(1) and shares["product"] == 0
    assert shares["transform"] > 0 and shares["rest"] > 0

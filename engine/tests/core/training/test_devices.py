"""Choosing devices and threads."""

import os

import pytest
import torch

from cryodl.core.training import devices as devices_module
from cryodl.core.training.devices import (
    available_cores,
    choose_devices,
    limit_threads,
    thread_count,
)
from cryodl.errors import ConfigError, DeviceError


@pytest.fixture
def gpus(monkeypatch):
    def set_count(count):
        monkeypatch.setattr(devices_module, "_gpu_count", lambda: count)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return set_count


@pytest.mark.parametrize(
    ("spec", "count", "kind", "indices"),
    [
        ("auto", 0, "cpu", (0,)),
        ("auto", 4, "cuda", (0,)),
        ("cpu", 4, "cpu", (0,)),
        ("cpu:2", 0, "cpu", (0, 1)),
        ("1", 2, "cuda", (1,)),
        ("2, 0", 3, "cuda", (2, 0)),
        ("cuda:0,1", 2, "cuda", (0, 1)),
        ("0-3", 4, "cuda", (0, 1, 2, 3)),
        ("5, 1-2", 6, "cuda", (5, 1, 2)),
        ("CUDA", 3, "cuda", (0, 1, 2)),
    ],
)
def test_what_is_asked_for_is_chosen_in_order(gpus, spec, count, kind, indices):
    gpus(count)
    chosen = choose_devices(spec)
    assert (chosen.kind, chosen.indices, chosen.processes) == (kind, indices, len(indices))
    assert chosen.torch_device(0) == ("cpu" if kind == "cpu" else f"cuda:{indices[0]}")


def test_falling_back_to_the_cpu_is_said_and_so_are_idle_gpus(gpus):
    gpus(0)
    assert "no CUDA device" in choose_devices("auto").note
    gpus(4)
    assert choose_devices("auto").note.startswith("1 of 4 GPUs")
    assert choose_devices("cuda").note == ""


def test_an_absent_gpu_is_an_error_that_says_what_there_is(gpus, monkeypatch):
    gpus(2)
    with pytest.raises(DeviceError, match=r"found '0,5', but this machine has GPU 0 to 1"):
        choose_devices("0,5")
    gpus(1)
    with pytest.raises(DeviceError, match="GPU 0 only"):
        choose_devices("1")
    gpus(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for spec in ("0", "cuda"):
        with pytest.raises(DeviceError, match=r"no usable CUDA device \(CUDA_VISIBLE_DEVICES=''"):
            choose_devices(spec)


@pytest.mark.parametrize(
    "spec", ["", "gpu", "0;1", "-1", "cpu:0", "0,0", "cpu:x", "0,", "3-1", "0-2,1", "1-"]
)
def test_what_cannot_be_read_is_refused(gpus, spec):
    gpus(4)
    with pytest.raises(ConfigError, match="--devices: found"):
        choose_devices(spec)


def test_processes_that_exist_already_need_a_device_each(gpus):
    gpus(2)
    assert choose_devices("auto", 2).indices == (0, 1)
    assert choose_devices("cpu", 3).processes == 3
    with pytest.raises(ConfigError, match=r"'0' \(1 devices\), expected 2"):
        choose_devices("0", 2)
    with pytest.raises(DeviceError, match="3 processes and GPU 0 to 1"):
        choose_devices("auto", 3)


def test_threads_obey_the_environment_and_the_affinity(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count(2) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(devices_module, "available_cores", lambda: 8)
    assert [thread_count(n) for n in (1, 3, 100)] == [8, 2, 1]
    monkeypatch.setattr(devices_module, "available_cores", lambda: 500)
    assert thread_count(1) == 32


def test_available_cores_are_not_more_than_the_affinity(monkeypatch):
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert available_cores() == 1


def test_the_limit_reaches_torch(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        assert limit_threads() == 1 == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

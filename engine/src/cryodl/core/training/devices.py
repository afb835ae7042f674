"""Which processors to compute on, and how many threads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cryodl.errors import ConfigError, DeviceError

_RANGE = r"\d{1,4}(?:-\d{1,4})?"
_MAX_THREADS = 32  # more only slows 3D convolutions of our sizes down


@dataclass(frozen=True)
class Devices:
    """The devices of this machine that a run uses, one process each.

    Attributes
    ----------
    kind
        ``"cpu"`` or ``"cuda"``.
    indices
        GPU numbers in the order asked for; for the CPU ``0 .. processes - 1``.
    note
        Why these, in words for the log.
    """

    kind: str
    indices: tuple[int, ...]
    note: str = ""

    @property
    def processes(self) -> int:
        """How many processes of this machine take part."""
        return len(self.indices)

    def torch_device(self, local_rank: int = 0) -> str:
        """Return torch's name of the device of one process."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.indices[local_rank]}"


def choose_devices(spec: str, processes: int | None = None) -> Devices:
    """Turn ``--devices`` into devices that exist.

    Parameters
    ----------
    spec
        ``auto``: the first GPU, else the CPU. ``cpu``, or ``cpu:2`` for two processes on it.
        ``0,1``, ``0-3``, ``cuda:0,1``: these GPUs in this order. ``cuda``: all GPUs.
    processes
        When torchrun or SLURM has started the processes: how many there are on this machine.
        ``auto`` and ``cpu`` then adapt, and a list must have that length.

    Returns
    -------
    Devices

    Raises
    ------
    ConfigError
        The text cannot be read, or does not suit `processes`.
    DeviceError
        A GPU that was asked for is absent.
    """
    kind, numbers = read_devices(spec)
    if kind == "cpu":
        chosen = _cpu(numbers[0] if numbers else processes or 1)
    elif kind == "auto":
        chosen = _automatic(processes or 1)
    else:
        chosen = _cuda(spec, numbers or list(range(max(1, _gpu_count()))))
    if processes is not None and chosen.processes != processes:
        raise ConfigError(
            f"--devices: found {spec!r} ({chosen.processes} devices), expected {processes}, the "
            "number of processes started on this machine; make the two agree"
        )
    return chosen


def read_devices(spec: str) -> tuple[str, list[int]]:
    """Take the words of ``--devices`` apart, without a look at the machine.

    Returns
    -------
    kind : str
        ``auto``, ``cpu`` or ``cuda``.
    numbers : list of int
        Of GPUs, or of processes on the CPU; empty where none were given.

    Raises
    ------
    ConfigError
        The text cannot be read.
    """
    text = spec.strip().lower()
    cpu = re.fullmatch(r"cpu(?::(\d{1,4}))?", text)
    if cpu:
        return "cpu", [int(cpu[1])] if cpu[1] else []
    if text in ("auto", "cuda"):
        return text, []
    listed = re.fullmatch(rf"(?:cuda:)?({_RANGE}(?:,{_RANGE})*)", text.replace(" ", ""))
    if not listed:
        raise ConfigError(
            f"--devices: found {spec!r}, expected auto, cpu, cpu:2, cuda or GPU numbers like 0,1 "
            "or 0-3; give one of these"
        )
    numbers: list[int] = []
    for word in listed[1].split(","):
        first, _, last = word.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    if len(set(numbers)) != len(numbers) or not numbers:
        raise ConfigError(f"--devices: found {spec!r}, expected each GPU once; correct the list")
    return "cuda", numbers


def available_cores() -> int:
    """Return how many cores this process may use: affinity and container limits count."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no such limit on this system
    return cores


def thread_count(processes: int = 1) -> int:
    """Return the number of threads for each of `processes` processes.

    ``OMP_NUM_THREADS`` is obeyed if it is a number; otherwise the available cores are shared.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return min(_MAX_THREADS, max(1, available_cores() // max(1, processes)))


def limit_threads(processes: int = 1) -> int:
    """Set torch's threads to `thread_count` and return the number."""
    import torch

    threads = thread_count(processes)
    torch.set_num_threads(threads)
    return threads


def _automatic(processes: int) -> Devices:
    count = _gpu_count()
    if count == 0:
        return _cpu(processes, "no CUDA device was found")
    indices = tuple(range(processes))
    if processes > count:
        raise DeviceError(
            f"--devices: found {processes} processes and {_describe_gpus(count)}, expected a GPU "
            "for each; start fewer processes or use --devices cpu"
        )
    note = f"{processes} of {count} GPUs; use --devices cuda for all" if count > processes else ""
    return Devices("cuda", indices, note)


def _cpu(processes: int, note: str = "") -> Devices:
    if processes < 1:
        raise ConfigError("--devices: found cpu:0, expected at least one process; use cpu")
    return Devices("cpu", tuple(range(processes)), note)


def _cuda(spec: str, indices: list[int]) -> Devices:
    count = _gpu_count()
    absent = [index for index in indices if index >= count]
    if absent:
        raise DeviceError(
            f"--devices: found {spec!r}, but this machine has {_describe_gpus(count)}; "
            f"choose among these, or use --devices {'auto' if count else 'cpu'}"
        )
    return Devices("cuda", tuple(indices))


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _describe_gpus(count: int) -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    limit = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
    if count == 0:
        return f"no usable CUDA device{limit}"
    return f"GPU 0 to {count - 1}{limit}" if count > 1 else f"GPU 0 only{limit}"

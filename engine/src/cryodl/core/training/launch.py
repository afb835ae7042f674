"""Running one function in one process or in several, whatever started us.

The cluster environment is always given explicitly: inside RELION's SLURM or MPI job the
variables describe RELION's processes, not ours (`--launcher local` ignores them all).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodl import errors
from cryodl.core.run.children import stop_children
from cryodl.core.training.devices import Devices, choose_devices, limit_threads
from cryodl.core.training.reporting import RelayedRun, RelayServer, Run, SilentRun
from cryodl.errors import ConfigError, CryodlError, ResourceError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# What torchrun and Fabric set for the processes they start.
_RANK_VARIABLES = (
    "LOCAL_RANK",
    "RANK",
    "GROUP_RANK",
    "NODE_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "STANDALONE_PORT",
)
Work = Callable[["Fabric", Run, Any], dict[str, Any]]


class OutOfDeviceMemory(Exception):  # noqa: N818  (caught and answered, never shown)
    """A device ran out of memory; `retry` tells whether the work may be started again."""

    def __init__(self, message: str, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


@dataclass(frozen=True)
class Ticket:
    """What a fresh process is given."""

    work: Work
    folder: Path
    connection: Any
    failures: Any
    payload: Any

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be unpacked: the first thing of ours that happens in a fresh process."""
        self.__dict__.update(state)
        _quieten_fabric()


def process_rank(launcher: str) -> int:
    """Return this process's number among those that `launcher` has started.

    Only process 0 may open the run folder. With ``local`` it is 0: further processes are
    started later, and have no command line of their own.
    """
    name = {"torchrun": "RANK", "slurm": "SLURM_PROCID"}.get(launcher)
    return 0 if name is None else _whole_number(name, launcher)


def process_count(spec: str, launcher: str) -> int:
    """Return how many processes train together, those of other machines included.

    Raises
    ------
    ConfigError, DeviceError
        As `local_devices`.
    """
    name = {"torchrun": "WORLD_SIZE", "slurm": "SLURM_NTASKS"}.get(launcher)
    return choose_devices(spec).processes if name is None else _whole_number(name, launcher)


def local_devices(spec: str, launcher: str) -> Devices:
    """Return the devices on this machine, as many as the launcher has started processes here.

    Raises
    ------
    ConfigError
        The launcher's variables are absent, or disagree with `spec`.
    DeviceError
        A GPU is absent.
    """
    if launcher == "torchrun":
        return choose_devices(spec, _whole_number("LOCAL_WORLD_SIZE", launcher))
    if launcher == "slurm":
        return choose_devices(spec, _slurm_tasks_per_node())
    return choose_devices(spec)


def launch(work: Work, devices: Devices, launcher: str, run: Run, payload: Any) -> dict[str, Any]:
    """Run ``work(fabric, run, payload)`` in every process and return what the first returned.

    Parameters
    ----------
    work
        A function of a module (further processes import it).
    devices
        From `local_devices`.
    launcher
        ``local``: this process alone for one device, else one fresh process per device.
        ``torchrun``, ``slurm``: the processes exist already and all call this function.
    run
        Where to report. Only the first process reports, and always through the process that
        called: no other opens the folder.
    payload
        Anything that can be sent to a fresh process. Give big arrays as files to be mapped.

    Returns
    -------
    dict
        Of plain numbers, texts and lists.

    Raises
    ------
    CryodlError
        As raised by `work` in any of the processes.
    OutOfDeviceMemory
        A device was full.
    """
    if launcher != "local" or devices.processes == 1:
        limit_threads(devices.processes)
    _quieten_fabric()
    if launcher == "local":
        with _own_environment():
            fabric = _make_fabric(devices, launcher)
            if devices.processes > 1:
                return _in_fresh_processes(fabric, work, run, payload)
            return _in_these_processes(fabric, work, run, payload)
    fabric = _make_fabric(devices, launcher)
    try:
        return _in_these_processes(fabric, work, run, payload)
    except OutOfDeviceMemory as error:
        # The other processes are waiting for this one; nobody here can start them again.
        raise OutOfDeviceMemory(str(error), retry=fabric.world_size == 1) from error


def _quieten_fabric() -> None:
    import lightning_fabric  # noqa: F401  (its import sets the level we change)

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _make_fabric(devices: Devices, launcher: str) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy
    from lightning_fabric.strategies.strategy import Strategy

    nodes = 1
    environment: ClusterEnvironment
    if launcher == "torchrun":
        environment = TorchElasticEnvironment()
        nodes = _whole_number("WORLD_SIZE", launcher) // devices.processes
    elif launcher == "slurm":
        # Lightning wants to read it; tasks shared out evenly, which was checked, say the same.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices.processes))
        environment = SLURMEnvironment(auto_requeue=False)
        nodes = _whole_number("SLURM_NNODES", launcher)
    else:
        environment = LightningEnvironment()
    strategy: Strategy
    if devices.processes * nodes == 1:
        strategy = SingleDeviceStrategy(devices.torch_device())
    else:
        # "popen" starts nothing here: the launcher has started the processes.
        strategy = DDPStrategy(
            cluster_environment=environment,
            start_method="spawn" if launcher == "local" else "popen",
        )
    count = devices.processes if devices.kind == "cpu" else list(devices.indices)
    # Precision is handled in our loop: Fabric would also round the data to half precision.
    return Fabric(
        accelerator=devices.kind,
        devices=count,
        num_nodes=nodes,
        strategy=strategy,
        precision="32-true",
    )


def _in_these_processes(fabric: Fabric, work: Work, run: Run, payload: Any) -> dict[str, Any]:
    def in_this_process(fabric: Fabric) -> dict[str, Any]:
        return work(fabric, run if fabric.global_rank == 0 else SilentRun(run.folder), payload)

    result: dict[str, Any] = fabric.launch(in_this_process)
    return result


def _in_fresh_processes(fabric: Fabric, work: Work, run: Run, payload: Any) -> dict[str, Any]:
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    context = get_context("spawn")
    ours, theirs = context.Pipe()
    failures = context.SimpleQueue()
    server = RelayServer(run, ours)
    server.start()
    try:
        ticket = Ticket(work, Path(run.folder), theirs, failures, payload)
        result: dict[str, Any] = fabric.launch(partial(_in_fresh_process, ticket=ticket))
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not failures.empty():
            kind, message = failures.get()
            known = {"OutOfDeviceMemory": OutOfDeviceMemory, **vars(errors)}
            raise known[kind](message) from error
        if isinstance(error, ProcessExitedException):
            raise ResourceError(
                f"training: process {error.error_index} was ended from outside "
                f"({error.signal_name or error.exit_code}), expected it to finish; the machine "
                "may be short of memory: use fewer processes, and --resume"
            ) from error
        raise
    except KeyboardInterrupt:
        # They know nothing of a signal to this process, which would wait for them.
        stop_children()
        raise
    finally:
        theirs.close()
        server.join()
        ours.close()
    return result


def _in_fresh_process(fabric: Fabric, ticket: Ticket) -> dict[str, Any]:
    import torch.distributed

    limit_threads(fabric.world_size)
    first = fabric.global_rank == 0
    run: Run = SilentRun(ticket.folder)
    if first:
        run = RelayedRun(ticket.folder, ticket.connection)
    else:
        ticket.connection.close()
    try:
        result = ticket.work(fabric, run, ticket.payload)
        fabric.barrier()
    except (CryodlError, OutOfDeviceMemory) as error:
        # Written before this process ends, and so before the others notice that it is gone.
        ticket.failures.put((type(error).__name__, str(error)))
        raise
    torch.distributed.destroy_process_group()
    return result


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Hide what other launchers have set, and put it back at the end."""
    names = (*_RANK_VARIABLES, "GLOO_SOCKET_IFNAME")
    before = {name: os.environ.get(name) for name in names}
    for name in _RANK_VARIABLES:
        os.environ.pop(name, None)
    interfaces = [name for _, name in socket.if_nameindex()]
    if "lo" in interfaces:
        # Our processes are on one machine; its public name may not even resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _whole_number(name: str, launcher: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdigit():
        raise ConfigError(
            f"--launcher {launcher}: found {name}={text!r} in the environment, expected a number; "
            f"start the command with {'torchrun' if launcher == 'torchrun' else 'srun'}, "
            "or use --launcher local"
        )
    return int(text)


def _slurm_tasks_per_node() -> int:
    tasks, nodes = (_whole_number(name, "slurm") for name in ("SLURM_NTASKS", "SLURM_NNODES"))
    if nodes < 1 or tasks < 1 or tasks % nodes:
        raise ConfigError(
            f"--launcher slurm: found {tasks} tasks on {nodes} nodes, expected the same number on "
            "each; use --ntasks-per-node"
        )
    return tasks // nodes

"""Keep RELION's MPI and SLURM variables away from what is started under it.

An external program is a child of an MPI rank and inherits all its variables. A deep-learning
framework that finds them believes to be one of several ranks and waits for the others for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PREFIXES = (
    "OMPI_",
    "PMIX_",
    "PMI_",
    "PRTE_",
    "MPI_",
    "I_MPI_",
    "HYDI_",
    "HYDRA_",
    "MV2_",
    "MPIR_",
)
_NAMES = frozenset(
    {
        "RANK",
        "LOCAL_RANK",
        "GROUP_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "NODE_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
        "MPI_LOCALRANKID",
        "MPI_LOCALNRANKS",
    }
)
# The job's own variables (id, memory, CPUs) are true for us too; those of tasks and steps are not.
_SLURM = re.compile(
    r"SLURM_(.*MPI.*|N?PROCS|PROCID|LOCALID|NODEID|NTASKS.*|TASKS_PER_NODE|TASK_PID|STEP.*|"
    r"LAUNCH_NODE_IPADDR|SRUN_.*|GTIDS|DISTRIBUTION|PMI.*)$"
)


def is_rank_variable(name: str) -> bool:
    """Tell whether an environment variable describes a rank of somebody else's parallel run."""
    return name.startswith(_PREFIXES) or name in _NAMES or _SLURM.match(name) is not None


def without_rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what describes a rank of RELION's MPI or SLURM run."""
    return {name: value for name, value in environment.items() if not is_rank_variable(name)}

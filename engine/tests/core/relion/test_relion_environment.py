"""Variables of RELION's ranks do not reach what is started under it."""

import pytest

from cryodl.core.relion.environment import without_rank_variables

OF_RANKS = (
    "OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE PMIX_RANK PMIX_NAMESPACE PMI_RANK PMI_SIZE",
    "MPI_LOCALRANKID RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT MV2_COMM_WORLD_RANK",
    "SLURM_PROCID SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_LOCALID SLURM_STEP_ID SLURM_NPROCS",
    "SLURM_STEP_NUM_TASKS SLURM_MPI_TYPE SLURM_SRUN_COMM_PORT SLURM_TASKS_PER_NODE PRTE_MCA_x",
)
KEPT = (
    "PATH CUDA_VISIBLE_DEVICES ISONET_EPOCHS OMP_NUM_THREADS RANKING LD_LIBRARY_PATH",
    "SLURM_JOB_ID SLURM_CPUS_PER_TASK SLURM_JOB_GPUS SLURM_TMPDIR SLURM_MEM_PER_NODE",
)


@pytest.mark.parametrize("names", OF_RANKS)
def test_rank_variables_go(names):
    assert without_rank_variables(dict.fromkeys(names.split(), "1")) == {}


@pytest.mark.parametrize("names", KEPT)
def test_all_others_stay(names):
    given = dict.fromkeys(names.split(), "1")
    assert without_rank_variables(given) == given

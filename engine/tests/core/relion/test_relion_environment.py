"""Variables of RELION's ranks do not reach what is started under it."""

from cryodl.core.relion.environment import without_rank_variables

RANK = [
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALRANKID",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_LOCALID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_MPI_TYPE",
    "SLURM_NPROCS",
    "SLURM_SRUN_COMM_PORT",
    "SLURM_TASKS_PER_NODE",
    "MV2_COMM_WORLD_RANK",
    "PRTE_MCA_x",
]
KEPT = [
    "PATH",
    "CUDA_VISIBLE_DEVICES",
    "ISONET_EPOCHS",
    "SLURM_JOB_ID",
    "SLURM_CPUS_PER_TASK",
    "SLURM_JOB_GPUS",
    "OMP_NUM_THREADS",
    "SLURM_TMPDIR",
    "SLURM_MEM_PER_NODE",
    "RANKING",
    "LD_LIBRARY_PATH",
]


def test_rank_variables_go_and_all_others_stay():
    cleaned = without_rank_variables(dict.fromkeys(RANK + KEPT, "1"))
    assert sorted(cleaned) == sorted(KEPT)

"""Several processes on one machine, started by us or by torchrun, whatever the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_pieces import (
    BlobSource,
    DenoisingStep,
    RecordingRun,
    read_metrics,
    small_settings,
    weights_of,
)

from cryodl.core.training.launch import local_devices, process_rank
from cryodl.core.training.loop import fit
from cryodl.errors import ConfigError, DeviceError, TrainingError

# RELION, five tasks per node, its rank 2: none of it is about us.
RELION_JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "relion",
    "SLURM_NTASKS": "5",
    "SLURM_NTASKS_PER_NODE": "5",
    "SLURM_NNODES": "1",
    "SLURM_NODELIST": "node[3-4]",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "2",
    "SLURM_NODEID": "0",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "5",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "PMI_RANK": "2",
    "RANK": "2",
    "LOCAL_RANK": "2",
    "WORLD_SIZE": "5",
    "MASTER_ADDR": "node3.invalid",
    "MASTER_PORT": "1",
}


@pytest.fixture
def inside_relion(monkeypatch):
    for name, value in RELION_JOB.items():
        monkeypatch.setenv(name, value)
    yield
    assert {name: os.environ.get(name) for name in RELION_JOB} == RELION_JOB
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def trained(folder, items, **changes):
    run = RecordingRun(folder)
    step = DenoisingStep(norm="instance", dropout=0.0)
    result = fit(step, BlobSource(items), small_settings(ema_decay=0.9, **changes), run)
    return step, result, run


def test_two_processes_agree_with_one_of_the_double_batch_inside_a_relion_job(
    tmp_path, inside_relion
):
    alone, expected, _ = trained(tmp_path / "alone", 4)
    together, found, run = trained(tmp_path / "together", 2, devices="cpu:2", accumulate=1)
    for name, weight in weights_of(alone).items():
        torch.testing.assert_close(together.state_dict()[name], weight, rtol=0, atol=1e-5)
    losses = [[line["loss"] for line in result.history] for result in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert found.history == read_metrics(tmp_path / "together"), "each epoch once, in order"
    assert any("2 x cpu" in line for line in run.lines)
    assert run.fractions == sorted(run.fractions) and run.fractions[-1] == 1


class FailsInTheSecondProcess(BlobSource):
    def batch(self, step, micro, rank, world_size):
        if rank == 1 and step == 2:
            raise TrainingError("second process: found a bad cube, expected a good one")
        return super().batch(step, micro, rank, world_size)


class SmallSecondDevice(DenoisingStep):
    """A step that only two items of a batch fit into, in the second process."""

    def forward(self, batch):
        second = torch.distributed.get_rank() == 1
        if second and len(batch["noisy"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().forward(batch)


def test_an_error_of_any_process_arrives_as_it_was_raised(tmp_path):
    with pytest.raises(TrainingError, match="^second process: found a bad cube, expected a good"):
        fit(
            DenoisingStep(),
            FailsInTheSecondProcess(),
            small_settings(devices="cpu:2"),
            RecordingRun(tmp_path),
        )


@pytest.mark.slow
def test_all_processes_start_again_with_smaller_parts_when_one_runs_out_of_memory(tmp_path):
    run = RecordingRun(tmp_path)
    step = SmallSecondDevice(norm="instance", dropout=0.0)
    result = fit(step, BlobSource(4), small_settings(devices="cpu:2", epochs=1), run)
    assert sum("computed in 2 parts" in line for line in run.lines) == 1
    assert result.steps == 4 and len(read_metrics(tmp_path)) == 1


# --- how people start it ---------------------------------------------------------------------

PROGRAM = """
import sys
sys.path.insert(0, {pieces!r})
from training_pieces import *
from cryodl.core.training.loop import fit
from cryodl.core.training.launch import process_rank
from cryodl.core.training.reporting import SilentRun

def main():
    folder, devices, launcher = sys.argv[1:]
    run = RecordingRun(folder) if process_rank(launcher) == 0 else SilentRun(Path(folder))
    step = DenoisingStep(norm="instance", dropout=0.0)
    settings = small_settings(epochs=2, devices=devices, launcher=launcher)
    result = fit(step, BlobSource(2), settings, run)
    if process_rank(launcher) == 0:
        torch.save(weights_of(step), run.folder / "result.pt")
    return 0

if __name__ == "__main__":
    sys.exit(main())
"""


def run_program(command, cwd, extra=()):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(cwd), **dict(extra)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def program_folder(tmp_path_factory):
    """Return a folder with the program as a package and as an installed script has it."""
    folder = tmp_path_factory.mktemp("program")
    text = PROGRAM.format(pieces=str(Path(__file__).parent))
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "__main__.py").write_text(text)
    script = folder / "script"
    script.write_text(
        "import sys\nfrom package.__main__ import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    return folder


@pytest.mark.parametrize(
    "form", [["script"], pytest.param(["-m", "package"], marks=pytest.mark.slow)]
)
def test_started_as_a_module_and_as_an_installed_script(tmp_path, program_folder, form):
    command = [sys.executable, *form, str(tmp_path), "cpu:2", "local"]
    done = run_program(command, program_folder, RELION_JOB)
    assert len(read_metrics(tmp_path)) == 2
    assert done.stderr == "", "no noise of the libraries"


@pytest.mark.slow
def test_torchrun_gives_the_same_as_our_own_start(tmp_path, program_folder):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_program([sys.executable, "script", str(ours), "cpu:2", "local"], program_folder)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    run_program([*torchrun, "2", "script", str(theirs), "cpu", "torchrun"], program_folder)
    assert read_metrics(theirs) == read_metrics(ours)
    expected = torch.load(ours / "result.pt")
    for name, weight in torch.load(theirs / "result.pt").items():
        assert torch.equal(weight, expected[name]), name


def test_a_launcher_that_did_not_start_us_is_refused(monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"LOCAL_WORLD_SIZE=''.*start the command with torchrun"):
        local_devices("cpu", "torchrun")
    with pytest.raises(ConfigError, match=r"SLURM_PROCID=''.*start the command with srun"):
        process_rank("slurm")


def test_slurm_counts_decide_how_many_devices_of_this_machine(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "6")
    monkeypatch.setenv("SLURM_NNODES", "2")
    assert local_devices("cpu", "slurm").processes == 3
    with pytest.raises(ConfigError, match=r"'cpu:2' \(2 devices\), expected 3"):
        local_devices("cpu:2", "slurm")
    monkeypatch.setenv("SLURM_NNODES", "4")
    with pytest.raises(ConfigError, match="6 tasks on 4 nodes"):
        local_devices("cpu", "slurm")


def test_too_many_parts_is_a_device_error(tmp_path):
    class NoDevice(DenoisingStep):
        def forward(self, batch):
            raise torch.OutOfMemoryError("CUDA out of memory")

    run = RecordingRun(tmp_path)
    with pytest.raises(DeviceError, match="too little device memory for a single item"):
        fit(NoDevice(), BlobSource(4), small_settings(), run)
    assert [line for line in run.lines if "parts" in line][-1].count("8 parts") == 1

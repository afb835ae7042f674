"""The hosts.conf of the docs for several nodes: Scipion reads it, and srun gets the command."""

import os
import stat
import subprocess
import tempfile
import unittest

from pyworkflow.protocol.hosts import HostConfig

HOSTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "docs",
    "hosts.slurm.nodes.conf",
)
SRUN = """#!/bin/bash
# As many tasks as two nodes of one GPU have.
for rank in 0 1; do SLURM_PROCID=$rank bash "${@: -1}"; done
"""
# As the plugin makes it: an activation, a variable, the engine with quotes and a percent sign.
COMMAND = "true && CUDA_VISIBLE_DEVICES=0 echo $SLURM_PROCID 'a b' 50% --devices 0"


class TestNodes(unittest.TestCase):
    """The example as Scipion fills it in."""

    def setUp(self):
        """Read the example."""
        if not os.path.exists(HOSTS):
            self.skipTest("an installed package has no docs")
        self.host = HostConfig.load(HOSTS)["localhost"]
        holder = tempfile.TemporaryDirectory(prefix="cryodl_nodes_")
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def script(self):
        """Return the job that Scipion would submit."""
        values = {question[0]: question[1] for question in self.host.getQueueSystem().queues["gpu"]}
        values |= {
            "JOB_NAME": "1",
            "JOB_QUEUE": "gpu",
            "JOB_LOGS": os.path.join(self.folder, "run"),
            "JOB_THREADS": 4,
            "JOB_NODES": 1,
            "JOB_COMMAND": COMMAND,
        }
        return self.host.getSubmitTemplate() % values

    def testQuestionsAndOptions(self):
        """Nodes and GPUs are asked for, and reach SLURM at the start of a line."""
        names = [question[0] for question in self.host.getQueueSystem().queues["gpu"]]
        self.assertEqual(
            names, ["JOB_HOSTS", "JOB_GPUS", "JOB_MEMORY", "JOB_TIME", "QUEUE_FOR_JOBS"]
        )
        lines = self.script().splitlines()
        self.assertEqual(lines[0], "#!/bin/bash")
        for option in ("--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4", "--mem=64G"):
            self.assertIn(f"#SBATCH {option}", lines)

    def testEveryTaskGetsTheCommand(self):
        """The engine's command, with its quotes, runs once a task and knows who started it."""
        srun = os.path.join(self.folder, "srun")
        with open(srun, "w", encoding="utf-8") as file:
            file.write(SRUN)
        os.chmod(srun, os.stat(srun).st_mode | stat.S_IXUSR)
        environment = {
            **os.environ,
            "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": self.folder,
        }
        done = subprocess.run(
            ["bash", "-c", self.script()],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        expected = [f"{rank} a b 50% --devices 0 --launcher slurm" for rank in (0, 1)]
        self.assertEqual(done.stdout.splitlines(), expected)

"""Runs through a scheduler, with the hosts.conf of the docs: whole protocols, single commands."""

import os
import shutil
import tempfile
import time
from unittest import mock

import pytest
import pyworkflow
from pyworkflow.protocol.constants import STATUS_ABORTED, STATUS_FAILED, STATUS_FINISHED

from cryodl_plugin.protocols import CryoDLProtAnisoCorrect, CryoDLProtSimulateHalfMaps
from cryodl_plugin.tests import scheduler_stand_in as scheduler
from cryodl_plugin.tests.fixtures import PluginTest
from cryodl_plugin.tests.test_workflow import TINY

HOSTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "docs",
    "hosts.slurm.conf",
)
WHOLE, COMMANDS = "N", "Y"
LONG_SECONDS = 200


class TestQueue(PluginTest):
    """The example is read by Scipion, jobs finish, fail with words, and can be stopped."""

    @classmethod
    def setUpClass(cls):
        """Put the stand-in's programs first and give Scipion the hosts.conf of the docs."""
        if not os.path.exists(HOSTS):
            cls.skipTest(cls, "an installed package has no docs")
        cls.folder = tempfile.mkdtemp(prefix="cryodl_queue_")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        programs = scheduler.install(cls.folder)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        for change in (
            mock.patch.dict(os.environ, {"PATH": path, "SCIPION_HOSTS": HOSTS}),
            mock.patch.object(pyworkflow.Config, "SCIPION_HOSTS", HOSTS),
        ):
            cls.enterClass(change)
        super().setUpClass()

    @classmethod
    def enterClass(cls, change):
        """Enter a context for all tests of the class (`enterClassContext` of Python 3.11)."""
        change.__enter__()
        cls.addClassCleanup(change.__exit__, None, None, None)

    def launch(self, prot, each, partition="cpu"):
        """Launch without waiting, as the project window does."""
        answers = {
            "JOB_MEMORY": "4",
            "JOB_TIME": "1",
            "JOB_GPUS": "0",
            "QUEUE_FOR_JOBS": each,
        }
        prot._useQueue.set(True)
        prot.setQueueParams((partition, answers))
        self.proj.launchProtocol(prot, wait=False)
        return prot

    def waitFor(self, prot, isReached):
        """Look at the run as the project window does, until it is as wanted."""
        until = time.monotonic() + LONG_SECONDS
        while time.monotonic() < until:
            self.proj._updateProtocol(prot)
            if isReached(prot):
                return
            time.sleep(0.3)
        self.fail(f"{prot.getStatus()} {prot.getErrorMessage()} {scheduler.states(self.folder)}")

    def newJobs(self, before):
        """Return the jobs that were submitted since."""
        return sorted(set(scheduler.states(self.folder)) - set(before))

    def simulation(self, **values):
        """Return a short run of one command."""
        return self.newProtocol(CryoDLProtSimulateHalfMaps, boxSizePx=32, **values)

    def testExampleAsksItsQuestions(self):
        """Scipion reads partitions, questions and defaults of the example."""
        queue = self.proj.getHostConfig("localhost").getQueueSystem()
        self.assertEqual(queue.getName(), "SLURM")
        self.assertEqual(list(queue.getQueues()), ["gpu", "cpu"])
        for questions in queue.getQueues().values():
            self.assertEqual(
                [question[0] for question in questions],
                ["JOB_MEMORY", "JOB_TIME", "JOB_GPUS", "QUEUE_FOR_JOBS"],
            )
            self.assertTrue(all(len(question) == 4 for question in questions))

    def testWholeProtocolAsOneJob(self):
        """One job runs all steps; its outputs are there."""
        before = scheduler.states(self.folder)
        prot = self.launch(self.simulation(numberOfThreads=1), WHOLE)
        self.waitFor(prot, lambda run: run.getStatus() == STATUS_FINISHED)
        (number,) = self.newJobs(before)
        self.assertIn("pw_protocol_run.py", scheduler.script(self.folder, number))
        self.assertIn("#SBATCH --mem=4G", scheduler.script(self.folder, number))
        self.assertEqual(prot.volume.getDim(), (32, 32, 32))

    def testEachCommandAsAJob(self):
        """The engine's command is the job; the protocol waits for it and makes its outputs."""
        before = scheduler.states(self.folder)
        prot = self.launch(self.simulation(), COMMANDS)
        self.waitFor(prot, lambda run: run.getStatus() == STATUS_FINISHED)
        (number,) = self.newJobs(before)
        self.assertIn("-m cryodl simulate half-maps", scheduler.script(self.folder, number))
        self.assertEqual(prot.volume.getDim(), (32, 32, 32))

    def testFailureOfAJobSaysWhy(self):
        """The engine's line, said on a compute node, is the message of the run."""
        prot = self.launch(self.simulation(structure="no_such_structure"), COMMANDS)
        self.waitFor(prot, lambda run: run.getStatus() == STATUS_FAILED)
        self.assertIn("--structure: found 'no_such_structure'", prot.getErrorMessage())

    def testRefusedJobSaysWhy(self):
        """A partition that the scheduler refuses ends the run with its words."""
        prot = self.launch(self.simulation(), WHOLE, partition="closed")
        self.assertEqual(prot.getStatus(), STATUS_FAILED)
        self.assertIn("invalid partition", prot.getErrorMessage())

    def checkStop(self, each):
        """Stop a long training while its job runs: nothing of it stays."""
        before = scheduler.states(self.folder)
        prot = self.make(CryoDLProtAnisoCorrect, **{**TINY, "epochs": 5000})
        self.launch(prot, each)
        self.waitFor(prot, lambda run: bool(run.readMetrics()))
        (number,) = self.newJobs(before)
        self.assertTrue(scheduler.processes(self.folder, number))
        self.proj.stopProtocol(prot)
        self.assertEqual(prot.getStatus(), STATUS_ABORTED)
        self.assertEqual(scheduler.states(self.folder)[number], "CA")
        until = time.monotonic() + 10
        while scheduler.processes(self.folder, number) and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual(scheduler.processes(self.folder, number), [])
        return prot

    @pytest.mark.slow
    def testStopOfAWholeProtocol(self):
        """Stop cancels the job."""
        self.checkStop(WHOLE)

    def testStopOfACommand(self):
        """Stop cancels the command's job and ends the protocol that waits for it."""
        prot = self.checkStop(COMMANDS)
        pid = prot.getPid()
        self.assertFalse(os.path.exists(f"/proc/{pid}") and not _isZombie(pid))


def _isZombie(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"

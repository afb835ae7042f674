"""What all protocols of this plugin share: one engine command, run, resumed, explained."""

import json
import os

from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED

from cryodl_plugin import engine, forms
from cryodl_plugin.constants import ENGINE, ENGINE_FOLDER

FED_BY_ALL = {"output", "devices", "launcher", "resume", "overwrite", "debug", "ncpus"}
"""Parameters of every command that no form shows: the protocol or Scipion itself decides them."""


class CryoDLProtBase(EMProtocol):
    """Base of the protocols: inputs to files, one engine command, files to outputs."""

    _devStatus = BETA
    _command = ""
    _fedByProtocol = frozenset()
    _onGpu = False

    # --- form ------------------------------------------------------------------------------

    def _addGpuParameters(self, form):
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=True,
            label="Use GPU for execution",
            help="Choose *No* to compute on the processor. That needs a small network and small "
            "boxes to end in minutes rather than days.",
        )
        form.addHidden(
            params.GPU_LIST,
            params.StringParam,
            default="0",
            label="Choose GPU IDs",
            help="GPUs to use, by number: *0*, *0 1* or *0-3*. All of them work on this one run.",
        )

    def _addRunParameters(self, form, threads=4):
        """Add what decides how the command is run, at expert level, and the threads."""
        forms.addParameters(
            form,
            self._command,
            forms.RUN_GROUP,
            skip=self.fedNames(),
            precision={"expertLevel": LEVEL_ADVANCED},
            seed={"expertLevel": LEVEL_ADVANCED},
        )
        form.addParallelSection(threads=threads, mpi=0)

    @classmethod
    def getClassLabel(cls, prependPackageName=True):
        """Return the label; people know the plugin by the name of its engine."""
        label = super().getClassLabel(prependPackageName=False)
        return f"{ENGINE} - {label}" if prependPackageName else label

    @classmethod
    def fedNames(cls):
        """Return the engine parameters that this protocol sets itself."""
        return FED_BY_ALL | cls._fedByProtocol

    # --- steps -----------------------------------------------------------------------------

    def _insertAllSteps(self):
        fingerprint = self._fingerprint()
        self._insertFunctionStep(self.convertInputStep, fingerprint, needsGPU=False)
        self._insertFunctionStep(self.runEngineStep, fingerprint, needsGPU=self._onGpu)
        self._insertFunctionStep(self.createOutputStep, fingerprint, needsGPU=False)

    def convertInputStep(self, fingerprint):
        """Make the files that the engine is to read; nothing where the input will do as it is."""

    def runEngineStep(self, fingerprint):
        """Run the engine; a run stopped before goes on unless a setting has changed since."""
        folder = self.engineFolder()
        if not engine.belongsTo(folder, fingerprint):
            engine.removeRun(folder)
            engine.noteFingerprint(folder, fingerprint)
        values = {**self.engineParameters(), **self._machineParameters()}
        self.getPlugin().runEngine(self, self._command, values, folder, gpu=self._onGpu)

    def createOutputStep(self, fingerprint):
        """Make Scipion's objects of the engine's result."""
        raise AttributeError(f"{type(self).__name__} makes no outputs")

    def inputFolder(self):
        """Return where files made for the engine are put."""
        return self._getExtraPath("input")

    def inputFile(self, name):
        """Return the path of a file for the engine; the folder is made."""
        os.makedirs(self.inputFolder(), exist_ok=True)
        return os.path.join(self.inputFolder(), name)

    # --- engine ----------------------------------------------------------------------------

    def engineParameters(self):
        """Return everything that decides the result, by the engine's own names."""
        values = forms.engineValues(self, self._command, skip=self.fedNames())
        values.update(self._inputParameters())
        return values

    def _inputParameters(self):
        """Return the engine parameters in `_fedByProtocol` that apply."""
        return {}

    def _ownSettings(self):
        """Return form values that change files made by this protocol for the engine."""
        return {}

    def _machineParameters(self):
        names = {p["name"] for p in forms.schemaParameters(self._command)}
        threads = max(self.numberOfThreads.get() or 1, 1)
        return {"ncpus": threads} if "ncpus" in names else {}

    def _fingerprint(self):
        return forms.fingerprint(
            self._command,
            self.engineParameters(),
            settings=self._ownSettings(),
            ownFolder=self._getExtraPath(),
        )

    def engineFolder(self):
        """Return the output folder of the engine, relative to the project."""
        return self._getExtraPath(ENGINE_FOLDER)

    def enginePath(self, *names):
        """Return a path in the output folder of the engine."""
        return os.path.join(self.engineFolder(), *names)

    def readResult(self):
        """Return the engine's result; empty while there is none."""
        try:
            return engine.readResult(self.engineFolder())
        except engine.EngineError:
            return {}

    def readMetrics(self):
        """Return the rows that the engine has written so far; works while it runs."""
        rows = []
        try:
            with open(self.enginePath("metrics.jsonl"), encoding="utf-8") as file:
                for line in file:
                    try:
                        rows.append(json.loads(line))
                    except ValueError:
                        continue  # the engine is in the middle of this line
        except OSError:
            pass  # nothing was written yet
        return rows

    def readProgress(self):
        """Return fraction done, seconds left and a note; empty while there is none."""
        try:
            with open(self.enginePath("progress.json"), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = []
        if self._onGpu and self.usesGpu():
            errors += engine.checkGpuList(self.gpuList.get())
        return errors

    def _warnings(self):
        if self._onGpu and self.usesGpu() and not self.useQueue() and not engine.hasGpuDevice():
            return [
                "No NVIDIA GPU was seen on this computer. Choose *Use GPU: No* to compute on the "
                "processor, or go on if the run will be executed elsewhere."
            ]
        return []

    def _summary(self):
        result = self.readResult()
        if result:
            return self._summaryOf(result)
        progress = self.readProgress()
        if progress:
            return [_progressLine(progress)]
        return ["Not finished yet."]

    def _summaryOf(self, result):
        """Return the lines of the summary of a finished run."""
        return [f"Took {_duration(result.get('seconds', 0))}."]


def _progressLine(progress):
    line = f"{100 * progress.get('fraction', 0):.0f} % done"
    if progress.get("seconds_left"):
        line += f", about {_duration(progress['seconds_left'])} left"
    return f"{line} {progress.get('note', '')}".strip() + "."


def _duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

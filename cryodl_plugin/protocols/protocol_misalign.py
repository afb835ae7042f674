"""RELION auto-refinement in which spIsoNet corrects the half maps that particles are aligned to."""

import json
import os
import shutil
from subprocess import CalledProcessError

from pwem.objects import SetOfFSCs, SetOfParticles, Volume
from pyworkflow.object import Float
from tomo.objects import SetOfSubTomograms

from cryodl_plugin import convert, engine, forms
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.convert import misalign_subtomograms, particles_spa
from cryodl_plugin.protocols import misalign_command as command
from cryodl_plugin.protocols.base import CryoDLProtBase
from cryodl_plugin.protocols.misalign_checks import MisalignChecks
from cryodl_plugin.protocols.misalign_form import (
    FED,
    REFERENCE_HALVES,
    SETTINGS,
    MisalignForm,
)

_MEASURE = "spisonet fsc3d"
_NOT_OF_THE_RESULT = {"keep_files", "stale", "timeout"}
_DEFAULT_DIAMETER = 0.9


class CryoDLProtMisalignRefine(MisalignForm, MisalignChecks, CryoDLProtBase):
    """Refine particles with RELION while spIsoNet corrects their misalignment.

    A map that is distorted by preferred orientation misleads the alignment of the particles that
    it is made of. Here RELION hands the half maps of each iteration to spIsoNet, and aligns the
    particles to what comes back. RELION, its auto-refinement and its resolution stay as they are.

    *Inputs*: particles with CTF, or subtomograms as volumes, as RELION 3.1 refines them; a
    reference, and preferably a soft mask, all on one grid.

    *Outputs*: _particles_ with projection alignment, or _subtomograms_; _volume_, RELION's own map
    of all particles, neither corrected nor sharpened, with its half maps; _fscs_ of the iterations
    and of the final map; _resolution_ and _sphericity_. _extra/iterations.csv_ holds the table of
    iterations.

    *Hints*: the correction begins when the angular sampling *and* the resolution under *Start* are
    reached; until then the refinement is RELION's own. Particles that are badly misaligned from
    the beginning may need *Keep low resolution of reference*, with a reference that is right there.
    Follow with *correct anisotropy* to correct the final map.
    At least three MPI processes are needed, an odd number is best: one leads, the others share the
    half sets. Stopped or failed runs go on from the last iteration with *Continue*, also after a
    change of how the correction computes.
    """

    _label = "refine with misalignment correction (spIsoNet)"
    _command = SETTINGS
    _onGpu = True
    _fedByProtocol = FED
    _possibleOutputs = {
        "particles": SetOfParticles,
        "subtomograms": SetOfSubTomograms,
        "volume": Volume,
        "fscs": SetOfFSCs,
        "resolution": Float,
        "sphericity": Float,
    }

    # --- files and numbers -------------------------------------------------------------------

    def refineFolder(self):
        """Return RELION's folder, relative to the project."""
        return self._getExtraPath("refine")

    def relionRoot(self):
        """Return the root of RELION's file names."""
        return os.path.join(self.refineFolder(), results.ROOT)

    def particlesFile(self):
        """Return the STAR file of the particles."""
        return self._inputPath("particles.star")

    def referenceFile(self):
        """Return the map that RELION starts from."""
        if self.referenceIs == REFERENCE_HALVES:
            return self._inputPath("reference.mrc")
        return self._mapFile(self.inputReference)

    def maskFile(self):
        """Return the mask, or None."""
        return self._mapFile(self.inputMask)

    def lowResolutionFile(self):
        """Return the map that ISONET_REFERENCE names, or None."""
        return self._mapFile(self.inputLowRes) if self.keepLowres else None

    def _mapFile(self, pointer):
        volume = pointer.get()
        if volume is None:
            return None
        name = convert.engineMapName(volume.getFileName(), self._inputPath())
        if not name.endswith(".gz"):
            return name
        # RELION reads no compressed maps.
        return self._inputPath(os.path.basename(name)[: -len(".gz")])

    def _inputPath(self, *names):
        return self._getExtraPath("input", *names)

    def samplingRate(self):
        """Return the pixel size of the particles in Å."""
        return self.inputParticles.get().getSamplingRate()

    def isTomography(self):
        """Tell whether the particles are subtomograms."""
        return isinstance(self.inputParticles.get(), SetOfSubTomograms)

    def diameter(self):
        """Return the particle diameter in Å."""
        given = self.particleDiameter.get()
        if given and given > 0:
            return given
        return _DEFAULT_DIAMETER * self.inputParticles.get().getXDim() * self.samplingRate()

    # --- command -----------------------------------------------------------------------------

    def variables(self):
        """Return the variables of RELION's environment: the program to call and its settings."""
        prefix, devices = engine.deviceChoice(self, True)
        wrapper = command.wrapperText(
            self.getPlugin().getEnginePython(), self.getPlugin().getEnvActivation(), self._script()
        )
        found = {command.EXECUTABLE: wrapper}
        if prefix:
            ids = ",".join(map(str, self._gpuIds())) if self.usesGpu() else ""
            found["CUDA_VISIBLE_DEVICES"] = ids
        # Each one is given, so that none is taken from where Scipion was started.
        values = {**self.engineParameters(), "on_error": self.onFailureText(), "devices": devices}
        values["reference"] = self.lowResolutionFile()
        for parameter in forms.schemaParameters(SETTINGS):
            value = values.get(parameter["name"], parameter["default"])
            found[parameter["original"]] = _asText(value)
        return found

    def _gpuIds(self):
        executor = getattr(self, "_stepsExecutor", None)
        return list((executor.getGpuList() if executor else None) or self.getGpuList())

    def _script(self):
        return self._getExtraPath(f"{command.WRAPPER}.sh")

    def processes(self):
        """Return the number of MPI processes."""
        return self.numberOfMpi.get() or 1

    def commandText(self):
        """Return the whole command that begins the refinement, to be read."""
        return command.readable(self.variables(), command.startArguments(self), self.processes())

    # --- steps -------------------------------------------------------------------------------

    def _insertAllSteps(self):
        relion, network = self.relionFingerprint(), self.networkFingerprint()
        self._insertFunctionStep(self.convertInputStep, relion, network, needsGPU=False)
        self._insertFunctionStep(self.refineStep, relion, network, needsGPU=True)
        self._insertFunctionStep(self.measureStep, relion, network, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, relion, network, needsGPU=False)

    def relionFingerprint(self):
        """Return a hash of what decides the refinement but for the correction."""
        words = command.startArguments(self, machine=False)
        words.append(str(self.extraArguments.get()))
        files = [
            pointer.get().getFileName()
            for pointer in (self.inputParticles, self.inputReference, self.inputMask)
            if pointer.get() is not None
        ]
        state = [[name, *forms.fileState(name)] for name in files]
        settings = {"words": words, "files": state, "poses": bool(self.useAlignment)}
        return forms.fingerprint(SETTINGS, {}, settings=settings)

    def networkFingerprint(self):
        """Return a hash of what decides the correction."""
        values = self.engineParameters()
        for name in _NOT_OF_THE_RESULT:
            values.pop(name, None)
        settings = {"onFailure": self.onFailure.get(), "lowres": self.lowResolutionFile()}
        return forms.fingerprint(SETTINGS, values, settings=settings)

    def convertInputStep(self, relion, network):
        """Write the particles, and maps that RELION cannot read as they are."""
        os.makedirs(self._inputPath(), exist_ok=True)
        names = self.particlesFile(), self._inputPath("stacks")
        options = {"withPoses": bool(self.useAlignment)}
        if self.isTomography():
            options["withCtf"] = bool(self.doCtf)
            misalign_subtomograms.writeSubtomograms(self.inputParticles.get(), *names, **options)
        else:
            particles_spa.writeParticles(self.inputParticles.get(), *names, **options)
        for pointer in (self.inputReference, self.inputMask, self.inputLowRes):
            target = self._mapFile(pointer)
            if target and target != convert.engineMap(
                pointer.get().getFileName(), self._inputPath()
            ):
                convert.writeMap(
                    target, convert.readMap(pointer.get().getFileName()), self.samplingRate()
                )
        if self.referenceIs == REFERENCE_HALVES:
            halves = list(self.inputReference.get().getHalfMaps(asList=True))
            names = [convert.engineMap(name, self._inputPath()) for name in halves]
            convert.averageMaps(*names, self.referenceFile())

    def refineStep(self, relion, network):
        """Run RELION, from the last whole iteration where there is one of these settings."""
        folder = self.refineFolder()
        known = self._readState()
        finished = results.isFinished(folder)
        if known.get("relion") != relion or (finished and known.get("network") != network):
            shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, exist_ok=True)
        engine.writeConfig(self._stateFile(), {"relion": relion, "network": network})
        if self.getPlugin().getEnvActivation():
            command.writeWrapperScript(
                self._script(),
                self.getPlugin().getEnginePython(),
                self.getPlugin().getEnvActivation(),
            )
        if not results.isFinished(folder) and not self._limitReached():
            self._runRelion(self.nextArguments())
        if not results.isFinished(folder) and self._limitReached():
            self._runRelion(command.continueArguments(self, self._lastOptimiser(), converge=True))
        if not results.isFinished(folder):
            raise engine.EngineError(self._saidByRelion({}) or "RELION left no final map")

    def nextArguments(self):
        """Return RELION's arguments: from the last whole iteration, or from the beginning."""
        last = self._lastOptimiser()
        if last is None:
            return command.startArguments(self)
        return command.continueArguments(self, last)

    def _iterationsDone(self):
        return [n for n in results.completeIterations(self.refineFolder()) if n > 0]

    def _limitReached(self):
        most, done = self.maxIterations.get(), self._iterationsDone()
        return bool(most and done and done[-1] >= most)

    def _lastOptimiser(self):
        done = self._iterationsDone()
        if not done:
            return None
        return results.iterationFile(self.refineFolder(), done[-1], "optimiser.star")

    def _stateFile(self):
        return self._getExtraPath("refine.json")

    def _readState(self):
        try:
            with open(self._stateFile(), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def _runRelion(self, words):
        variables = self.variables()
        path = self._getExtraPath("command.sh")
        with open(path, "a" if "--continue" in words else "w", encoding="utf-8") as file:
            file.write(command.readable(variables, words, self.processes()) + "\n\n")
        logs = [self.getStderrLog(), self.getStdoutLog()]
        before = {path: os.path.getsize(path) for path in logs if os.path.exists(path)}
        try:
            self.runJob(
                "env",
                command.shellArguments(variables, words),
                env=self.relionEnviron(),
                numberOfMpi=self.processes(),
                numberOfThreads=1,
            )
        except CalledProcessError as error:
            said = self._saidByRelion(before)
            raise engine.EngineError(
                said or f"{command.PROGRAM} ended with status {error.returncode}; see the log"
            ) from None

    def relionEnviron(self):
        """Return RELION's environment."""
        return command.relionEnvironment(self.getPlugin().getEnviron())

    def _saidByRelion(self, before):
        logs = [self.getStderrLog(), self.getStdoutLog()]
        return command.explainFailure(logs, before)

    def measureStep(self, relion, network):
        """Measure the resolution of the final half maps by direction."""
        engine.removeRun(self.engineFolder())
        parameters = {"pixel_size": self.samplingRate(), **self.finalHalves()}
        if self.maskFile():
            parameters["mask"] = self.maskFile()
        try:
            self.getPlugin().runEngine(self, _MEASURE, parameters, self.engineFolder())
        except engine.EngineError as error:  # days of refinement are worth more than this number
            self.warning(f"The resolution by direction could not be measured: {error}")

    def finalHalves(self):
        """Return the final half maps by the engine's names."""
        folder = self.refineFolder()
        return {
            f"half{h}": results.finalFile(folder, f"half{h}_class001_unfil.mrc") for h in (1, 2)
        }

    def createOutputStep(self, relion, network):
        """Make the particles, the volume with its halves, the curves and the numbers."""
        folder, measured = self.refineFolder(), self.readResult()
        results.writeIterations(folder, self._getExtraPath("iterations.csv"))
        curves = results.readFscCurves(folder)
        outputs = {
            "subtomograms" if self.isTomography() else "particles": self._makeParticles(),
            "volume": self._makeVolume(),
            "fscs": self._makeFscs(curves),
            "resolution": Float(convert.resolutionAt(*curves["final"])),
        }
        if "sphericity" in measured:
            outputs["sphericity"] = Float(measured["sphericity"])
        self._defineOutputs(**outputs)
        for output in outputs.values():
            for pointer in (self.inputParticles, self.inputReference, self.inputMask):
                if pointer.get() is not None:
                    self._defineSourceRelation(pointer, output)

    def _makeParticles(self):
        poses = particles_spa.readPoses(results.finalFile(self.refineFolder(), "data.star"))
        given, sampling = self.inputParticles.get(), self.samplingRate()
        kind = SetOfSubTomograms if self.isTomography() else SetOfParticles
        particles = kind.create(self._getPath())
        particles.copyInfo(given)
        if not self.isTomography():
            particles.setAlignmentProj()

        # By id, never by row: RELION sorts particles by micrograph, and ids may have gaps.
        def update(item, _):
            misalign_subtomograms.forgetParts(item)
            particles_spa.setPose(item, poses.get(item.getObjId()), sampling)

        particles.copyItems(given, updateItemCallback=update)
        return particles

    def _makeVolume(self):
        final = results.finalFile(self.refineFolder(), "class001.mrc")
        halves = list(self.finalHalves().values())
        volume = Volume(objLabel="refined")
        volume.setFileName(final)
        volume.setHalfMaps(halves)
        volume.setSamplingRate(self.samplingRate())
        reference = self.inputReference.get()
        if reference.hasOrigin():
            volume.setOrigin(reference.getOrigin())
        return volume

    def _makeFscs(self, curves):
        fscs = SetOfFSCs.create(self._getPath())
        for label, (frequency, values) in curves.items():
            fscs.append(convert.makeFsc(label, frequency, values))
        return fscs


def _asText(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)

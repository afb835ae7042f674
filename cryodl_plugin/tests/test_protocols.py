"""Protocols without launching: parameters for the engine, checks, outputs, Continue."""

import os
import shutil
from unittest import mock

import numpy as np
from pwem.objects import Volume

from cryodl_plugin import convert, engine
from cryodl_plugin.constants import (
    INPUT_ONE_MAP,
    INPUT_TWO_HALVES,
    MASK_AUTOMATIC,
    MASK_SPHERE,
    MASK_VOLUME,
)
from cryodl_plugin.protocols import (
    CryoDLProtAnisoCorrect,
    CryoDLProtFsc3D,
    CryoDLProtSimulateHalfMaps,
)
from cryodl_plugin.tests.fixtures import BOX, SAMPLING, PluginTest, blobs, modelObject


class TestInputs(PluginTest):
    """What the engine is told about the inputs."""

    def testVolumeWithHalves(self):
        """The halves of the volume, and Scipion's sampling rate."""
        prot = self.make(CryoDLProtFsc3D)
        values = prot.engineParameters()
        halves = list(self.source.volume.getHalfMaps(asList=True))
        self.assertEqual([values["half1"], values["half2"]], halves)
        self.assertEqual(values["pixel_size"], SAMPLING)
        self.assertNotIn("mask", values)
        self.assertEqual(values["cone_angle"], 10.0)

    def testTwoHalvesAndMask(self):
        """Two volumes and a mask volume."""
        pointers = {
            name: (self.source, name.replace("input", "").lower())
            for name in ("inputHalf1", "inputHalf2", "inputMask")
        }
        prot = self.make(
            CryoDLProtAnisoCorrect, pointers, inputFrom=INPUT_TWO_HALVES, maskFrom=MASK_VOLUME
        )
        values = prot.engineParameters()
        self.assertEqual(values["half2"], self.source.half2.getFileName())
        self.assertEqual(values["mask"], self.source.mask.getFileName())

    def testOneMap(self):
        """One map alone has no half2, and needs a 3DFSC."""
        prot = self.make(
            CryoDLProtAnisoCorrect, {"inputHalf1": (self.source, "half1")}, inputFrom=INPUT_ONE_MAP
        )
        self.assertNotIn("half2", prot.engineParameters())
        self.assertTrue(any("3DFSC" in error for error in prot._validate()))

    def testSphere(self):
        """The sphere is written where the engine is told to look, -1 being the largest."""
        prot = self.store(self.make(CryoDLProtFsc3D, maskFrom=MASK_SPHERE, maskRadius=7))
        prot.convertInputStep("x")
        mask = convert.readMap(prot.engineParameters()["mask"])
        middle = BOX // 2
        np.testing.assert_array_equal(mask[middle, middle, middle : middle + 8], 1)
        self.assertLess(mask[middle, middle, middle + 10], 0.6)
        prot.maskRadius.set(-1)
        self.assertEqual(prot.sphereRadius(), BOX // 2 - 1)

    def testModelAndReference(self):
        """Network, reference and 3DFSC reach the engine; a file wins over the network."""
        self.source._defineOutputs(model=modelObject("Runs/model.safetensors"))
        fsc = self.finishedFsc3D()
        prot = self.make(
            CryoDLProtAnisoCorrect,
            {
                "inputModel": (self.source, "model"),
                "inputReference": (self.source, "plain"),
                "inputFsc3D": (fsc, ""),
            },
        )
        values = prot.engineParameters()
        self.assertEqual(values["pretrained_model"], "Runs/model.safetensors")
        self.assertEqual(values["reference"], self.source.plain.getFileName())
        self.assertEqual(values["aniso_file"], fsc.volume.getFileName())
        prot.inputFsc3D.set(fsc.volume)
        self.assertEqual(prot.engineParameters()["aniso_file"], fsc.volume.getFileName())
        prot.modelFile.set("other.safetensors")
        self.assertEqual(prot.engineParameters()["pretrained_model"], "other.safetensors")

    def testSimulation(self):
        """All parameters of the simulation come from the form."""
        prot = self.make(CryoDLProtSimulateHalfMaps, boxSizePx=48, mode=1, snr=2)
        values = prot.engineParameters()
        self.assertEqual(values["box_size_px"], 48)
        self.assertEqual(values["mode"], "preferred")
        self.assertEqual(values["snr"], 2.0)
        self.assertEqual(prot._machineParameters(), {})

    def testThreads(self):
        """Threads are the engine's CPU threads, and do not change the hash."""
        prot = self.make(CryoDLProtFsc3D, numberOfThreads=3)
        before = prot._fingerprint()
        self.assertEqual(prot._machineParameters(), {"ncpus": 3})
        prot.numberOfThreads.set(5)
        self.assertEqual(prot._fingerprint(), before)


class TestValidation(PluginTest):
    """What is refused before anything runs, and what is asked."""

    def errors(self, prot):
        """Return the messages as one text."""
        return "\n".join(prot.validate())

    def testDefaultsAreValid(self):
        """A form with its inputs set and nothing else touched can be run."""
        for cls in (CryoDLProtFsc3D, CryoDLProtAnisoCorrect, CryoDLProtSimulateHalfMaps):
            self.assertEqual(self.make(cls).validate(), [], cls.__name__)

    def testEmptyInput(self):
        """An empty pointer is named."""
        prot = self.make(CryoDLProtFsc3D, {"inputVolume": None})
        self.assertIn("Volume with half maps", self.errors(prot))
        self.assertEqual(len(prot.validate()), 1)

    def testVolumeWithoutHalves(self):
        """A volume that has no half maps is refused with what to do."""
        prot = self.make(CryoDLProtFsc3D, {"inputVolume": (self.source, "plain")})
        self.assertIn("two half maps", self.errors(prot))

    def testGrids(self):
        """Other boxes, other sampling, a file that is gone."""
        other = self.makeSource(box=24, sampling=3.0)
        pointers = {"inputHalf1": (self.source, "half1"), "inputHalf2": (other, "half2")}
        prot = self.make(CryoDLProtFsc3D, pointers, inputFrom=INPUT_TWO_HALVES)
        self.assertIn("found 3 Å/px, expected 4", self.errors(prot))
        self.assertIn("found a box of 24 x 24 x 24, expected 32 x 32 x 32", self.errors(prot))
        prot = self.make(
            CryoDLProtAnisoCorrect, {"inputMask": (other, "mask")}, maskFrom=MASK_VOLUME
        )
        self.assertIn("Volume mask", self.errors(prot))
        prot = self.make(CryoDLProtAnisoCorrect, {"inputFsc3D": (other, "plain")})
        self.assertIn("3DFSC", self.errors(prot))
        gone = self.makeSource(box=24)
        shutil.rmtree(gone.getWorkingDir())
        prot = self.make(CryoDLProtFsc3D, {"inputVolume": (gone, "volume")})
        self.assertIn("cannot be read", self.errors(prot))

    def testNotCubic(self):
        """A map that is no cube is refused."""
        source = self.makeSource()
        path = source.plain.getFileName()
        convert.writeMap(path, np.ones((20, 24, 24), np.float32), SAMPLING)
        prot = self.make(
            CryoDLProtFsc3D,
            {"inputHalf1": (source, "half1"), "inputHalf2": (source, "half2")},
            inputFrom=INPUT_TWO_HALVES,
        )
        self.assertIn("expected a cube", self.errors(prot))

    def testRadius(self):
        """A radius beyond the box is refused."""
        prot = self.make(CryoDLProtFsc3D, maskFrom=MASK_SPHERE, maskRadius=40)
        self.assertIn("at most half the box, 16", self.errors(prot))

    def testTrainingSettings(self):
        """Settings that do not fit together are refused as the engine would."""
        for values, words in (
            ({"cubeSize": 72}, "cube size + 14"),
            ({"batchSize": 4, "accBatches": 3}, "divisor"),
            ({"epochs": 0}, "without a network"),
            ({"cubeSize": 20}, "multiple of 8"),
            ({"limitRes": -1.0}, "greater than 0"),
        ):
            prot = self.make(CryoDLProtAnisoCorrect, **values)
            self.assertIn(words, self.errors(prot), values)
        classical = self.make(CryoDLProtAnisoCorrect, epochs=0, method=2)
        self.assertNotIn("without a network", self.errors(classical))

    def testGpuList(self):
        """An empty list and 99 are refused when a GPU is to be used, and only then."""
        for gpus in ("", "99", "one"):
            prot = self.make(CryoDLProtAnisoCorrect, useGpu=True, gpuList=gpus)
            self.assertIn("GPU IDs", self.errors(prot))
            prot.useGpu.set(False)
            self.assertEqual(prot.validate(), [])

    def testWarnings(self):
        """Correlated halves are warned of, and a computer without a GPU."""
        prot = self.make(CryoDLProtAnisoCorrect, useGpu=False)
        self.assertIn("correlated", "\n".join(prot._warnings()))
        prot.independent.set(True)
        self.assertEqual(prot._warnings(), [])
        prot.useGpu.set(True)
        with mock.patch.object(engine, "hasGpuDevice", return_value=False):
            self.assertIn("No NVIDIA GPU", "\n".join(prot._warnings()))
        with mock.patch.object(engine, "hasGpuDevice", return_value=True):
            self.assertEqual(prot._warnings(), [])

    def testUnfinishedFsc3D(self):
        """A 3DFSC run without result is no input."""
        empty = self.store(self.make(CryoDLProtFsc3D))
        prot = self.make(CryoDLProtAnisoCorrect, {"inputFsc3D": (empty, "")})
        self.assertIn("without result", self.errors(prot))


class TestContinue(PluginTest):
    """Continue after a change recomputes; after a stop it goes on."""

    def steps(self, prot):
        """Return function name and arguments of the steps that would be run."""
        prot._insertAllSteps()
        found = [(step.funcName.get(), step.argsStr.get()) for step in prot._steps]
        prot._steps.clear()
        return found

    def testEachResultParameterIsAStepArgument(self):
        """Any parameter that changes the result changes the arguments of every step."""
        prot = self.store(self.make(CryoDLProtAnisoCorrect, maskFrom=MASK_SPHERE, maskRadius=9))
        before = self.steps(prot)
        self.assertEqual(self.steps(prot), before)
        for name, value in (
            ("epochs", 31),
            ("limitRes", 9.0),
            ("width", 1),
            ("independent", True),
            ("maskRadius", 8),
            ("maskFrom", MASK_AUTOMATIC),
            ("seed", 4),
            ("modelFile", "m"),
        ):
            old = prot.getAttributeValue(name)
            prot.setAttributeValue(name, value)
            for one, two in zip(before, self.steps(prot)):
                self.assertEqual(one[0], two[0])
                self.assertNotEqual(one[1], two[1], name)
            prot.setAttributeValue(name, old)
        prot.numberOfThreads.set(7)
        self.assertEqual(self.steps(prot), before)

    def testWrittenInputsDoNotCount(self):
        """The files that the first step writes leave the hash as it was."""
        prot = self.store(self.make(CryoDLProtAnisoCorrect, maskFrom=MASK_SPHERE, maskRadius=9))
        before = self.steps(prot)
        prot.convertInputStep("x")
        self.assertEqual(self.steps(prot), before)

    def testRunFolder(self):
        """The same settings keep the engine's run, other settings remove it."""
        prot = self.store(self.make(CryoDLProtFsc3D))
        kept = prot.enginePath("checkpoint")
        seen = []

        def run(plugin, protocol, command, values, folder, gpu):
            seen.append((os.path.exists(kept), values["ncpus"], gpu))
            os.makedirs(folder, exist_ok=True)
            with open(kept, "w", encoding="utf-8") as file:
                file.write("half way")

        with mock.patch.object(engine, "runEngine", run):
            prot.runEngineStep("one")
            prot.runEngineStep("one")
            prot.runEngineStep("two")
        self.assertEqual([there for there, _, _ in seen], [False, True, False])
        self.assertEqual({gpu for _, _, gpu in seen}, {False})

    def testGpuNeed(self):
        """Only the training takes a GPU slot."""
        prot = self.store(self.make(CryoDLProtAnisoCorrect))
        prot._insertAllSteps()
        self.assertEqual([step.needsGPU() for step in prot._steps], [False, True, False])
        prot = self.store(self.make(CryoDLProtFsc3D))
        prot._insertAllSteps()
        self.assertFalse(any(step.needsGPU() for step in prot._steps))


class TestOutputs(PluginTest):
    """Scipion's objects of an engine's result."""

    def testFsc3D(self):
        """Volume, curves and numbers; read again from the project's database."""
        prot = self.finishedFsc3D()
        prot = self.proj.getProtocol(prot.getObjId())
        self.assertEqual(prot.volume.getSamplingRate(), SAMPLING)
        self.assertFalse(os.path.isabs(prot.volume.getFileName()))
        self.assertEqual(prot.sphericity.get(), 0.87)
        labels = [fsc.getObjLabel() for fsc in prot.fscs]
        self.assertEqual(labels[0], "all directions")
        self.assertEqual(set(labels[1:4]), {"along x", "along y", "along z"})
        summary = "\n".join(prot._summary())
        self.assertIn("10.50 Å", summary)
        self.assertIn("0.87", summary)
        resolutions = [line for line in prot._summary() if "direction:" in line]
        best, worst = (float(line.split()[2]) for line in resolutions)
        self.assertGreater(worst, 1.5 * best)
        self.assertIn("3DFSC", prot._methods()[0])

    def testCorrection(self):
        """The volume is the mean of its halves; network, curves, mask, resolution are there."""
        prot = self.finishedCorrection(epochs=8)
        prot = self.proj.getProtocol(prot.getObjId())
        halves = list(prot.volume.getHalfMaps(asList=True))
        mean = (blobs(seed=3, noise=0.01) + blobs(seed=4, noise=0.01)) / 2
        np.testing.assert_allclose(convert.readMap(prot.volume.getFileName()), mean, atol=1e-6)
        self.assertEqual(len(halves), 2)
        self.assertTrue(all(os.path.exists(name) for name in halves))
        self.assertEqual(prot.model.getEpoch(), 8)
        self.assertEqual(prot.model.getLoss(), 0.125)
        self.assertIn("8 epochs", str(prot.model))
        self.assertIn(f"box {BOX} px", str(prot.model))
        labels = [fsc.getObjLabel() for fsc in prot.fscs]
        self.assertEqual(labels, ["before", "after (halves are correlated)"])
        self.assertTrue(os.path.exists(prot.mask.getFileName()))
        self.assertEqual(prot.limitResolution.get(), 10.5)
        summary = "\n".join(prot._summary())
        self.assertIn("loss from 1 to *0.125*", summary)
        self.assertIn("Corrected up to *10.50 Å*, what the best directions resolve", summary)
        self.assertIn("no gold-standard", summary)
        self.assertIn("Took 75 s", summary)

    def testOrigin(self):
        """An origin of the input goes to the output."""
        from pwem.objects import Transform

        origin = Transform()
        origin.setShifts(-10.0, -20.0, -30.0)
        self.source.volume.setOrigin(origin)
        prot = self.finishedCorrection()
        self.assertEqual(prot.volume.getOrigin().getShifts(), (-10.0, -20.0, -30.0))
        self.assertIsInstance(prot.volume, Volume)

    def testUnfinished(self):
        """Summary and methods of a run without result, and of one under way."""
        prot = self.store(self.make(CryoDLProtAnisoCorrect))
        self.assertEqual(prot._summary(), ["Not finished yet."])
        self.assertEqual(prot._methods(), [])
        self.assertEqual(prot.readMetrics(), [])
        os.makedirs(prot.engineFolder())
        with open(prot.enginePath("progress.json"), "w", encoding="utf-8") as file:
            file.write('{"fraction": 0.25, "seconds_left": 660, "note": "epoch 3"}')
        with open(prot.enginePath("metrics.jsonl"), "w", encoding="utf-8") as file:
            file.write('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
        self.assertEqual(prot._summary(), ["25 % done, about 11 min left epoch 3."])
        self.assertEqual(prot.readMetrics(), [{"step": 1, "loss": 0.5}])

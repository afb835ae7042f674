"""Small maps and finished runs for tests, made without launching anything."""

import json
import os
import unittest

import numpy as np
from pwem.objects import Volume, VolumeMask
from pwem.protocols import EMProtocol
from pyworkflow.tests import BaseTest, setupTestProject

from cryodl_plugin import convert, interpreter
from cryodl_plugin.objects import CryoDLModel

BOX, SAMPLING = 32, 4.0


def blobs(box=BOX, seed=0, noise=0.0):
    """Return three off-centre Gaussian blobs, asymmetric, with noise."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    data = np.zeros((box, box, box))
    for height, cx, cy, cz, width in ((1, 4, -3, 2, 3), (0.7, -5, 1, -4, 2), (0.5, 1, 6, 3, 1.5)):
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        data += height * np.exp(-square / (2 * width**2))
    data += noise * np.random.default_rng(seed).standard_normal(data.shape)
    return data.astype(np.float32)


def directionalWeight(box=BOX, last=12):
    """Return a 3DFSC with a missing cone along z: 1 near the equator, 0 on the axis."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    across = np.sqrt(x**2 + y**2) / np.maximum(radius, 1)
    weight = np.where(across > 0.5, 1 - 0.6 * radius / last, 0.05)
    weight[radius < 2] = 1
    return np.where(radius <= last, np.clip(weight, 0.02, 1), 0).astype(np.float32)


class SourceProtocol(EMProtocol):
    """Holds volumes that tests use as inputs."""

    def _defineParams(self, form):
        form.addSection(label="Input")


class PluginTest(BaseTest):
    """A project with half maps, a mask, and protocols that were never launched."""

    @classmethod
    def setUpClass(cls):
        """Make the project; it becomes the working directory."""
        cls.startedIn = os.getcwd()
        setupTestProject(cls)
        interpreter.forget()
        cls.source = cls.makeSource()

    @classmethod
    def tearDownClass(cls):
        """Leave the project's folder, for the tests of others."""
        os.chdir(cls.startedIn)
        super().tearDownClass()

    @classmethod
    def makeSource(cls, box=BOX, sampling=SAMPLING):
        """Return a protocol with a volume and its halves, single halves, and a mask."""
        prot = cls.newProtocol(SourceProtocol, objLabel=f"source {box}")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        names = {}
        for name, seed in (("half1", 1), ("half2", 2)):
            names[name] = prot._getExtraPath(f"{name}.mrc")
            convert.writeMap(names[name], blobs(box, seed, 0.05), sampling)
        names["mask"] = prot._getExtraPath("mask.mrc")
        convert.writeMap(names["mask"], convert.sphereMask(box, box // 3), sampling)
        volume, mask = Volume(), VolumeMask()
        halves = [Volume(), Volume()]
        for item, name in zip((volume, mask, *halves), ("half1", "mask", "half1", "half2")):
            item.setFileName(names[name])
            item.setSamplingRate(sampling)
        volume.setHalfMaps([names["half1"], names["half2"]])
        plain = Volume()
        plain.copyInfo(halves[0])
        plain.setFileName(names["half1"])
        prot._defineOutputs(volume=volume, mask=mask, half1=halves[0], half2=halves[1], plain=plain)
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def make(cls, protocolClass, pointers=None, **values):
        """Return a protocol with the standard volume as input unless told otherwise."""
        values = {"objLabel": protocolClass._label, **values}
        prot = cls.newProtocol(protocolClass, **values)
        given = {"inputVolume": (cls.source, "volume"), **(pointers or {})}
        for name, target in given.items():
            if target is not None and prot.hasAttribute(name):
                getattr(prot, name).set(target[0])
                if target[1]:
                    getattr(prot, name).setExtended(target[1])
        return prot

    @classmethod
    def store(cls, prot):
        """Give a protocol its folder, as launching would."""
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        return prot

    @classmethod
    def finish(cls, prot, maps, values=None, metrics=()):
        """Write an engine's result and make the outputs of it, all in this process."""
        cls.store(prot)
        folder = prot.engineFolder()
        os.makedirs(folder, exist_ok=True)
        result = {"version": "0.1.0", "seconds": 75.0, **(values or {})}
        for key, data in maps.items():
            if isinstance(data, str):
                result[key] = f"{key}.safetensors"
                with open(os.path.join(folder, result[key]), "w", encoding="utf-8") as file:
                    file.write(data)
            else:
                result[key] = f"{key}.mrc"
                convert.writeMap(os.path.join(folder, result[key]), data, SAMPLING)
        result["files"] = [result[key] for key in maps]
        with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
        with open(os.path.join(folder, "metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in metrics)
        prot.convertInputStep("x")
        prot.createOutputStep("x")
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def finishedFsc3D(cls):
        """Return a 3DFSC protocol with outputs."""
        from cryodl_plugin.protocols import CryoDLProtFsc3D

        return cls.finish(
            cls.make(CryoDLProtFsc3D),
            {"fsc3d": directionalWeight()},
            {"resolution": 10.5, "sphericity": 0.87},
        )

    @classmethod
    def finishedCorrection(cls, **values):
        """Return a correction protocol with outputs."""
        from cryodl_plugin.protocols import CryoDLProtAnisoCorrect

        rows = [
            {"epoch": e, "step": 10 * e, "loss": 1 / e, "loss_equivariance": 0.4 / e}
            for e in range(1, 9)
        ]
        return cls.finish(
            cls.make(CryoDLProtAnisoCorrect, useGpu=False, **values),
            {
                "corrected_half1": blobs(seed=3, noise=0.01),
                "corrected_half2": blobs(seed=4, noise=0.01),
                "fsc3d": directionalWeight(),
                "mask": convert.sphereMask(BOX, 10),
                "model": "weights",
            },
            {"limit_resolution": 10.5, "loss": 0.125},
            rows,
        )


def modelObject(path):
    """Return a network object."""
    model = CryoDLModel(fileName=path, method="spisonet correct")
    model.setTraining(version="0.1.0", boxSize=BOX, samplingRate=SAMPLING, epoch=3, loss=0.25)
    return model


class PlainTest(unittest.TestCase):
    """A test that needs no project."""

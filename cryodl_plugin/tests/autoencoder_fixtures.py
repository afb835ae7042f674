"""Finished runs of Autoencoder3D and EDSS3D, made without launching anything."""

import io
import json
import os
import struct

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtAE3DCluster,
    CryoDLProtAE3DTrain,
    CryoDLProtEDSS3DPredict,
    CryoDLProtEDSS3DTrain,
)
from cryodl_plugin.protocols.protocol_ae3d_train import FROM_TOMOGRAMS
from cryodl_plugin.tests.fixtures import blobs
from cryodl_plugin.tests.tomography_fixtures import (
    IMAGE_SAMPLING,
    POSITIONS,
    TOMOGRAM_SAMPLING,
    TomographyTest,
)

GROUPS = (1, 2, 1, 2, 1)
SIZES = [3, 2]
NETWORK_BOX_PX = 16


class AutoencoderTest(TomographyTest):
    """Trainings on the five subtomograms of the source, or on its tomograms."""

    def training(self, **values):
        """Return a training on subtomograms."""
        pointers = {"inputSubTomograms": (self.source, "subtomograms")}
        return self.make(CryoDLProtAE3DTrain, pointers, **{"useGpu": False, **values})

    def blobTraining(self, **values):
        """Return a training on tomograms alone."""
        pointers = {"inputTomograms": (self.source, "tomograms")}
        own = {"source": FROM_TOMOGRAMS, "blobDiameter": 48.0, "boxSizePx": 12, "useGpu": False}
        return self.make(CryoDLProtAE3DTrain, pointers, **{**own, **values})

    def finish(self, prot, result, metrics=()):
        """Write an engine's result and make the outputs of it, all in this process."""
        os.makedirs(prot.engineFolder(), exist_ok=True)
        names = [v for v in result.values() if isinstance(v, str) and "." in v]
        lists = [v for v in result.values() if isinstance(v, list) and v and isinstance(v[0], str)]
        files = sorted({*names, *(name for found in lists for name in found)})
        content = {"version": "0.1.0", "seconds": 75.0, "files": files, **result}
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump(content, file)
        with open(prot.enginePath("metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in metrics)
        prot.createOutputStep("x")
        self.proj._storeProtocol(prot)
        return prot

    @staticmethod
    def _network(path, kind, **more):
        content = {"method": "autoencoder3d", "kind": kind, "pixel_size_angstrom": 8.0, **more}
        header = json.dumps({"__metadata__": {"cryodl": json.dumps(content)}}).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)

    def _particles(self, prot):
        """Write the particles as the engine would; return their number."""
        if prot.fromSubtomograms():
            prot.convertInputStep("x")
            table = tomography.readStar(prot._starFile())
        else:
            rows = [
                {
                    "rlnTomoName": tsId,
                    **{f"rlnCoordinate{a}": float(v) for a, v in zip("XYZ", place)},
                    "rlnOpticsGroup": 1,
                }
                for tsId, places in POSITIONS.items()
                for place in places
            ]
            optics = {"rlnOpticsGroup": 1, "rlnTomoTiltSeriesPixelSize": TOMOGRAM_SAMPLING}
            table = {"optics": [optics], "particles": rows}
        tomography.writeStar(prot.enginePath("particles.star"), table)
        return table

    def finishedTraining(self, prot=None, **values):
        """Return a training of three epochs."""
        prot = self.store(prot or self.training(**values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        count = len(self._particles(prot)["particles"])
        self._network(prot.enginePath("model.safetensors"), "autoencoder")
        buffer = io.BytesIO()
        np.savez(buffer, codes=np.random.default_rng(1).normal(size=(count, 8)))
        with open(prot.enginePath("codes.npz"), "wb") as file:
            file.write(buffer.getvalue())
        rows = [{"epoch": k, "loss": 1 / k, "validation": 1.1 / k} for k in (1, 2, 3)]
        names = {"model": "model.safetensors", "codes": "codes.npz", "star": "particles.star"}
        return self.finish(prot, {**names, "particles": count, "active_units": 8}, rows)

    def grouping(self, training, **values):
        """Return a grouping."""
        return self.make(CryoDLProtAE3DCluster, {"inputTraining": (training, None)}, **values)

    def finishedGrouping(self, training=None, **values):
        """Return two groups with averages and centres."""
        training = training or self.finishedTraining()
        prot = self.store(self.grouping(training, **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        table = tomography.readStar(training.enginePath("particles.star"))
        for row, group in zip(table["particles"], GROUPS):
            row["rlnClassNumber"] = group
        tomography.writeStar(prot.enginePath("clusters.star"), table)
        files = {}
        for k in range(2):
            for stem in ("mean", "centre"):
                files[f"{stem}_{k:03d}"] = f"{stem}_{k:03d}.mrc"
                volume = np.roll(blobs(NETWORK_BOX_PX), k, axis=2)
                path = prot.enginePath(f"{stem}_{k:03d}.mrc")
                convert.writeMap(path, volume, 2 * IMAGE_SAMPLING)
        trials = [
            {"features": name, "clusters": k, "stability": 1 / k, "silhouette": 0.5 / k}
            for name in ("code", "invariant")
            for k in (2, 3, 4)
        ]
        numbers = {"clusters": 2, "sizes": SIZES, "features": "invariant", "stability": 0.5}
        more = {"aligned": True, "trials": trials, "star": "clusters.star"}
        return self.finish(prot, {**files, **numbers, **more})

    def segmentTraining(self, grouping, **values):
        """Return a training of the segmentation."""
        values = {"classes": "1; 2", "useGpu": False, **values}
        return self.make(CryoDLProtEDSS3DTrain, {"inputGroups": (grouping, None)}, **values)

    def finishedSegmentTraining(self, grouping=None, **values):
        """Return a network of two classes."""
        prot = self.store(self.segmentTraining(grouping or self.finishedGrouping(), **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        self._network(prot.enginePath("model.safetensors"), "segmentation", box_px=NETWORK_BOX_PX)
        rows = [{"epoch": k, "loss": 1 / k, "validation": 1 / k, "iou": 0.2 * k} for k in (1, 2)]
        numbers = {"classes": [1, 2], "iou": 0.4}
        return self.finish(prot, {"model": "model.safetensors", **numbers}, rows)

    def segmentation(self, network, **values):
        """Return a segmentation of the tomograms."""
        pointers = {"inputTomograms": (self.source, "tomograms"), "inputModel": (network, "model")}
        return self.make(CryoDLProtEDSS3DPredict, pointers, **{"useGpu": False, **values})

    def finishedSegmentation(self, network=None, **values):
        """Return labels of both tomograms, and three things in them."""
        network = network or self.finishedSegmentTraining()
        prot = self.store(self.segmentation(network, **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        labels, chances = [], []
        for tsId, tomogram in tomography.tomogramsById(self.source.tomograms).items():
            size = convert.mapDimensions(tomogram.getFileName())
            values = np.zeros(size[::-1], np.float32)
            values[4:9, 6:12, 6:12] = 1
            for found, name in ((labels, "labels"), (chances, "class1"), (chances, "class2")):
                found.append(f"{tsId}_{name}.mrc")
                convert.writeMap(prot.enginePath(found[-1]), values, TOMOGRAM_SAMPLING)
        rows = [
            {
                "rlnTomoName": tsId,
                **{f"rlnCoordinate{a}": v for a, v in zip("XYZ", place)},
                "rlnClassNumber": kind,
                "rlnAutopickFigureOfMerit": 0.9,
                "rlnOpticsGroup": 1,
            }
            for tsId, place, kind in (
                ("TS_01", (8.0, 9.0, 6.0), 1),
                ("TS_01", (20.0, 9.0, 6.0), 2),
                ("TS_02", (8.0, 9.0, 6.0), 1),
            )
        ]
        optics = {"rlnOpticsGroup": 1, "rlnTomoTiltSeriesPixelSize": TOMOGRAM_SAMPLING}
        table = {"optics": [optics], "particles": rows}
        tomography.writeStar(prot.enginePath("coordinates.star"), table)
        found = {"labels": labels, "probabilities": chances, "star": "coordinates.star"}
        return self.finish(prot, {**found, "counts": {"TS_01": 2, "TS_02": 1}})

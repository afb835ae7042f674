"""Finished runs of the picker, made without launching anything."""

import io
import json
import os
import struct

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtPickExplore,
    CryoDLProtPickPredict,
    CryoDLProtPickTrain,
)
from cryodl_plugin.tests.tomography_fixtures import TOMOGRAM_SAMPLING, TomographyTest

KINDS = ["particle"]
THRESHOLD = 0.5
PICKS = {"TS_01": [(8.5, 6.5, 6.5, 0.9), (20.5, 12.5, 8.5, 0.7)], "TS_02": [(10.5, 12.5, 8.5, 0.8)]}
BELOW = {"TS_01": [(28.5, 4.5, 12.5, 0.3)], "TS_02": [(4.5, 24.5, 4.5, 0.4)]}
BBOX = 6


def writeModel(path, method="cet_pick", kinds=KINDS, sampling=TOMOGRAM_SAMPLING):
    """Write the header of a network file, with nothing behind it."""
    calibration = {"threshold": THRESHOLD, "f1": 0.87, "recall": 0.9, "precision": 0.84}
    description = {
        "method": method,
        "kinds": list(kinds),
        "bbox_px": BBOX,
        "pixel_size_angstrom": sampling,
        "calibration": [calibration] * len(kinds),
    }
    header = json.dumps({"__metadata__": {"cryodl": json.dumps(description)}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)


def heatMap(size, peaks):
    """Return a map at half the size of a tomogram with maxima at places of the tomogram."""
    data = np.zeros([n // 2 for n in reversed(size)], np.float32)
    z, y, x = np.indices(data.shape)
    for px, py, pz, score in peaks:
        cx, cy, cz = ((p + 0.5) / 2 - 0.5 for p in (px, py, pz))
        square = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        data = np.maximum(data, score * np.exp(-square / 2))
    return data.astype(np.float32)


class PickTest(TomographyTest):
    """Trainings, predictions and explorations on the tomograms of the source."""

    def training(self, **values):
        """Return a training protocol on all labels."""
        pointers = {
            "inputTomograms": (self.source, "tomograms"),
            "inputCoordinates": (self.source, "coordinates"),
        }
        return self.make(CryoDLProtPickTrain, pointers, **{"useGpu": False, **values})

    def finish(self, prot, result, metrics=()):
        """Write an engine's result and make the outputs of it, all in this process."""
        os.makedirs(prot.engineFolder(), exist_ok=True)
        content = {"version": "0.1.0", "seconds": 75.0, **result}
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump(content, file)
        with open(prot.enginePath("metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in metrics)
        prot.createOutputStep("x")
        self.proj._storeProtocol(prot)
        return prot

    def finishedTraining(self, **values):
        """Return a training with its output."""
        prot = self.store(self.training(diameter=BBOX * TOMOGRAM_SAMPLING, **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        writeModel(prot.enginePath("model.safetensors"))
        found = {"recall": 0.9, "precision": 0.84, "f1": 0.87, "held_out": 4, "particles": 9.0}
        result = {
            "model": "model.safetensors",
            "files": ["model.safetensors"],
            "threshold": THRESHOLD,
            "thresholds": {"particle": THRESHOLD},
            "validation": {"particle": found},
        }
        rows = [
            {
                "epoch": epoch,
                "step": 30 * epoch,
                "loss": 1 / epoch,
                "heat_map": 0.6 / epoch,
                "contrast": 2 / epoch,
                "recall": 0.5 + 0.1 * epoch,
                "precision": 0.6 + 0.05 * epoch,
                "threshold": 0.4,
                "expected_error": 0.5 / epoch,
            }
            for epoch in range(1, 5)
        ]
        return self.finish(prot, result, rows)

    def prediction(self, training, **values):
        """Return a prediction protocol with the network of a training."""
        pointers = {
            "inputTomograms": (self.source, "tomograms"),
            "inputModel": (training, "model"),
        }
        return self.make(CryoDLProtPickPredict, pointers, **{"useGpu": False, **values})

    def finishedPrediction(self, training=None, picks=PICKS, **values):
        """Return a prediction with picks and, in the heat maps, maxima below the threshold."""
        prot = self.store(self.prediction(training or self.finishedTraining(), **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        sizes = {t.getTsId(): t.getDim() for t in self.source.tomograms}
        names = {}
        for tsId, size in sizes.items():
            name = names[f"heatmap_{tsId}"] = f"{tsId}_hm.mrc"
            peaks = [*PICKS[tsId], *BELOW[tsId]]
            convert.writeMap(prot.enginePath(name), heatMap(size, peaks), 2 * TOMOGRAM_SAMPLING)
        rows = [
            {
                "rlnTomoName": tsId,
                **dict(zip(("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"), place[:3])),
                "rlnAutopickFigureOfMerit": place[3],
                "rlnOpticsGroup": 1,
            }
            for tsId, places in picks.items()
            for place in places
        ]
        if rows:
            names["star"] = "coordinates.star"
            tomography.writeStar(prot.enginePath("coordinates.star"), blocks(rows))
        counts = {tsId: {"particle": len(places)} for tsId, places in picks.items()}
        files = {**names, "files": list(names.values())}
        return self.finish(prot, {**files, "threshold": THRESHOLD, "counts": counts})

    def finishedExploration(self, count=12, **values):
        """Return an exploration of three clusters."""
        pointers = {"inputTomograms": (self.source, "tomograms")}
        prot = self.make(CryoDLProtPickExplore, pointers, useGpu=False, diameter=64.0, **values)
        self.store(prot)
        os.makedirs(prot.engineFolder(), exist_ok=True)
        random = np.random.default_rng(0)
        rows = [
            {
                "rlnTomoName": "TS_01" if i % 2 else "TS_02",
                "rlnCoordinateX": 3 + i,
                "rlnCoordinateY": 5 + i,
                "rlnCoordinateZ": 4 + i % 8,
                "rlnClassNumber": i % 3 + 1,
                "rlnAutopickFigureOfMerit": 9 - 0.1 * i,
                "cdlMapX": np.round((i % 3 - 1) * 0.8 + 0.02 * i, 4),
                "cdlMapY": np.round((i % 3 == 1) * 0.7 - 0.01 * i, 4),
                "rlnOpticsGroup": 1,
            }
            for i in range(count)
        ]
        tomography.writeStar(prot.enginePath("map.star"), blocks(rows))
        buffer = io.BytesIO()
        images = random.standard_normal((count, 14, 14)).astype(np.float16)
        np.savez_compressed(buffer, codes=np.zeros((count, 4), np.float32), images=images)
        with open(prot.enginePath("codes.npz"), "wb") as file:
            file.write(buffer.getvalue())
        names = {"map": "map.star", "coordinates": "map.star", "codes": "codes.npz"}
        values = {"blobs": count, "clusters": 3, "map_method": "t-SNE"}
        return self.finish(prot, {**names, "files": sorted(set(names.values())), **values})


def blocks(rows):
    """Return the blocks of a particle file."""
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnMicrographOriginalPixelSize": TOMOGRAM_SAMPLING,
        "rlnTomoTiltSeriesPixelSize": TOMOGRAM_SAMPLING,
    }
    return {"optics": [optics], "particles": rows}

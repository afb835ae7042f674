"""Finished runs of SelfAlign, made without launching anything."""

import json
import os

import numpy as np
from pwem.objects import Volume

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtSubtomoAlign,
    CryoDLProtSubtomoRefine,
    CryoDLProtSubtomoTrain,
)
from cryodl_plugin.tests.fixtures import BOX, blobs
from cryodl_plugin.tests.tomography_fixtures import (
    ANGLES,
    IMAGE_SAMPLING,
    SHIFTS_ANGSTROM,
    TomographyTest,
)

TURN_DEGREES, ROUNDS = 7.0, 4
SCORES = [12.5, 9.0, 4.5, 15.25, 7.75]


class SubtomoTest(TomographyTest):
    """Alignments and averages of the subtomograms of the source, and a reference."""

    @classmethod
    def makeSource(cls, **_):
        """Add a reference to the tomograms and particles."""
        prot = super().makeSource()
        for name, box in (("reference", BOX), ("large", BOX + 8)):
            volume = Volume()
            path = prot._getExtraPath(f"{name}.mrc")
            convert.writeMap(path, blobs(box), IMAGE_SAMPLING)
            volume.setFileName(path)
            volume.setSamplingRate(IMAGE_SAMPLING)
            prot._defineOutputs(**{name: volume})
        cls.proj._storeProtocol(prot)
        return prot

    def run_(self, protocolClass, reference="reference", **values):
        """Return a protocol on the subtomograms, without a GPU."""
        pointers = {"inputSubTomograms": (self.source, "subtomograms")}
        if reference:
            pointers["inputReference"] = (self.source, reference)
        return self.make(protocolClass, pointers, **{"useGpu": False, **values})

    def turned(self):
        """Return the poses of the source, each turned a little about its own z axis: A and s."""
        turn = tomography.eulerToMatrix(TURN_DEGREES, 0, 0)
        shifts = np.array(SHIFTS_ANGSTROM) / IMAGE_SAMPLING
        return [turn @ tomography.eulerToMatrix(*a) for a in ANGLES], shifts

    def writeAligned(self, prot, name, classes=None):
        """Write what the engine would: the file of the protocol with other poses, backwards."""
        prot.convertInputStep("x")
        blocks = tomography.readStar(prot.inputFile("particles.star"))
        rotations, shifts = self.turned()
        for i, row in enumerate(blocks["particles"]):
            angles = tomography.matrixToEuler(rotations[i])
            row.update(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles))
            origin = shifts[i] * IMAGE_SAMPLING
            row.update(zip((f"rlnOrigin{axis}Angst" for axis in "XYZ"), origin))
            row.update(cdlScore=SCORES[i], cdlScoreMargin=1.5, cdlConfidence=0.9 + 0.01 * i)
            row.update(cdlPoseSpread=2, rlnClassNumber=classes[i] if classes else 1)
        blocks["particles"] = blocks["particles"][::-1]
        tomography.writeStar(prot.enginePath(name), blocks)

    def finishRun(self, prot, result, metrics=()):
        """Write an engine's result and make the outputs of it, all in this process."""
        content = {"version": "0.1.0", "seconds": 75.0, "particles": 5, **result}
        files = [v for v in result.values() if isinstance(v, str)]
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump({**content, "files": files}, file)
        with open(prot.enginePath("metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in metrics)
        prot.createOutputStep("x")
        self.proj._storeProtocol(prot)
        return prot

    def started(self, prot):
        """Give a protocol its folders."""
        self.store(prot)
        os.makedirs(prot.engineFolder(), exist_ok=True)
        return prot

    def finishedAlign(self, **values):
        """Return an alignment with its output."""
        prot = self.started(self.run_(CryoDLProtSubtomoAlign, **values))
        self.writeAligned(prot, "aligned.star")
        found = {"median_score": 9.0, "confident": 0.8, "median_spread_degrees": 2.0}
        return self.finishRun(prot, {"star": "aligned.star", **found})

    def finishedTrain(self, **values):
        """Return a training with its network."""
        prot = self.started(self.run_(CryoDLProtSubtomoTrain, **values))
        with open(prot.enginePath("model.safetensors"), "w", encoding="utf-8") as file:
            file.write("weights")
        rows = [{"epoch": e, "step": 10 * e, "loss": 2 / e} for e in range(1, 6)]
        result = {"model": "model.safetensors", "parameters": 1234567, "test_median_degrees": 8.5}
        return self.finishRun(prot, result, rows)

    def finishedRefine(self, count=1, **values):
        """Return an average of one class or two with four rounds."""
        prot = self.started(self.run_(CryoDLProtSubtomoRefine, classes=count, **values))
        classes = [1 + i % count for i in range(5)]
        self.writeAligned(prot, "particles.star", classes)
        result = {"star": "particles.star", "resolution": 18.5, "rounds": ROUNDS}
        result.update(median_score=9.0, confident=0.8, median_spread_degrees=2.0)
        for i in range(1, count + 1):
            prefix = f"class{i}_" if count > 1 else ""
            for j, name in enumerate(("half1", "half2", "average_unfiltered", "average", "mask")):
                data = convert.sphereMask(BOX, 10) if name == "mask" else blobs(seed=j, noise=0.05)
                result[f"{prefix}{name}"] = f"{prefix}{name}.mrc"
                path = prot.enginePath(f"{prefix}{name}.mrc")
                convert.writeMap(path, data, IMAGE_SAMPLING)
            result[f"{prefix}fsc"] = f"{prefix}fsc.csv"
            self.writeFsc(prot.enginePath(f"{prefix}fsc.csv"))
            if prefix:
                result[f"{prefix}resolution"] = 18.5 + i
                result[f"{prefix}particles"] = classes.count(i)
        self.writeRounds(prot, count)
        return self.finishRun(prot, result, self.metrics(count))

    @staticmethod
    def curve(number=ROUNDS):
        """Return a FSC that gets better with the rounds."""
        return 1 / (1 + np.exp((np.arange(BOX // 2 + 1) - 3.0 - number) / 1.2))

    def writeFsc(self, path):
        """Write an engine's table of curves."""
        with open(path, "w", encoding="utf-8") as file:
            file.write("shell,resolution_angstrom,unmasked,masked,randomised,corrected\n")
            for shell, value in enumerate(self.curve()):
                angstrom = BOX * IMAGE_SAMPLING / shell if shell else np.inf
                values = [0.9 * value, value, 0.1 * value, value]
                file.write(",".join(map(str, [shell, angstrom, *values])) + "\n")

    def writeRounds(self, prot, count):
        """Write the state of some rounds."""
        rotations, shifts = self.turned()
        for number in range(ROUNDS + 1):
            place = prot.enginePath("rounds", f"round{number:03d}")
            os.makedirs(place)
            noise = 0.3 / (1 + number)
            turn = tomography.eulerToMatrix(8.0 / (1 + number), 0, 0)
            np.savez(
                os.path.join(place, "state.npz"),
                average=np.stack([blobs(seed=number, noise=noise)] * count),
                fsc=np.stack([self.curve(number)] * count),
                rotations=np.array([turn @ one for one in rotations]),
                shifts_px=shifts + 0.1 * number,
            )
            with open(os.path.join(place, "round.json"), "w", encoding="utf-8") as file:
                json.dump({"number": number, "resolution_angstrom": 40 - 5 * number}, file)

    @staticmethod
    def metrics(count):
        """Return the rows of the rounds."""
        rows = []
        for number in range(ROUNDS + 1):
            row = {"step": number, "resolution": 40 - 5 * number, "score": 4 + number}
            row["change_degrees"] = 60 / (1 + number) ** 2
            if count > 1:
                row.update({f"class{i}_particles": i + 1 for i in range(1, count + 1)})
            rows.append(row)
        return rows

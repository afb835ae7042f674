"""Finished runs of OPUS-TOMO, made without launching anything."""

import io
import json
import os

import numpy as np

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtOpusAnalyze,
    CryoDLProtOpusEvalVols,
    CryoDLProtOpusSelect,
    CryoDLProtOpusTrain,
)
from cryodl_plugin.tests.fixtures import blobs
from cryodl_plugin.tests.tomography_fixtures import IMAGE_SAMPLING, TomographyTest

MOVED_ANGSTROM = 2.0
CLUSTERS = (1, 2, 1, 2, 2)
LATENTS = np.array([[-1, 0.2, 0], [1, 0.1, 0], [-0.8, -0.3, 0], [0.9, 0.4, 0], [1.2, -0.4, 0]])


class OpusTest(TomographyTest):
    """Trainings and what follows on the five subtomograms of the source."""

    def training(self, **values):
        """Return a training protocol."""
        pointers = {"inputSubTomograms": (self.source, "subtomograms")}
        return self.make(CryoDLProtOpusTrain, pointers, **{"useGpu": False, **values})

    def finish(self, prot, result, metrics=()):
        """Write an engine's result and make the outputs of it, all in this process."""
        content = {"version": "0.1.0", "seconds": 75.0, **result}
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump(content, file)
        with open(prot.enginePath("metrics.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in metrics)
        prot.createOutputStep("x")
        self.proj._storeProtocol(prot)
        return prot

    def finishedTraining(self, subUnits=False, **values):
        """Return a training whose engine has moved every particle by 2 Å along x."""
        prot = self.store(self.training(**{"estpose": True, **values}))
        os.makedirs(prot.enginePath("epochs"), exist_ok=True)
        prot.convertInputStep("x")
        table = tomography.readStar(prot._starFile())
        for row, latent in zip(table["particles"], LATENTS):
            row["rlnOriginXAngst"] = float(row["rlnOriginXAngst"]) + MOVED_ANGSTROM
            row.update({f"cdlLatent{i + 1}": value for i, value in enumerate(latent)})
        # In another order: items are told apart by their ids.
        table["particles"] = table["particles"][::-1]
        tomography.writeStar(prot.enginePath("particles.star"), table)
        count = len(LATENTS)
        self._arrays(
            prot.enginePath("latents.npz"),
            scaled=LATENTS[::-1].astype(np.float32),
            linear=LATENTS[::-1].astype(np.float32),
            direction=np.eye(3, dtype=np.float32)[np.arange(count) % 3],
            tomogram=np.array(["TS_01", "TS_02"] * 2 + ["TS_01"]),
            misfit=np.linspace(-0.2, -0.1, count),
            trained_on=np.arange(count) > 0,
        )
        convert.writeMap(prot.enginePath("consensus.mrc"), blobs(), IMAGE_SAMPLING)
        for name in ("model.safetensors", "epochs/model_004.safetensors"):
            with open(prot.enginePath(name), "wb") as file:
                file.write(b"")
        names = {
            "star": "particles.star",
            "latents": "latents.npz",
            "consensus": "consensus.mrc",
            "model": "model.safetensors",
        }
        rows = [
            {
                "epoch": epoch,
                "step": epoch,
                "loss": -0.1 * epoch,
                "misfit": -0.1 * epoch,
                "held_out": -0.09 * epoch,
                "divergence": 3.0 + epoch,
                "spread": 0.02 * epoch,
            }
            for epoch in range(1, 9)
        ]
        numbers = {"particles": count, "spread": 0.16, "collapsed": False}
        poses = {"median_turn_degrees": 1.5, "median_move_px": 0.5, "direction_leakage": 0.01}
        if subUnits:
            series = {f"bodies_{i}": f"bodies_0{i}.mrc" for i in (1, 2, 3)}
            for name in series.values():
                convert.writeMap(prot.enginePath(name), blobs(), IMAGE_SAMPLING)
            numbers.update(bodies_series=list(series.values()), bodies_range_degrees=[25.2])
            names.update(series)
        return self.finish(
            prot, {**names, "files": sorted(names.values()), **numbers, **poses}, rows
        )

    @staticmethod
    def _arrays(path, **arrays):
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        with open(path, "wb") as file:
            file.write(buffer.getvalue())

    def analysis(self, training, **values):
        """Return an analysis protocol."""
        pointers = {"inputTraining": (training, None)}
        return self.make(CryoDLProtOpusAnalyze, pointers, **{"clusters": 2, **values})

    def finishedAnalysis(self, training=None, **values):
        """Return an analysis of two clusters with their densities."""
        training = training or self.finishedTraining()
        prot = self.store(self.analysis(training, **values))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        table = tomography.readStar(training.enginePath("particles.star"))
        for row, cluster in zip(table["particles"], CLUSTERS[::-1]):
            row["rlnClassNumber"] = cluster
        tomography.writeStar(prot.enginePath("particles.star"), table)
        ids = [row[tomography.PARTICLE_ID] for row in table["particles"]]
        lines = ["name,tomogram,cluster,pc1,pc2,linear1,linear2,beam_angle,misfit,class,id"]
        for i, key in enumerate(ids):
            x, y, _ = LATENTS[::-1][i]
            tsId = f"TS_0{i % 2 + 1}"
            lines.append(
                f"p{i},{tsId},{CLUSTERS[::-1][i]},{x},{y},{x},{y},{20 * i},0,{i % 2},{key}"
            )
        with open(prot.enginePath("latents.csv"), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        self.series(prot.seriesFolder(), ["kmeans01", "kmeans02"])
        names = {"star": "particles.star", "latents": "latents.csv"}
        numbers = {"clusters": [2, 3], "silhouette": 0.7, "agreement_with_linear": 1.0}
        return self.finish(prot, {**names, "files": sorted(names.values()), **numbers})

    @staticmethod
    def series(folder, names):
        """Write densities of a series, and the result that names them; return the result."""
        os.makedirs(folder, exist_ok=True)
        for number, name in enumerate(names):
            volume = np.roll(blobs(), number, axis=2)
            convert.writeMap(os.path.join(folder, f"{name}.mrc"), volume, IMAGE_SAMPLING)
        with open(os.path.join(folder, "series.cxc"), "w", encoding="utf-8") as file:
            file.write("open *.mrc vseries true\n")
        found = {f"volume_{i + 1}": f"{name}.mrc" for i, name in enumerate(names)}
        result = {**found, "volumes": sorted(found.values()), "files": sorted(found.values())}
        with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
        return result

    def finishedVolumes(self, analysis=None, **values):
        """Return three densities along a component."""
        pointers = {"inputAnalysis": (analysis or self.finishedAnalysis(), None)}
        values = {"kind": 1, "steps": 3, "useGpu": False, **values}
        prot = self.store(self.make(CryoDLProtOpusEvalVols, pointers, **values))
        result = self.series(prot.engineFolder(), ["pc1_01", "pc1_02", "pc1_03"])
        return self.finish(prot, result)

    def selection(self, analysis, **values):
        """Return a selection protocol."""
        return self.make(CryoDLProtOpusSelect, {"inputAnalysis": (analysis, None)}, **values)

    def finishedSelection(self, analysis=None, **values):
        """Return the particles of the second cluster."""
        analysis = analysis or self.finishedAnalysis()
        prot = self.store(self.selection(analysis, **{"clusters": "2", **values}))
        os.makedirs(prot.engineFolder(), exist_ok=True)
        table = tomography.readStar(analysis.enginePath("particles.star"))
        rows = table["particles"]
        table["particles"] = [row for row in rows if int(float(row["rlnClassNumber"])) == 2]
        tomography.writeStar(prot.enginePath("particles.star"), table)
        numbers = {"selected": 3, "of": 5}
        return self.finish(prot, {"star": "particles.star", "files": ["particles.star"], **numbers})

"""The report of the demonstration, on a chain whose every result is made up and known."""

import json

import numpy as np
import pytest

from cryodl.cli import main
from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.io.mrc import write_volume
from cryodl.core.io.particles.make import make_particles
from cryodl.core.io.particles.write import write_particles

PIXEL, BOX, COUNT = 8.0, 24, 30
FRAME = random_rotations(1, np.random.default_rng(9))[0]


def lopsided(size, seed):
    """Return a blob of some balls, none where the centre is."""
    grid = np.indices((size, size, size)) - size // 2
    volume = np.zeros((size, size, size), dtype=np.float32)
    for centre in np.random.default_rng(seed).uniform(-4, 4, (5, 3)):
        volume += np.exp(-((grid - centre[:, None, None, None]) ** 2).sum(0) / 6)
    return volume


class Chain:
    """Folders as the chain leaves them."""

    def __init__(self, root):
        rng = np.random.default_rng(1)
        self.root = root
        self.points = rng.uniform(5, 90, (COUNT, 3)) + 40 * np.arange(COUNT)[:, None] * [1, 0, 0]
        self.kinds = np.resize([1, 2, 3], COUNT)
        self.rotations = random_rotations(COUNT, rng)
        self.rings = self.kinds < 3
        self.references = [lopsided(BOX, seed) for seed in range(3)]
        self.truth()
        everything = np.ones(COUNT, dtype=bool)
        self.stage("picks", "coordinates.star", everything, self.kinds)
        sorted_kinds = np.where(self.rings, 1, 2)
        self.stage("classes", "clusters.star", everything, sorted_kinds, averages=["a.mrc"])
        self.map("classes/a.mrc", self.references[0])
        self.stage("average", "particles.star", self.rings, self.kinds, average="average.mrc")
        edit(root / "average/result.json", resolution=20.0)
        mean = rotate_volume(np.mean(self.references[:2], axis=0), FRAME)
        self.map("average/average.mrc", mean)
        self.stage("states", "particles.star", self.rings, self.kinds, latents="latents.csv")
        rows = [f"sim_01/{k + 1:06d},{kind},0" for k, kind in enumerate(self.kinds)]
        (root / "states/latents.csv").write_text("\n".join(["name,pc1,pc2", *rows]))
        self.correction()

    def truth(self):
        """Write what `simulate tomogram` writes."""
        folder = self.root / "tomogram/truth"
        folder.mkdir(parents=True)
        for number, volume in enumerate(self.references, 1):
            self.map(f"tomogram/truth/reference_class{number}.mrc", volume)
        noise = np.random.default_rng(2).normal(size=(16, 100, 100)).astype(np.float32)
        self.map("tomogram/tomogram.mrc", noise)
        edit(self.root / "tomogram/result.json", data="tomogram.mrc")
        rows = np.ones(COUNT, dtype=bool)
        self.write(folder / "particles.star", rows, self.kinds, self.rotations, "tomogram")

    def write(self, path, rows, classes, rotations, tomogram="sim_01"):
        """Write some of the particles."""
        found = make_particles(
            image_kind="none",
            pixel_size_angstrom=PIXEL,
            names=[f"{tomogram}/{k + 1:06d}" for k in np.flatnonzero(rows)],
            tomograms=[tomogram] * int(rows.sum()),
            coordinates_px=self.points[rows],
            rotations=rotations[rows],
            classes=classes[rows],
        )
        write_particles(path, found)

    def stage(self, name, star, rows, classes, **result):
        """Write a stage whose poses lie in a frame of their own."""
        (self.root / name).mkdir(exist_ok=True)
        self.write(self.root / name / star, rows, classes, self.rotations @ FRAME.T)
        edit(self.root / name / "result.json", star=star, **result)

    def map(self, name, volume):
        """Write a map."""
        write_volume(self.root / name, volume.astype(np.float32), pixel_size_angstrom=PIXEL)

    def correction(self):
        """Write halves: noisy before, clean after."""
        clean = rotate_volume(self.references[0], FRAME)
        noise = np.random.default_rng(3).normal(scale=0.5, size=clean.shape)
        (self.root / "correction").mkdir()
        for half in (1, 2):
            self.map(f"correction/before{half}.mrc", clean + noise)
            self.map(f"correction/corrected_half{half}.mrc", clean)
        before = {f"half{k}": str(self.root / f"correction/before{k}.mrc") for k in (1, 2)}
        edit(self.root / "correction/config.json", parameters={**before, "aniso_file": None})
        after = {f"corrected_half{k}": f"corrected_half{k}.mrc" for k in (1, 2)}
        edit(self.root / "correction/result.json", **after)

    def report(self):
        """Run the command; return its status and figures."""
        names = ("picks", "classes", "average", "states", "correction")
        folders = {name: str(self.root / name) for name in names}
        folders["truth"] = {"sim_01": str(self.root / "tomogram")}
        path, out = self.root / "folders.json", self.root / "report"
        path.write_text(json.dumps(folders))
        status = main(["demo", "--folders", str(path), "--output", str(out), "--overwrite"])
        return json.loads((out / "result.json").read_text()) if status == 0 else status


def edit(path, **values):
    old = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**old, **values}))


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path)


def test_a_perfect_chain_is_said_to_be_perfect(chain):
    found = chain.report()
    assert found["picking_f1"] == 1
    assert found["class_purity"] == 1
    assert found["pose_median_degrees"] == pytest.approx(0, abs=0.01)
    assert found["state_ari"] == 1
    assert found["fsc_to_truth_after"] > 0.9 > found["fsc_to_truth_before"]
    assert "green" in (chain.root / "report/report.html").read_text().lower()


def test_faults_of_each_stage_are_found(chain):
    some = np.arange(COUNT) < 20
    chain.stage("picks", "coordinates.star", some, chain.kinds)
    everything = np.ones(COUNT, dtype=bool)
    wrong = np.where(np.arange(COUNT) % 5 == 0, 1, np.where(chain.rings, 1, 2))
    chain.stage("classes", "clusters.star", everything, wrong)
    chain.stage("states", "particles.star", chain.rings, np.resize([1, 1, 2, 2], COUNT))
    chain.rotations = random_rotations(COUNT, np.random.default_rng(8))
    chain.stage("average", "particles.star", chain.rings, chain.kinds)
    found = chain.report()
    assert found["picking_f1"] == pytest.approx(2 * 20 / 50)
    assert found["class_purity"] < 1
    assert found["pose_median_degrees"] > 10
    assert found["state_ari"] < 0.9


def test_folders_of_another_chain_end_in_one_line(chain, capsys):
    edit(chain.root / "picks/result.json", star="missing.star")
    assert chain.report() == 2
    assert "missing.star" in capsys.readouterr().err
    (chain.root / "states/result.json").unlink()
    assert chain.report() == 2
    assert "holds no result.json" in capsys.readouterr().err

"""The commands from end to end, and everything that can be wrong with what they are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cryodl.cli import main, run_command
from cryodl.core.fourier.transform import forward_centred, inverse_centred
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import random_rotations, rotate_volume
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.make import particles_from_subtomograms
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles

N, COUNT, PIXEL = 16, 32, 10.0
QUICK = ["--preset", "demo", "--templateres", "16", "--devices", "cpu", "--zdim", "3"]


def states() -> list[np.ndarray]:
    """Two lop-sided densities that differ by one domain."""
    z, y, x = np.mgrid[:N, :N, :N] - N // 2

    def ball(cx, cy, cz, radius):
        return np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / radius**2)

    body = ball(0, 0, 0, 2.2) + 0.8 * ball(2.5, 0, 1, 1.6)
    return [body + ball(-2, 2.5, -1, 1.8), body + ball(0, -2.5, -2.5, 1.8)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    rng = np.random.default_rng(0)
    rotations, shifts = random_rotations(COUNT, rng), rng.uniform(-1, 1, (COUNT, 3))
    kinds = rng.permutation(np.arange(COUNT) % 2)
    wedge = missing_wedge(N, -60, 60)
    paths = []
    for i in range(COUNT):
        clean = rotate_volume(states()[kinds[i]], rotations[i], translation_px=-shifts[i], order=3)
        noisy = clean + 0.35 * rng.standard_normal(clean.shape)
        paths.append(folder / f"p{i:03d}.mrc")
        seen = inverse_centred(forward_centred(noisy) * wedge)
        write_volume(paths[-1], seen, pixel_size_angstrom=PIXEL)
    wrong = shifts + rng.normal(0, 0.8, shifts.shape)
    particles = particles_from_subtomograms(
        paths,
        pixel_size_angstrom=PIXEL,
        box_size_px=N,
        rotations=rotations,
        shifts_angstrom=wrong * PIXEL,
        half_sets=np.arange(COUNT) % 2 + 1,
    ).with_column("myColumn", range(COUNT))
    write_particles(folder / "particles.star", particles)
    np.save(folder / "kinds.npy", kinds)
    np.save(folder / "shifts.npy", shifts)
    return folder


def train_words(data: Path, output: Path, *more: str) -> list[str]:
    given = ["opus-tomo", "train", str(data / "particles.star"), "--output", str(output)]
    return [*given, "--tilt-min", "-60", "--tilt-max", "60", *QUICK, *more]


@pytest.fixture(scope="module")
def trained(data) -> Path:
    output = data / "trained"
    words = ["--epochs", "12", "--estpose", "--keep-every", "5"]
    run_command(train_words(data, output, *words))
    return output


@pytest.fixture(scope="module")
def analyzed(data, trained) -> Path:
    output = data / "analyzed"
    run_command(["opus-tomo", "analyze", str(trained), "--clusters", "2", "--output", str(output)])
    return output


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def agreement(labels: np.ndarray, kinds: np.ndarray) -> float:
    same = float(np.mean((labels == labels.max()) == (kinds == 1)))
    return max(same, 1 - same)


def test_prepare(data):
    output = data / "prepared"
    words = ["--tilt-min", "-60", "--tilt-max", "60", "--output", str(output)]
    run_command(["opus-tomo", "prepare", str(data / "particles.star"), *words])
    consensus = read_volume(output / "consensus.mrc")
    mean = np.mean(states(), axis=0)
    assert np.corrcoef(consensus.data.ravel(), mean.ravel())[0, 1] > 0.9
    assert consensus.pixel_size_angstrom == pytest.approx(PIXEL)
    assert read_volume(output / "mask.mrc").data.max() == pytest.approx(1)
    assert result(output)["contrast"] == "bright"


def test_training_finds_the_states(data, trained, analyzed):
    kinds = np.load(data / "kinds.npy")
    with np.load(trained / "latents.npz") as latents:
        assert latents["name"].tolist() == [f"p{i:03d}.mrc" for i in range(COUNT)]
        assert latents["z_mu"].shape == (COUNT, 3) and latents["scaled"].shape == (COUNT, 3)
        assert latents["z_mu"].std(axis=0).max() > 0.1
        assert len(np.unique(latents["z_mu"], axis=0)) == COUNT
        assert latents["trained_on"].sum() == COUNT - int(0.1 * COUNT)
    assert not result(trained)["collapsed"]
    classes = read_particles(analyzed / "particles.star").classes
    assert agreement(classes, kinds) >= 0.9


def test_star_keeps_everything_and_gains_poses(data, trained):
    before = read_particles(data / "particles.star")
    after = read_particles(trained / "particles.star")
    table = after.blocks[after.particle_block]
    assert list(table["myColumn"]) == list(range(COUNT))
    assert "cdlLatent1" in table and "optics" in after.blocks
    assert not np.allclose(after.shifts_angstrom, before.shifts_angstrom)

    def error(particles):
        rest = particles.shifts_angstrom / PIXEL - np.load(data / "shifts.npy")
        rest = np.einsum("nji,nj->ni", particles.rotations, rest)  # in the reference's frame
        return np.median(np.linalg.norm(rest - rest.mean(axis=0), axis=1))

    assert error(after) < 0.7 * error(before)


def test_volumes_overlay_the_consensus(trained, analyzed, tmp_path):
    for kind in ("kmeans", "pc"):
        output = tmp_path / kind
        words = ["--kind", kind, "--steps", "3", "--output", str(output)]
        run_command(["opus-tomo", "volumes", str(analyzed), *words])
        names = result(output)["volumes"]
        assert -0.5 <= result(output)["agreement_with_linear"] <= 1
        assert "What a linear method sees" in (output / "report.html").read_text()
        assert len(names) == (2 if kind == "kmeans" else 3)
        volumes = [read_volume(output / name) for name in names]
        consensus = read_volume(trained / "consensus.mrc").data
        mean = np.mean([v.data for v in volumes], axis=0)
        assert volumes[0].data.shape == (N,) * 3
        assert volumes[0].pixel_size_angstrom == pytest.approx(PIXEL)
        assert np.linalg.norm(middle(mean) - middle(consensus)) < 0.5
    scores = [[np.corrcoef(v.data.ravel(), s.ravel())[0, 1] for s in states()] for v in volumes]
    assert (scores[0][0] - scores[0][1]) * (scores[-1][0] - scores[-1][1]) < 0


def test_the_table_says_what_is_known(analyzed):
    header, *lines = (analyzed / "latents.csv").read_text().splitlines()
    names = header.split(",")
    assert names[:4] == ["name", "tomogram", "cluster", "pc1"] and len(lines) == COUNT
    assert {"linear1", "beam_angle", "misfit"} <= set(names)
    assert not {"class", "defocus", "id"} & set(names)  # of which nothing is known here
    labels = [int(line.split(",")[2]) for line in lines]
    assert labels == read_particles(analyzed / "particles.star").classes.tolist()


def test_umap_where_it_is_installed(trained, tmp_path, capsys):
    words = ["opus-tomo", "analyze", str(trained), "--umap", "--clusters", "2"]
    words += ["--output", str(tmp_path / "o")]
    try:
        import umap  # noqa: F401
    except ImportError:
        assert main(words) == 2
        assert "pip install umap-learn" in capsys.readouterr().err
        return
    run_command(words)
    assert "umap1" in (tmp_path / "o" / "latents.csv").read_text().splitlines()[0]


def test_an_earlier_epoch(data, trained, tmp_path, capsys):
    words = ["opus-tomo", "analyze", str(trained), "--clusters", "2", "--epoch"]
    run_command([*words, "10", "--output", str(tmp_path / "ten")])
    with np.load(tmp_path / "ten" / "analysis.npz") as found, np.load(trained / "latents.npz") as z:
        assert str(found["model"]) == "epochs/model_010.safetensors"
        assert not np.allclose(found["z_mu"], z["z_mu"])
        assert agreement(found["labels"], np.load(data / "kinds.npy")) >= 0.9
    volumes = ["opus-tomo", "volumes", str(tmp_path / "ten"), "--output", str(tmp_path / "v")]
    run_command(volumes)
    assert len(result(tmp_path / "v")["volumes"]) == 2
    assert main([*words, "7", "--output", str(tmp_path / "seven")]) == 2
    assert "after epochs 5, 10, 12" in capsys.readouterr().err


def middle(volume: np.ndarray) -> np.ndarray:
    weight = volume.clip(0.2 * volume.max())
    weight = weight - weight.min()
    grids = np.indices(volume.shape).reshape(3, -1)
    return (grids * weight.ravel()).sum(axis=1) / weight.sum()


@pytest.mark.parametrize("pixel", ["0.01", "500"])
def test_a_pixel_size_that_makes_absurd_boxes_is_refused(analyzed, tmp_path, capsys, pixel):
    words = ["opus-tomo", "volumes", str(analyzed), "--pixel-size", pixel]
    assert main([*words, "--output", str(tmp_path / "v")]) == 2
    assert f"--pixel-size: found {pixel} A, which makes boxes of" in capsys.readouterr().err


def test_other_pixel_size(analyzed, tmp_path):
    run_command(
        [
            "opus-tomo",
            "volumes",
            str(analyzed),
            "--pixel-size",
            "8",
            "--output",
            str(tmp_path / "v"),
        ]
    )
    volume = read_volume(tmp_path / "v" / "kmeans01.mrc")
    assert volume.pixel_size_angstrom == pytest.approx(8)
    assert volume.data.shape == (20,) * 3


def test_select_by_cluster_and_by_lasso(analyzed, tmp_path):
    run_command(
        ["opus-tomo", "select", str(analyzed), "--clusters", "1", "--output", str(tmp_path / "c")]
    )
    chosen = read_particles(tmp_path / "c" / "particles.star")
    assert (chosen.classes == 1).all() and 0 < len(chosen) < COUNT
    lasso = tmp_path / "lasso.json"
    corners = [[-1e3, -1e3], [1e3, -1e3], [1e3, 1e3], [-1e3, 1e3]]
    lasso.write_text(json.dumps({"x": "pc1", "y": "pc2", "points": corners}))
    words = ["opus-tomo", "select", str(analyzed), "--lasso", str(lasso)]
    run_command([*words, "--output", str(tmp_path / "l")])
    assert result(tmp_path / "l")["selected"] == COUNT
    assert 0 < result(tmp_path / "l")["shared_with_linear"] < COUNT  # one of two linear clusters
    assert main([*words, "--invert", "--output", str(tmp_path / "i")]) == 2


def test_killed_and_resumed_gives_the_same(data, tmp_path, monkeypatch):
    from cryodl.core.training import trainer

    words = ["--epochs", "2", "--no-refine-latents", "--estpose", "--pose-rounds", "1"]
    words += ["--batch-size", "16"]
    run_command(train_words(data, tmp_path / "whole", *words))
    whole = np.load(tmp_path / "whole" / "latents.npz")["z_mu"]
    steps = iter(range(100))
    optimise = trainer.Trainer._optimise

    def stops(self, batches):
        if next(steps) == 3:
            raise KeyboardInterrupt
        return optimise(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_optimise", stops)
        assert main(train_words(data, tmp_path / "cut", *words)) != 0
    run_command(train_words(data, tmp_path / "cut", *words, "--resume"))
    again = np.load(tmp_path / "cut" / "latents.npz")["z_mu"]
    np.testing.assert_allclose(again, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "words",
    [
        ["--pose-method", "network", "--estpose", "--pose-hypotheses", "7"],
        ["--enc-input", "raw", "--no-guards", "--lamb", "0", "--beta", "linear", "--bfactor", "4"],
    ],
    ids=["published corrector", "published input"],
)
def test_other_ways_run(data, tmp_path, words):
    run_command(train_words(data, tmp_path / "o", "--epochs", "1", "--no-refine-latents", *words))
    found = result(tmp_path / "o")
    assert np.isfinite(found["spread"]) and found["particles"] == COUNT


def test_named_sub_units_move(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cryodl.methods.opus_tomo.bodies._STEPS", 20)
    z, y, x = np.mgrid[:N, :N, :N] - N // 2
    arm, far = tmp_path / "arm.mrc", tmp_path / "far.mrc"
    inside = (x < 0) & (x**2 + y**2 + z**2 < 30)
    write_volume(arm, inside.astype(np.float32), pixel_size_angstrom=PIXEL)
    write_volume(far, (x + y + z > 18).astype(np.float32), pixel_size_angstrom=PIXEL)
    words = train_words(data, tmp_path / "o", "--epochs", "1", "--no-refine-latents")
    run_command([*words, "--bodies", str(arm)])
    lines = (tmp_path / "o" / "bodies.csv").read_text().splitlines()
    assert lines[0].startswith("name,body1_angle,body1_turn_x") and len(lines) == COUNT + 1
    found = result(tmp_path / "o")
    assert len(found["bodies_series"]) == 7 and len(found["bodies_range_degrees"]) == 1
    volume = read_volume(tmp_path / "o" / found["bodies_series"][3])
    consensus = read_volume(tmp_path / "o" / "consensus.mrc").data
    assert np.corrcoef(volume.data.ravel(), consensus.ravel())[0, 1] > 0.8
    capsys.readouterr()
    assert main([*words, "--bodies", str(far), "--overwrite"]) == 2
    assert "found no sub-unit within the solvent mask" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_on_all_particles(data, tmp_path):
    words = train_words(data, tmp_path / "o", "--epochs", "2", "--no-refine-latents")
    words[words.index("cpu")] = "cpu:2"
    run_command(words)  # fails by itself when a particle was never in a batch
    lines = (tmp_path / "o" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[-1])["step"] == 2 * 2


def test_what_cannot_be_right_is_told_in_one_line(data, trained, tmp_path, capsys):
    star = str(data / "particles.star")
    output = ["--output", str(tmp_path / "out")]
    wrong = {
        "--box-size": ["opus-tomo", "prepare", star, "--box-size", "20", *output],
        "--tilt-max": ["opus-tomo", "prepare", star, "--tilt-min", "-60", *output],
        "not an MRC": train_words(data, tmp_path / "out", "--mask", star),
        "downfrac": train_words(data, tmp_path / "out", "--downfrac", "0.3"),
        "batch-size": train_words(data, tmp_path / "out", "--batch-size", "2"),
        "clusters": ["opus-tomo", "analyze", str(trained), "--clusters", "99", *output],
        "opus-tomo analyze": ["opus-tomo", "volumes", str(trained), *output],
        "lasso": ["opus-tomo", "select", str(trained), *output],
        "finished run": ["opus-tomo", "analyze", str(tmp_path), *output],
    }
    for word, words in wrong.items():
        assert main(words) == 2, word
        line = capsys.readouterr().err
        assert word in line and line.count("\n") == 1, (word, line)
        assert not (tmp_path / "out").exists()


def test_shifts_in_the_wrong_unit_are_refused(data, tmp_path, capsys):
    particles = read_particles(data / "particles.star")
    far = particles.with_poses(particles.rotations, particles.shifts_angstrom * 20)
    write_particles(tmp_path / "far.star", far)
    words = ["opus-tomo", "prepare", str(tmp_path / "far.star"), "--output", str(tmp_path / "o")]
    assert main(words) == 2
    assert "unit of the origins" in capsys.readouterr().err

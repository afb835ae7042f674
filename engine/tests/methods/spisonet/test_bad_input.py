"""Whatever is wrong with the input: exit 2 or 3, one line that helps, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodl.cli import main

BOX = 32
PIXEL = 4.0


def save(path: Path, data: np.ndarray, pixel: float = PIXEL) -> Path:
    with warnings.catch_warnings(), mrcfile.new(path, overwrite=True) as file:
        warnings.simplefilter("ignore")  # mrcfile warns of the NaN we put there
        file.set_data(np.ascontiguousarray(data, dtype=np.float32))
        if data.ndim == 3:
            file.set_volume()
        file.voxel_size = pixel
    return path


def particle(seed: int, box: int = BOX) -> np.ndarray:
    grid = np.indices((box,) * 3) - box // 2
    density = np.exp(-((grid[0] - 2) ** 2 / 20 + grid[1] ** 2 / 40 + (grid[2] + 3) ** 2 / 12))
    noise = np.random.default_rng(seed).normal(scale=0.05, size=(box,) * 3)
    return (density + noise).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good files under good names; each case spoils one thing."""
    for half in (1, 2):
        save(tmp_path / f"half{half}.mrc", particle(half))
    ball = (np.indices((BOX,) * 3) - BOX // 2).astype(np.float32)
    save(tmp_path / "mask.mrc", (np.sqrt((ball**2).sum(0)) < 11).astype(np.float32))
    save(tmp_path / "weight.mrc", np.ones((BOX,) * 3))
    return tmp_path


FSC = ["spisonet", "fsc3d", "half1.mrc", "half2.mrc"]
CORRECT = [
    *["spisonet", "correct", "half1.mrc", "half2.mrc", "--width", "16", "--epochs", "1"],
    *["--n-subvolume", "2", "--batch-size", "1", "--cube-size", "16", "--devices", "cpu"],
]
MASKED = [*FSC, "--mask", "mask.mrc"]
WEIGHTED = [*CORRECT, "--aniso-file", "weight.mrc"]


def patch_header(name: str, offset: int, code: str, *values: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        struct.pack_into(code, content, offset, *values)
        (folder / name).write_bytes(bytes(content))

    return spoil


def replace(name: str, make: Callable[[], np.ndarray], pixel: float = PIXEL) -> Callable:
    return lambda folder: save(folder / name, make(), pixel)


def with_value(name: str, value: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = mrcfile.read(folder / name).copy()
        data[3, 4, 5] = value
        save(folder / name, data)

    return spoil


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def truncate(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def into_folder(folder: Path) -> None:
    (folder / "half1.mrc").unlink()
    (folder / "half1.mrc").mkdir()


def damaged_gzip(folder: Path) -> None:
    content = gzip.compress((folder / "half1.mrc").read_bytes())
    (folder / "half1.mrc.gz").write_bytes(content[: len(content) // 2])


def used_output(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text(json.dumps({"command": "spisonet fsc3d"}))


def foreign_output(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "holiday.jpg").write_bytes(b"x")


def file_as_output(folder: Path) -> None:
    (folder / "out").write_text("a file")


def nothing(folder: Path) -> None:
    """Leave the files as they are: the fault is in the words."""


def zeros() -> np.ndarray:
    return np.zeros((BOX,) * 3)


# name: (what spoils the files, the command, words that the one line must hold)
CASES: dict[str, tuple[Callable, list[str], tuple[str, ...]]] = {
    "half missing": (remove("half2.mrc"), FSC, ("half2.mrc",)),
    "half is a folder": (into_folder, FSC, ("half1.mrc",)),
    "half empty": (write("half1.mrc", b""), FSC, ("half1.mrc",)),
    "half is text": (write("half1.mrc", b"hello" * 400), FSC, ("half1.mrc",)),
    "half truncated": (truncate("half1.mrc", 5000), FSC, ("half1.mrc",)),
    "header truncated": (truncate("half2.mrc", 600), FSC, ("half2.mrc",)),
    "wrong magic": (patch_header("half1.mrc", 208, "4s", b"XXXX"), FSC, ("half1.mrc",)),
    "negative box": (patch_header("half1.mrc", 0, "<i", -5), FSC, ("half1.mrc",)),
    "absurd box": (patch_header("half1.mrc", 0, "<3i", 90000, 90000, 90000), FSC, ("half1.mrc",)),
    "unknown mode": (patch_header("half1.mrc", 12, "<i", 77), FSC, ("half1.mrc",)),
    "complex mode": (patch_header("half1.mrc", 12, "<i", 4), FSC, ("half1.mrc",)),
    "bad extended header": (patch_header("half1.mrc", 92, "<i", -8), FSC, ("half1.mrc",)),
    "voxel 0": (patch_header("half1.mrc", 40, "<3f", 0, 0, 0), FSC, ("half1.mrc", "pixel")),
    "voxel negative": (patch_header("half1.mrc", 40, "<3f", -9, -9, -9), FSC, ("half1.mrc",)),
    "voxel NaN": (patch_header("half1.mrc", 40, "<f", float("nan")), FSC, ("half1.mrc",)),
    "voxel anisotropic": (patch_header("half1.mrc", 40, "<f", 200.0), FSC, ("half1.mrc",)),
    "NaN": (with_value("half2.mrc", float("nan")), FSC, ("half2.mrc",)),
    "infinity": (with_value("half2.mrc", float("inf")), FSC, ("half2.mrc",)),
    "zero variance": (replace("half1.mrc", zeros), FSC, ("half1.mrc",)),
    "unequal boxes": (replace("half2.mrc", lambda: particle(2, 40)), FSC, ("half2.mrc", "40")),
    "unequal pixel size": (
        replace("half2.mrc", lambda: particle(2), 5.0),
        FSC,
        ("half2.mrc", "half1.mrc"),
    ),
    "non-cubic": (replace("half1.mrc", lambda: particle(1)[:20]), FSC, ("half1.mrc", "20")),
    "an image": (replace("half1.mrc", lambda: particle(1)[0]), FSC, ("half1.mrc",)),
    "tiny box": (
        lambda f: [save(f / f"half{h}.mrc", particle(h, 12)) for h in (1, 2)],
        FSC,
        ("half1.mrc", "12"),
    ),
    "damaged gzip": (
        damaged_gzip,
        ["spisonet", "fsc3d", "half1.mrc.gz", "half2.mrc"],
        ("half1.mrc.gz",),
    ),
    "mask missing": (remove("mask.mrc"), MASKED, ("mask.mrc",)),
    "mask of another box": (
        replace("mask.mrc", lambda: np.ones((40, 40, 40))),
        MASKED,
        ("mask.mrc", "40"),
    ),
    "mask empty": (replace("mask.mrc", zeros), MASKED, ("mask.mrc", "empty")),
    "mask out of range": (replace("mask.mrc", lambda: particle(3) * 90), MASKED, ("mask.mrc",)),
    "mask NaN": (with_value("mask.mrc", float("nan")), MASKED, ("mask.mrc",)),
    "weight of another box": (
        replace("weight.mrc", lambda: np.ones((24, 24, 24))),
        WEIGHTED,
        ("weight.mrc", "24"),
    ),
    "weight empty": (replace("weight.mrc", zeros), WEIGHTED, ("weight.mrc",)),
    "weight NaN": (with_value("weight.mrc", float("nan")), WEIGHTED, ("weight.mrc",)),
    "weight is a density": (
        replace("weight.mrc", lambda: particle(1) * 50),
        WEIGHTED,
        ("weight.mrc",),
    ),
    "reference of nothing": (nothing, [*CORRECT, "--reference", "ref.mrc"], ("ref.mrc",)),
    "limit beyond Nyquist": (nothing, [*FSC, "--limit-res", "2"], ("--limit-res", "8")),
    "limit beyond the box": (nothing, [*FSC, "--limit-res", "900"], ("--limit-res",)),
    "limit not a number": (nothing, [*FSC, "--limit-res", "fine"], ("--limit-res", "fine")),
    "cone angle 0": (nothing, [*FSC, "--cone-angle", "0"], ("--cone-angle",)),
    "pixel size negative": (nothing, [*FSC, "--pixel-size", "-1"], ("--pixel-size",)),
    "unknown choice": (nothing, [*FSC, "--mode", "magic"], ("--mode", "magic")),
    "unknown flag": (nothing, [*FSC, "--speed", "9"], ("--speed",)),
    "missing half": (nothing, ["spisonet", "fsc3d"], ("HALF1",)),
    "batch not divisible": (
        nothing,
        [*CORRECT, "--batch-size", "4", "--acc-batches", "3"],
        ("--acc-batches", "3", "4"),
    ),
    "tile too small": (
        nothing,
        [*CORRECT, "--predict-crop-size", "32", "--cube-size", "32"],
        ("--predict-crop-size",),
    ),
    "no network to predict with": (nothing, [*CORRECT, "--epochs", "0"], ("--epochs",)),
    "model missing": (nothing, [*CORRECT, "--pretrained-model", "m.safetensors"], ("m.safeten",)),
    "model garbage": (
        write("m.safetensors", b"not a model"),
        [*CORRECT, "--pretrained-model", "m.safetensors"],
        ("m.safetensors",),
    ),
    "published model format": (
        write("m.pt", b"PK\x03\x04"),
        [*CORRECT, "--pretrained-model", "m.pt"],
        ("m.pt", "safetensors"),
    ),
    "no such GPU": (nothing, [*CORRECT, "--devices", "97"], ("97",)),
    "devices nonsense": (nothing, [*CORRECT, "--devices", "warp"], ("warp",)),
    "resume and overwrite": (nothing, [*FSC, "--resume", "--overwrite"], ("--resume",)),
    "config missing": (nothing, ["spisonet", "fsc3d", "--config", "no.json"], ("no.json",)),
    "config no JSON": (
        write("c.json", b"{half1:"),
        ["spisonet", "fsc3d", "--config", "c.json"],
        ("c.json",),
    ),
    "config unknown key": (
        write("c.json", b'{"half1": "half1.mrc", "half2": "half2.mrc", "colour": 3}'),
        ["spisonet", "fsc3d", "--config", "c.json"],
        ("colour",),
    ),
    "star missing": (
        nothing,
        ["spisonet", "sampling", "p.star", "--box-size-px", "32"],
        ("p.star",),
    ),
    "star without angles": (
        write("p.star", b"data_\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n"),
        ["spisonet", "sampling", "p.star", "--box-size-px", "32"],
        ("p.star", "rlnAngle"),
    ),
    "star of several pixel sizes": (
        write(
            "p.star",
            b"data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 2.0\n2 3.0\n\n"
            b"data_particles\n\nloop_\n_rlnAngleRot\n_rlnAngleTilt\n_rlnOpticsGroup\n"
            b"10 20 1\n30 40 2\n",
        ),
        ["spisonet", "sampling", "p.star", "--box-size-px", "32"],
        ("p.star", "from 2 to 3 A", "--pixel-size"),
    ),
    "whitening band upside down": (
        nothing,
        ["spisonet", "whiten", "half1.mrc", "--low-res", "8", "--high-res", "20"],
        ("--low-res",),
    ),
    "angular band empty": (
        nothing,
        ["spisonet", "angular-whiten", "half1.mrc", "--low-res", "8.2", "--high-res", "8.1"],
        ("--low-res",),
    ),
    "combine other box": (
        replace("half2.mrc", lambda: particle(2, 40)),
        ["spisonet", "combine", "half1.mrc", "half2.mrc", "--threshold-res", "30"],
        ("half2.mrc", "40"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, folder: Path, monkeypatch, capsys) -> None:
    spoil, command, words = CASES[name]
    spoil(folder)
    monkeypatch.chdir(folder)
    before = {path.name for path in folder.iterdir()}

    status = main([*command, "--output", "out"])

    error = capsys.readouterr().err.strip()
    assert status in (2, 3), error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words), error
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(used_output, "--resume"), (foreign_output, "holiday"), (file_as_output, "file")],
)
def test_output_in_use(spoil: Callable, word: str, folder: Path, monkeypatch, capsys) -> None:
    spoil(folder)
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.rglob("*"))

    status = main([*FSC, "--output", "out"])

    error = capsys.readouterr().err
    assert status == 2
    assert word in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.parametrize("command", [FSC, CORRECT], ids=["fsc3d", "correct"])
def test_full_disk_leaves_no_half_written_result(
    command: list[str], folder: Path, monkeypatch, capsys
) -> None:
    """A file system of a few kilobytes stands for the full disk."""
    small = folder / "small"
    small.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small file system needs root")
    if os.system(f"mount -t tmpfs -o size=48k tmpfs '{small}'"):
        pytest.skip("this machine does not allow mounting")
    try:
        monkeypatch.chdir(folder)
        status = main([*command, "--output", "small/out"])
        error = capsys.readouterr().err.strip()
        assert status == 3, error
        assert len(error.splitlines()) == 1
        assert not list(small.rglob("*.mrc"))
        assert not (small / "out" / "result.json").exists()
    finally:
        os.system(f"umount '{small}'")


def test_there_are_at_least_forty_cases() -> None:
    assert len(CASES) >= 40


def test_half_maps_of_the_same_values_are_told_of(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    shutil.copy("half1.mrc", "half2.mrc")
    assert main([*FSC, "--output", "out"]) == 0
    assert "warning: Both half maps hold the same values" in capsys.readouterr().out


def test_the_pixel_size_of_relion30_is_that_of_the_sampling(folder, monkeypatch):
    monkeypatch.chdir(folder)
    Path("p.star").write_text(
        "data_\n\nloop_\n_rlnAngleRot\n_rlnAngleTilt\n_rlnMagnification\n"
        "_rlnDetectorPixelSize\n10 20 50000 10\n30 80 50000 10\n"
    )
    words = ["spisonet", "sampling", "p.star", "--box-size-px", "32", "--output", "out"]
    assert main(words) == 0
    with mrcfile.open("out/sampling.mrc") as file:
        assert float(file.voxel_size.x) == pytest.approx(2.0)

"""Real half maps: of a ribosome, and of RELION 3.1.3, which must take back what we write."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from correction_cases import QUICK, load
from relion_toy import make_toy, refine

from cryodl.cli import main
from cryodl.core.fourier.fsc import fourier_shell_correlation
from cryodl.core.io.mrc import read_volume

RIBOSOME = Path(__file__).resolve().parents[5] / "shared" / "data" / "halfmaps_70s"
PIXEL, BOX = 7.0, 24


def correct_files(half1, half2, output, *options):
    arguments = ["spisonet", "correct", half1, half2, *QUICK, *options, "--output", output]
    assert main([str(word) for word in arguments]) == 0
    return [output / f"corrected_half{half}.mrc" for half in (1, 2)]


def stats(path):
    """Return what relion_image_handler says of a map: box and pixel size."""
    done = subprocess.run(
        ["relion_image_handler", "--i", str(path), "--stats"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"= (\d+) x (\d+) x (\d+) .*?avg= (\S+) stddev= (\S+)", done.stdout)
    angpix = re.search(r"angpix = (\S+?)[ ;)\n]", done.stdout)
    assert found and angpix, done.stdout
    return [int(edge) for edge in found.groups()[:3]], float(angpix.group(1))


# --- the ribosome ------------------------------------------------------------------------------


@pytest.mark.skipif(not RIBOSOME.is_dir(), reason="the half maps of the ribosome are not here")
@pytest.mark.parametrize("mask", [True, False], ids=["mask", "no mask"])
def test_half_maps_of_a_ribosome(mask, tmp_path):
    halves = [RIBOSOME / f"half{half}.mrc" for half in (1, 2)]
    options = ["--mask", RIBOSOME / "mask.mrc"] if mask else []
    found = correct_files(*halves, tmp_path / "out", *options)
    reference = load(RIBOSOME / "reference.mrc")
    for path, given in zip(found, halves):
        volume = read_volume(path)
        assert volume.pixel_size_angstrom == pytest.approx(12.0)
        curves = [fourier_shell_correlation(load(p), reference) for p in (path, given)]
        # Fewer directions are missing than noise is in the way: the map must not be worse.
        assert curves[0][1:5].mean() > curves[1][1:5].mean() - 0.02
        assert np.corrcoef(volume.data.ravel(), load(given).ravel())[0, 1] > 0.5


# --- RELION ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Half maps of a real refinement, and the corrected ones under RELION's names."""
    toy = make_toy(tmp_path_factory.mktemp("relion"), box=BOX, pixel=PIXEL)
    done = refine(toy, "Refine3D/job001", iterations=2, timeout_seconds=200)
    assert done.status == 0, done.said
    halves = [sorted(done.folder.glob(f"*half{half}_class001_unfil.mrc"))[-1] for half in (1, 2)]
    place = toy.folder / "corrected"
    place.mkdir()
    found = correct_files(*halves, place / "out", "--mask", toy.folder / "mask.mrc")
    for half, path in enumerate(found, start=1):
        shutil.copy(path, place / f"run_half{half}_class001_unfil.mrc")
    return toy, halves, place


@pytest.mark.relion
@pytest.mark.timeout(400)
def test_relion_reads_our_maps_with_the_right_pixel_size(job):
    _, halves, place = job
    for half, given in enumerate(halves, start=1):
        found = place / f"run_half{half}_class001_unfil.mrc"
        assert stats(found) == ([BOX] * 3, pytest.approx(PIXEL, rel=1e-4)) == stats(given)
        assert read_volume(found).origin_xyz_angstrom == read_volume(given).origin_xyz_angstrom
        assert read_volume(found).nstart_xyz == read_volume(given).nstart_xyz


@pytest.mark.relion
@pytest.mark.timeout(400)
def test_relion_postprocesses_our_maps(job):
    toy, _, place = job
    (place / "post").mkdir()  # its log goes there
    done = subprocess.run(
        ["relion_postprocess", "--i", "run_half1_class001_unfil.mrc", "--o", "post"]
        + ["--mask", str(toy.folder / "mask.mrc"), "--angpix", str(PIXEL)],
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    resolution = re.search(r"FINAL RESOLUTION:\s+(\S+)", done.stdout)
    assert resolution and 2 * PIXEL <= float(resolution.group(1)) < 12 * PIXEL, done.stdout
    assert read_volume(place / "post.mrc").pixel_size_angstrom == pytest.approx(PIXEL)

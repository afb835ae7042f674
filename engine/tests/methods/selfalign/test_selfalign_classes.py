"""Several references, symmetry, boxes that were cut rotated: in alignment and averaging."""

import json

import numpy as np
import pytest
from alignment_cases import BOX, PIXEL, phantom, write_set

from cryodl.cli import main
from cryodl.core.fourier.filters import apply_transfer
from cryodl.core.fourier.wedge import missing_wedge
from cryodl.core.geometry.rotations import (
    angular_distance_degrees,
    matrix_to_euler,
    random_rotations,
    rotate_volume,
)
from cryodl.core.geometry.symmetry import symmetry_matrices
from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.star import read_star, write_star
from cryodl.core.volumes.particle_average import AverageSettings, average_particles
from cryodl.methods.selfalign.frames import order_of_classes

FAST = ["--rotations", "1152", "--coarse-shell", "6", "--tilt-min", "-60", "--tilt-max", "60"]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def two_kinds(folder):
    """Write particles of two structures into one file; return which is which."""
    write_set(folder / "a", count=10, snr=2.0, name="a")
    write_set(folder / "b", count=10, snr=2.0, seed=1, reference=phantom(11), name="b")
    blocks = [read_star(folder / name / "truth.star") for name in "ab"]
    for name, block in zip("ab", blocks):
        table = block["particles"]
        table["rlnImageName"] = [f"{name}/{path}" for path in table["rlnImageName"]]
    first = blocks[0]["particles"]
    rows = type(first)({label: [*first[label], *blocks[1]["particles"][label]] for label in first})
    blocks[0]["particles"] = rows
    write_star(folder / "both.star", blocks[0])
    return np.repeat([1, 2], 10)


def test_particles_find_the_reference_they_belong_to(tmp_path):
    kinds = two_kinds(tmp_path)
    words = ["selfalign", "refine", str(tmp_path / "both.star"), "--reference",
             str(tmp_path / "a" / "reference.mrc"), "--other-references",
             str(tmp_path / "b" / "reference.mrc"), "--iterations", "2", "--global-iterations",
             "1", "--initial-lowpass", "50", *FAST]  # fmt: skip
    out = tmp_path / "out"
    assert main([*words, "--output", str(out)]) == 0
    found = read_particles(out / "particles.star")
    assert (found.classes == kinds).mean() >= 0.9
    answer = result(out)
    assert answer["class1_particles"] + answer["class2_particles"] == 20
    for key in ("class1_average", "class2_average", "class2_half1", "class1_fsc", "class2_mask"):
        assert (out / answer[key]).is_file()
    averages = [read_volume(out / answer[f"class{i}_average"]).data.ravel() for i in (1, 2)]
    own = [phantom().ravel(), phantom(11).ravel()]
    same = np.corrcoef(np.stack([*averages, *own]))[:2, 2:]
    assert same[0, 0] > same[0, 1] + 0.2 and same[1, 1] > same[1, 0] + 0.2


@pytest.mark.slow
def test_classes_that_begin_with_one_reference_part(tmp_path):
    kinds = two_kinds(tmp_path)
    words = ["selfalign", "refine", str(tmp_path / "both.star"), "--reference",
             str(tmp_path / "a" / "reference.mrc"), "--classes", "2", "--iterations", "4",
             "--initial-lowpass", "60", *FAST]  # fmt: skip
    out = tmp_path / "out"
    assert main([*words, "--output", str(out)]) == 0
    found = read_particles(out / "particles.star")
    same = (found.classes == kinds).mean()
    assert set(found.classes) == {1, 2} and max(same, 1 - same) >= 0.7


def test_classes_of_the_halves_are_put_in_one_order():
    maps = np.stack([phantom(3), phantom(11), phantom(5)])
    noise = 0.1 * np.random.default_rng(0).standard_normal(maps.shape)
    np.testing.assert_array_equal(order_of_classes(maps, maps[[2, 0, 1]] + noise, 10.0), [2, 0, 1])


def test_references_are_asked_for_in_order(tmp_path, capsys):
    write_set(tmp_path, count=4)
    reference = str(tmp_path / "reference.mrc")
    star = str(tmp_path / "truth.star")
    words = ["selfalign", "refine", star, "--output", str(tmp_path / "out")]
    assert main([*words, "--other-references", reference]) == 2
    assert "--reference" in capsys.readouterr().err
    assert main([*words, "--reference", reference, "--classes", "3"]) == 2
    assert "at least 12" in capsys.readouterr().err


_SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "symmetry", ["D2", pytest.param("T", marks=_SLOW), pytest.param("O", marks=_SLOW), "I"]
)
def test_symmetric_particles_are_refined_modulo_their_group(tmp_path, symmetry):
    group = symmetry_matrices(symmetry)
    reference = np.mean([rotate_volume(phantom(7), one, order=3) for one in group], axis=0)
    count = 6
    rotations, _ = write_set(tmp_path, count=count, snr=10.0, reference=reference)
    out = tmp_path / "out"
    words = ["selfalign", "refine", str(tmp_path / "truth.star"), "--reference",
             str(tmp_path / "reference.mrc"), "--symmetry", symmetry, "--iterations", "1",
             "--initial-lowpass", "28", *FAST]  # fmt: skip
    assert main([*words, "--output", str(out)]) == 0
    found = read_particles(out / "particles.star")
    errors = angular_distance_degrees(found.rotations, rotations, symmetry)
    assert np.median(errors) < 8
    average = read_volume(out / "average_unfiltered.mrc").data
    inside = (slice(4, 16),) * 3
    turned = rotate_volume(average, group[-1], order=3)
    assert np.corrcoef(average[inside].ravel(), turned[inside].ravel())[0, 1] > 0.97


def test_boxes_that_were_cut_rotated_are_aligned_and_averaged_like_others(tmp_path):
    rng, density = np.random.default_rng(2), phantom()
    count, wedge = 8, missing_wedge(BOX, -60, 60)
    cut, poses = random_rotations(count, rng), random_rotations(count, rng)
    blocks = None
    write_set(tmp_path, count=count, snr=5.0)
    blocks = read_star(tmp_path / "truth.star")
    table = blocks["particles"].copy()
    inside = [a.T @ b for a, b in zip(cut, poses)]
    for i in range(count):
        # What the tomogram shows, wedge and all, looked at in the frame of the box.
        seen = apply_transfer(rotate_volume(density, poses[i], order=3), wedge)
        noise = apply_transfer(0.02 * rng.standard_normal(seen.shape), wedge)
        box = rotate_volume(seen + noise, cut[i].T, order=3)
        write_volume(tmp_path / table["rlnImageName"].iloc[i], box, pixel_size_angstrom=PIXEL)
    for labels, matrices in (("rlnAngle", inside), ("rlnTomoSubtomogram", cut)):
        angles = [matrix_to_euler(m) for m in matrices]
        for name, column in zip(("Rot", "Tilt", "Psi"), np.transpose(angles)):
            table[labels + name] = column
    for axis in "XYZ":
        table[f"rlnOrigin{axis}Angst"] = 0.0
    blocks["particles"] = table
    write_star(tmp_path / "rotated.star", blocks)
    given = read_particles(tmp_path / "rotated.star", tilt_range_degrees=(-60, 60))
    assert given.box_rotations is not None
    np.testing.assert_allclose(given.rotations, poses, atol=1e-5)
    average = average_particles(given, AverageSettings(transfer="wedge")).average
    near = (slice(4, 16),) * 3
    assert np.corrcoef(average[near].ravel(), density[near].ravel())[0, 1] > 0.95
    out = tmp_path / "out"
    words = ["selfalign", "align", str(tmp_path / "rotated.star"), "--reference",
             str(tmp_path / "reference.mrc"), *FAST]  # fmt: skip
    assert main([*words, "--output", str(out)]) == 0
    found = read_particles(out / "aligned.star")
    errors = angular_distance_degrees(found.rotations, poses)
    assert np.median(errors) < 5 and errors.max() < 15
    # Each against the next: both boxes and both wedges are turned.
    table["cdlTemplateName"] = np.roll(table["rlnImageName"].to_numpy(), 1)
    write_star(tmp_path / "pairs.star", {**blocks, "particles": table})
    words = ["selfalign", "align", "--pairs", str(tmp_path / "pairs.star"), *FAST]
    assert main([*words, "--output", str(tmp_path / "pairs")]) == 0
    found = read_particles(tmp_path / "pairs" / "aligned.star")
    true = np.array(poses) @ np.swapaxes(np.roll(poses, 1, axis=0), 1, 2)
    errors = angular_distance_degrees(found.rotations, true)
    assert np.median(errors) < 8 and np.sort(errors)[-2] < 15

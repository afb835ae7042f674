"""Where boxes are cut, and which particles go together."""

import numpy as np
import pytest
from subvolume_cases import particles, write_set

from cryodl.core.io.mrc import Volume, write_volume
from cryodl.core.io.particles.make import particles_from_coordinates
from cryodl.core.io.particles.write import write_particles
from cryodl.core.io.star import read_star, write_star
from cryodl.errors import InputError
from cryodl.methods.autoencoder3d.config import TrainConfig
from cryodl.methods.autoencoder3d.inputs import gather
from cryodl.methods.autoencoder3d.segment import _step

PLACES = np.array([[12.0, 14, 13], [25, 12, 14], [13, 26, 12], [26, 27, 15], [19, 20, 14]])


def write_tomogram(path, seed=0):
    """Write ice with a bright voxel at each place."""
    volume = np.random.default_rng(seed).normal(size=(28, 40, 38)).astype(np.float32)
    for x, y, z in PLACES.astype(int):
        volume[z, y, x] = 100.0
    write_volume(path, volume, pixel_size_angstrom=10.0)


def boxes_of(folder, inputs, coordinates):
    found = gather(
        TrainConfig(
            inputs=[folder / name for name in inputs],
            coordinates=[folder / name for name in coordinates],
            contrast="bright",
            box_size_px=16,
            output=folder / "out",
        ),
        lambda line: None,
    )
    return found, np.array(list(found.boxes()))


def test_points_of_another_sampling_and_with_origins_are_followed(tmp_path):
    write_tomogram(tmp_path / "ts.mrc")
    shifts = np.random.default_rng(1).uniform(-20, 20, PLACES.shape)
    made = particles_from_coordinates(
        PLACES * 4 + shifts / 2.5,
        pixel_size_angstrom=2.5,
        tomograms=["ts"] * len(PLACES),
        shifts_angstrom=shifts,
    )
    write_particles(tmp_path / "p.star", made)
    found, boxes = boxes_of(tmp_path, ["ts.mrc"], ["p.star"])
    np.testing.assert_allclose(found.particles.coordinates_px, PLACES, atol=1e-5)
    assert (boxes[:, 8, 8, 8] > 90).all()


def test_tomograms_whose_names_differ_behind_a_point_are_two(tmp_path):
    names = ["ts_10.00.mrc", "ts_10.05.mrc"]
    for seed, name in enumerate(names):
        write_tomogram(tmp_path / name, seed)
    tomograms = [names[0]] * 3 + [names[1]] * 2
    made = particles_from_coordinates(PLACES, pixel_size_angstrom=10.0, tomograms=tomograms)
    write_particles(tmp_path / "p.star", made)
    found, _ = boxes_of(tmp_path, names, ["p.star"])
    assert found.particles.tomograms == ["ts_10.00"] * 3 + ["ts_10.05"] * 2
    np.testing.assert_allclose(found.particles.coordinates_px, PLACES)


def test_a_tomogram_given_twice_is_refused(tmp_path):
    write_tomogram(tmp_path / "ts.mrc")
    np.savetxt(tmp_path / "p.txt", PLACES)
    with pytest.raises(InputError, match=r"INPUTS: found .*ts.mrc more than once"):
        boxes_of(tmp_path, ["ts.mrc", "ts.mrc"], ["p.txt", "p.txt"])


def test_particles_of_several_pixel_sizes_are_refused(tmp_path):
    boxes, _ = particles((3, 3))
    star = write_set(tmp_path, boxes)
    blocks = read_star(star)
    optics, rows = blocks["optics"], blocks["particles"]
    other = optics.assign(rlnOpticsGroup=2, rlnOpticsGroupName="two", rlnImagePixelSize=20.0)
    blocks["optics"] = type(optics)(optics.to_dict("records") + other.to_dict("records"))
    rows["rlnOpticsGroup"] = [1, 2] * 3
    write_star(star, blocks)
    with pytest.raises(InputError, match="pixel sizes from 10 to 20 A, expected one"):
        gather(TrainConfig(inputs=[star], output=tmp_path / "out"), lambda line: None)


@pytest.mark.parametrize("pixel", [100.0, 0.5])
def test_a_tomogram_of_quite_another_sampling_is_not_segmented(pixel):
    data = np.zeros((28, 40, 38), dtype=np.float32)
    with pytest.raises(InputError, match=f"28 voxels of {pixel:g} A along its shortest edge"):
        _step(Volume(data, pixel), 10.0)
    assert _step(Volume(data, 5.0), 10.0) == 2.0

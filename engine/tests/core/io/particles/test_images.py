from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from test_write import boxes, series, stack

from cryodl.core.io.mrc import read_volume, write_volume
from cryodl.core.io.particles.images import (
    close_images,
    read_image,
    read_subtomogram,
    read_tilt_images,
)
from cryodl.core.io.particles.make import make_particles, particles_from_tilt_stacks
from cryodl.errors import InputError


@pytest.mark.parametrize("size", [8, 9])
def test_subtomograms(size, tmp_path):
    particles = boxes(tmp_path, 3, size=size)
    for i in (2, 0, 1):
        expected = read_volume(tmp_path / f"box_{i}.mrc").data
        found = read_subtomogram(particles, i)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32
        found[:] = 0  # a copy: the file stays
    np.testing.assert_array_equal(read_subtomogram(particles, 1), expected)


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    particles = boxes(tmp_path, 1)
    before = read_subtomogram(particles, 0)
    write_volume(tmp_path / "box_0.mrc", before + 1, pixel_size_angstrom=2.0)
    np.testing.assert_allclose(read_subtomogram(particles, 0), before + 1, rtol=1e-6)
    close_images()


def test_half_floats_and_packed_files(tmp_path):
    data = np.arange(512, dtype=np.float32).reshape(8, 8, 8)
    with mrcfile.new(tmp_path / "half.mrc") as mrc:
        mrc.set_data(data.astype(np.float16))
    write_volume(tmp_path / "packed.mrc.gz", data, pixel_size_angstrom=2.0)
    particles = boxes(tmp_path, 2)
    paths = [tmp_path / "half.mrc", tmp_path / "packed.mrc.gz"]
    particles = replace(particles, image_paths=paths)
    for i in range(2):
        np.testing.assert_array_equal(read_subtomogram(particles, i), data)


def stacks(tmp_path, frames, visible, tilts):
    stack(tmp_path / "s.mrcs", frames)
    return particles_from_tilt_stacks(
        [tmp_path / "s.mrcs"],
        pixel_size_angstrom=2.0,
        box_size_px=8,
        tomograms=["t"],
        tilts={"t": series("t", tilts)},
        visible_frames=[visible],
    )


def test_tilt_images_of_warp_and_of_relion(tmp_path):
    visible = [True, False, True, True, False]
    with_all = read_tilt_images(stacks(tmp_path, 5, visible, 5), 0)
    images = mrcfile.read(tmp_path / "s.mrcs")
    np.testing.assert_array_equal(with_all, images[visible])
    with_some = read_tilt_images(stacks(tmp_path, 3, visible, 5), 0)
    np.testing.assert_array_equal(with_some, mrcfile.read(tmp_path / "s.mrcs"))
    padded = read_tilt_images(stacks(tmp_path, 4, [True, False, True, True, False, False], 4), 0)
    np.testing.assert_array_equal(padded, mrcfile.read(tmp_path / "s.mrcs")[[0, 2, 3]])
    for frames in (2, 7):
        with pytest.raises(InputError, match="visible frames"):
            read_tilt_images(stacks(tmp_path, frames, visible, 5), 0)


def test_single_images(tmp_path):
    stack(tmp_path / "s.mrcs", 3)
    particles = make_particles(
        image_paths=[tmp_path / "s.mrcs"] * 3,
        image_kind="image",
        image_indices=[2, 0, 7],
        pixel_size_angstrom=2.0,
        box_size_px=8,
    )
    np.testing.assert_array_equal(read_image(particles, 0), mrcfile.read(tmp_path / "s.mrcs")[2])
    with pytest.raises(InputError, match="expected image 8"):
        read_image(particles, 2)
    with pytest.raises(InputError, match="single images"):
        read_subtomogram(particles, 0)


def test_images_that_cannot_be_used(tmp_path):
    particles = boxes(tmp_path, 3)
    rng = np.random.default_rng(0)
    write_volume(tmp_path / "box_0.mrc", rng.normal(size=(9, 9, 9)), pixel_size_angstrom=2.0)
    (tmp_path / "box_1.mrc").unlink()
    with (tmp_path / "box_2.mrc").open("r+b") as file:
        file.seek(1024)
        file.write(np.float32(np.nan).tobytes())
    for i, complaint in enumerate(("box 9x9x9", "does not exist", "1 values are NaN")):
        with pytest.raises(InputError, match=complaint):
            read_subtomogram(particles, i)

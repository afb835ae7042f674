"""Binary IMOD models, written here byte by byte after the description of the format."""

import struct

import numpy as np
import pytest

from cryodl.core.io.particles.coordinates import read_coordinates
from cryodl.errors import InputError


def model(*objects, flags=0, extra=b""):
    """Return the bytes of a model; an object is a list of contours, a contour of points."""
    head = b"test".ljust(128, b"\0") + struct.pack(">4iI", 100, 90, 40, len(objects), flags)
    data = b"IMODV1.2" + head.ljust(232, b"\0")
    for contours in objects:
        data += b"OBJT" + b"\0" * 176
        for points in contours:
            flat = [v for point in points for v in point]
            data += b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0)
            data += struct.pack(f">{len(flat)}f", *flat)
        data += b"MESH" + struct.pack(">iiIhh", 2, 3, 0, 0, 0) + b"CONT" * 9
        data += b"IMAT" + struct.pack(">i", 12) + b"CONT" * 3
    return data + extra + b"IEOF"


TWO = ([[(10.5, 20.5, 30), (11, 21, 31)], [(1, 2, 3)]], [[(5.5, 6.5, 7)]])


def read(tmp_path, data, **options):
    (tmp_path / "picks.mod").write_bytes(data)
    return read_coordinates(tmp_path / "picks.mod", **options)


def test_points_count_from_the_middle_of_the_first_voxel(tmp_path):
    found = read(tmp_path, model(*TWO))
    wanted = [[10, 20, 30], [10.5, 20.5, 31], [0.5, 1.5, 3], [5, 6, 7]]
    np.testing.assert_array_equal(found.xyz_px, wanted)
    np.testing.assert_array_equal(found.groups, [[1, 1], [1, 1], [1, 2], [2, 1]])
    assert found.scores is None and found.tomograms == [""] * 4
    again = read(tmp_path, model(*TWO, extra=b"MINX" + struct.pack(">i", 72) + b"\1" * 72))
    np.testing.assert_array_equal(again.xyz_px, found.xyz_px)
    np.testing.assert_array_equal(read(tmp_path, model(*TWO), first_voxel=1).xyz_px, wanted)


def test_models_whose_z_counts_from_below(tmp_path):
    found = read(tmp_path, model([[(1, 1, 8)]], flags=1 << 10))
    np.testing.assert_array_equal(found.xyz_px, [[0.5, 0.5, 7.5]])


def test_flipped_tomograms(tmp_path):
    found = read(tmp_path, model([[(10.5, 20.5, 30)]]), order="xzy")
    np.testing.assert_array_equal(found.xyz_px, [[10, 30, 20]])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (model(*TWO)[:-40], "ends in the middle"),
        (b"IMODV1.1" + model(*TWO)[8:], "version 1.2"),
        (b"IMODV1.2", "version 1.2"),
        (model([[]]), "holds no points"),
        (model([[(np.nan, 1, 2)]]), "not finite"),
    ],
)
def test_damage_is_one_line(tmp_path, data, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, data)


def test_every_cut_is_found(tmp_path):
    whole = model(*TWO)
    for length in range(4, len(whole), 9):
        with pytest.raises(InputError, match=r"picks\.mod"):
            read(tmp_path, whole[:length])

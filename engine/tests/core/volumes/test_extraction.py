"""Boxes around points between the voxels, at any sampling, at the border, of huge tomograms."""

import subprocess
import sys

import numpy as np
import pytest

from cryodl.core.io.mrc import open_tomogram, write_volume
from cryodl.core.io.mrc_header import build_header
from cryodl.core.volumes.extraction import (
    INSIDE,
    OUTSIDE,
    TOUCHES_BORDER,
    border_states,
    extract_boxes,
)
from cryodl.errors import ConfigError, InputError

SHAPE = (70, 80, 90)


def blobs(shape, centres_xyz, sigma_px):
    """Return Gaussians of unequal height: band-limited, and without any symmetry."""
    z, y, x = np.indices(shape, dtype=np.float64)
    total = np.zeros(shape)
    for height, (cx, cy, cz) in enumerate(centres_xyz, start=1):
        squares = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        total += height * np.exp(-squares / (2 * sigma_px**2))
    return total.astype(np.float32)


OFFSETS_XYZ = np.array([[0.0, 0.0, 0.0], [3.2, -1.7, 0.6], [-1.1, 2.4, 2.9]])


def one_box(tomogram, point, n, **options):
    found = list(extract_boxes(tomogram, [point], n, normalise="none", **options))
    assert [box.index for box in found] == [0]
    return found[0].data


@pytest.mark.parametrize("binning", [1.0, 1.3, 2.0, 2.5])
@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("point", [(44.37, 40.61, 35.82), (45.0, 39.5, 34.0)])
def test_known_object_at_fractions_of_a_voxel(point, n, binning):
    sigma = 1.6 * binning
    tomogram = blobs(SHAPE, np.array(point) + OFFSETS_XYZ * binning, sigma) + 20
    expected = blobs((n, n, n), n // 2 + OFFSETS_XYZ, sigma / binning) + 20
    found = one_box(tomogram, point, n, binning=binning)
    assert found.dtype == np.float32
    assert abs(found - expected).max() < 1e-4 * 3  # three is the height of the highest


def test_a_whole_number_of_voxels_is_a_copy():
    tomogram = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    found = one_box(tomogram, (30, 40, 20), 9)
    np.testing.assert_array_equal(found, tomogram[16:25, 36:45, 26:35])
    even = one_box(tomogram, (30, 40, 20), 8)
    np.testing.assert_array_equal(even, tomogram[16:24, 36:44, 26:34])


def test_binning_aliases_nothing_and_keeps_what_is_coarse():
    x = np.arange(SHAPE[2])
    for period_px, kept in ((3.3, 0.0), (12.0, 1.0)):  # the Nyquist period at binning 3 is 6
        tomogram = np.broadcast_to(np.cos(2 * np.pi * (x - 45) / period_px), SHAPE)
        found = one_box(tomogram, (45, 40, 35), 12, binning=3)
        expected = kept * np.cos(2 * np.pi * (np.arange(12) - 6) * 3 / period_px)
        assert abs(found - expected).max() < 0.02


def test_white_noise_is_shifted_whole():
    """Noise has everything up to the Nyquist frequency; the tomogram is shifted as a whole."""
    noise = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    phases = np.exp(2j * np.pi * 0.5 * np.fft.fftfreq(SHAPE[2]))
    shifted = np.fft.ifft(np.fft.fft(noise, axis=2) * phases, axis=2).real
    half = one_box(noise, (44.5, 40, 35), 20)
    expected = shifted[25:45, 30:50, 34:54]
    assert np.corrcoef(half.ravel(), expected.ravel())[0, 1] > 0.99
    assert half.std() == pytest.approx(expected.std(), rel=0.02)


def test_a_large_offset_costs_no_digits():
    tomogram = blobs(SHAPE, [(44.3, 40.2, 35.1)], 2) + 30000
    expected = blobs((12,) * 3, [(6, 6, 6)], 2)
    found = one_box(tomogram, (44.3, 40.2, 35.1), 12)
    assert abs(found - 30000 - expected).max() < 0.01  # float32 at 30000 has steps of 0.002


def test_dark_matter_is_turned_bright():
    tomogram = -blobs(SHAPE, [(44.3, 40.2, 35.1)], 2)
    found = one_box(tomogram, (44.3, 40.2, 35.1), 12, contrast="dark")
    assert found[6, 6, 6] == pytest.approx(1, abs=1e-4)


def test_scales():
    noise = (np.random.default_rng(2).normal(size=SHAPE) * 3 + 50).astype(np.float32)
    noise[30:40] *= 2
    points = [(44.3, 40, 35), (44, 40, 15)]
    by_tomogram = [b.data for b in extract_boxes(noise, points, 16)]
    plain = [b.data for b in extract_boxes(noise, points, 16, normalise="none")]
    by_box = [b.data for b in extract_boxes(noise, points, 16, normalise="box")]
    scale = (by_tomogram[0] - by_tomogram[1]) / (plain[0] - plain[1])
    assert np.ptp(scale) < 1e-3 * scale.mean()  # one scale for all boxes of the tomogram
    for box in by_box:
        assert box.mean() == pytest.approx(0, abs=1e-5) and box.std() == pytest.approx(1, abs=1e-5)


def test_constant_box_is_no_division_by_zero():
    flat = next(extract_boxes(np.ones(SHAPE, np.float32), [(40, 40, 40)], 8, normalise="box"))
    assert (flat.data == 0).all()


# x, y, z; the tomogram is 90 x 80 x 70 and the box reaches from -4 to +3 voxels.
BORDER_POINTS = [
    (4, 40, 35),
    (3.9, 40, 35),
    (86, 40, 35),
    (86.1, 40, 35),
    (40, 40, 69),
    (40, 81, 9),
]
STATES = [INSIDE, TOUCHES_BORDER, INSIDE, TOUCHES_BORDER, TOUCHES_BORDER, OUTSIDE]


def test_border_states():
    assert border_states(SHAPE, BORDER_POINTS, 8).tolist() == STATES
    assert border_states(SHAPE, [(8, 40, 35), (7.9, 40, 35)], 8, binning=2).tolist() == [
        INSIDE,
        TOUCHES_BORDER,
    ]
    assert border_states(SHAPE, np.zeros((0, 3)), 8).shape == (0,)


def test_boxes_at_the_border_are_dropped_or_filled():
    noise = (np.random.default_rng(3).normal(size=SHAPE) + 7).astype(np.float32)
    dropped = list(extract_boxes(noise, BORDER_POINTS, 8, normalise="none"))
    assert [box.index for box in dropped] == [0, 2]
    for border in ("fill", "noise"):
        filled = list(extract_boxes(noise, BORDER_POINTS, 8, border=border, normalise="none"))
        assert [box.index for box in filled] == [0, 1, 2, 3, 4]
        assert [box.filled_fraction for box in filled] == [0, 0, 0, 0, 3 / 8]
        last = filled[4].data
        inside, outside = last[:5], last[5:]
        np.testing.assert_array_equal(inside, noise[65:70, 36:44, 36:44])
        assert outside.mean() == pytest.approx(inside.mean(), abs=0.2)
        assert outside.std() == pytest.approx({"fill": 0, "noise": inside.std()}[border], abs=0.15)
    again = list(extract_boxes(noise, BORDER_POINTS, 8, border="noise", normalise="none"))
    np.testing.assert_array_equal(again[4].data, last)
    other = list(extract_boxes(noise, BORDER_POINTS, 8, border="noise", normalise="none", seed=1))
    assert not np.array_equal(other[4].data, last)


def test_tomogram_thinner_than_the_box():
    thin = (np.random.default_rng(4).normal(size=(5, 60, 60)) + 7).astype(np.float32)
    assert list(extract_boxes(thin, [(30.4, 30, 2.2)], 16)) == []
    box = next(extract_boxes(thin, [(30.4, 30, 2.2)], 16, border="fill", normalise="none"))
    assert np.isfinite(box.data).all() and box.filled_fraction == 11 / 16
    assert box.data.mean() == pytest.approx(7, abs=0.2)


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", ">i2", "<u2", "<f2", "<f4", ">f4"])
def test_every_type_of_voxel_is_left_on_the_disk(tmp_path, kind):
    values = np.random.default_rng(5).integers(0, 100, size=(20, 24, 28)).astype(kind)
    modes = {"i1": 0, "u1": 0, "i2": 1, "u2": 6, "f2": 12, "f4": 2}
    header = np.frombuffer(
        build_header(values.shape, 7.5, (0, 0, 0, 0), (0, 0, 0), (0, 0, 0), ()), dtype="<i4"
    ).copy()
    header[3] = modes[kind[-2:]]
    if kind == "u1":
        header[38] = 1146047817  # IMOD of old: its bytes have no sign
    if kind[0] == ">":
        header = header.byteswap()
        header.view("u1")[[208, 209, 210, 211]] = list(b"MAP ")
        header.view("u1")[[212, 213]] = 0x11
    path = tmp_path / "t.mrc"
    path.write_bytes(header.tobytes() + values.tobytes())
    tomogram = open_tomogram(path)
    assert isinstance(tomogram.data, np.memmap) and not tomogram.data.flags.writeable
    assert tomogram.pixel_size_angstrom == 7.5
    box = one_box(tomogram.data, (14, 12, 10), 8)
    np.testing.assert_array_equal(box, values[6:14, 8:16, 10:18].astype(np.float32))


def test_other_order_of_axes(tmp_path):
    values = np.random.default_rng(6).normal(size=(20, 24, 28)).astype(np.float32)
    header = np.frombuffer(
        build_header((28, 20, 24), 7.5, (0, 0, 0, 0), (0, 0, 0), (0, 0, 0), ()), dtype="<i4"
    ).copy()
    header[7:10] = (28, 24, 20)
    header[10:13] = np.array([28, 24, 20], dtype="<f4").view("<i4")
    header[16:19] = (2, 3, 1)  # columns are y, rows z, sections x
    path = tmp_path / "t.mrc"
    path.write_bytes(header.tobytes() + values.transpose(2, 0, 1).tobytes())
    box = one_box(open_tomogram(path).data, (14, 12, 10), 8)
    np.testing.assert_array_equal(box, values[6:14, 8:16, 10:18])


@pytest.mark.parametrize(
    ("tomogram", "points", "n", "options", "error", "said"),
    [
        (np.zeros((9, 9)), [(1, 1, 1)], 4, {}, InputError, "not an image"),
        (np.zeros((9, 9, 0)), [(1, 1, 1)], 4, {}, InputError, "three axes"),
        (np.zeros((9, 9, 9), complex), [(1, 1, 1)], 4, {}, InputError, "real numbers"),
        (np.ones((9, 9, 9)), [(1, 1, 1)], 4, {}, InputError, "blank"),
        (np.ones((9, 9, 9)), [(1, 1)], 4, {}, InputError, "three columns"),
        (np.ones((9, 9, 9)), [(1, 1, 1), (1, np.nan, 1)], 4, {}, InputError, "number 2"),
        (np.ones((9, 9, 9)), [(1, 1, 1)], 0, {}, ConfigError, "0 px"),
        (np.ones((9, 9, 9)), [(1, 1, 1)], 4, {"binning": 0.5}, ConfigError, "0.5"),
        (np.ones((9, 9, 9)), [(1, 1, 1)], 4, {"binning": np.nan}, ConfigError, "nan"),
    ],
)
def test_bad_input_is_one_line(tomogram, points, n, options, error, said):
    with pytest.raises(error, match=said) as raised:
        extract_boxes(tomogram, points, n, **options)  # before the first box is asked for
    assert "\n" not in str(raised.value)


def test_open_tomogram_refuses_images(tmp_path):
    write_volume(tmp_path / "one.mrc", np.ones((1, 8, 8)), pixel_size_angstrom=1)
    with pytest.raises(InputError, match="one 2D image"):
        open_tomogram(tmp_path / "one.mrc")


HUGE = """
import resource, sys, numpy as np
limit = 1 << 31
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
from cryodl.core.io.mrc import open_tomogram
from cryodl.core.volumes.extraction import extract_boxes
from cryodl.core.volumes.tomogram_statistics import tomogram_statistics
data = open_tomogram(sys.argv[1]).data
points = np.random.default_rng(0).uniform(240, 270, (5, 3)) + [0, 770, 0]
found = tomogram_statistics(data)
boxes = [b.data for b in extract_boxes(data, points, 24, statistics=found)]
boxes += [b.data for b in extract_boxes(data, points[:1], 16, binning=3.5, statistics=found)]
try:
    held = data.astype(np.float32)
    sys.exit("the limit is none: the whole tomogram was read")
except MemoryError:
    pass
print(len(boxes), max(b.std() for b in boxes) > 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_tomogram_of_8_gigabytes_in_2_of_memory(tmp_path):
    shape = (512, 2048, 2048)
    path = tmp_path / "huge.mrc"
    header = build_header(shape, 7.5, (0, 0, 0, 0), (0, 0, 0), (0, 0, 0), ())
    random = np.random.default_rng(0)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + 4 * 512 * 2048 * 2048)
        for z in range(200, 312):
            stream.seek(len(header) + 4 * (z * 2048 + 992) * 2048)
            stream.write(random.normal(size=(64, 2048)).astype("<f4"))
    assert path.stat().st_size > 8 << 30
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert said[:2] == ["6", "True"]
    assert (
        int(said[2]) < 1 << 30
    )  # of which half is what the disk keeps in memory while there is room

import gzip
import logging
import re
import shutil
import subprocess

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryodl.core.io.mrc import Volume, check_same_grid, read_stack, read_volume, write_volume
from cryodl.errors import InputError, ResourceError, TrainingError

WRITABLE = [".mrc", ".map", ".ccp4", ".rec", ".mrc.gz", ".map.gz", ".MRC"]


def noise(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mrcfile_write(path, data, pixel_size=1.5, **fields):
    """Write by the community's library, with some header fields of our choice."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = pixel_size
        for name, value in fields.items():
            setattr(mrc.header, name, value)
    return path


@pytest.mark.parametrize("suffix", WRITABLE)
@pytest.mark.parametrize("memory_map", [False, True])
def test_what_is_written_is_read(tmp_path, suffix, memory_map):
    path, data = tmp_path / f"map{suffix}", noise()
    write_volume(path, data, pixel_size_angstrom=1.35, label="a label")
    volume = read_volume(path, memory_map=memory_map)
    np.testing.assert_array_equal(volume.data, data)
    assert volume.data.dtype == np.float32
    assert volume.pixel_size_angstrom == pytest.approx(1.35, rel=1e-7)
    assert volume.labels == ("a label",)
    assert volume.path == path
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == suffix.endswith(".gz")


@pytest.mark.parametrize("suffix", [".mrc", ".map.gz"])
def test_the_community_library_finds_the_file_valid(tmp_path, suffix):
    path, data = tmp_path / f"map{suffix}", noise((6, 5, 4)) * 3 + 100
    write_volume(path, data, pixel_size_angstrom=2.5)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        assert int(mrc.header.ispg) == 1
        np.testing.assert_array_equal(mrc.data, data)
        assert mrc.voxel_size.tolist() == pytest.approx((2.5, 2.5, 2.5))
        assert float(mrc.header.dmean) == pytest.approx(data.mean(dtype=np.float64), rel=1e-6)
        assert float(mrc.header.rms) == pytest.approx(data.std(dtype=np.float64), rel=1e-6)
        assert float(mrc.header.dmin) == data.min()
        assert float(mrc.header.dmax) == data.max()


@pytest.mark.parametrize("mode", ["int8", "int16", "float32", "uint16", "float16"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("memory_map", [False, True])
def test_real_modes_in_both_byte_orders(tmp_path, mode, byte_order, memory_map):
    data = np.random.default_rng(3).integers(0, 100, (3, 4, 5)).astype(mode)
    path = mrcfile_write(tmp_path / "m.mrc", data.astype(data.dtype.newbyteorder(byte_order)))
    volume = read_volume(path, memory_map=memory_map)
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))
    assert volume.data.dtype == np.dtype("f4")
    assert volume.data.dtype.isnative
    mapped = isinstance(volume.data, np.memmap)
    assert mapped == (memory_map and mode == "float32" and byte_order == "<")


def test_a_memory_map_can_be_changed_without_changing_the_file(tmp_path):
    write_volume(tmp_path / "m.mrc", noise(), pixel_size_angstrom=1)
    before = (tmp_path / "m.mrc").read_bytes()
    read_volume(tmp_path / "m.mrc", memory_map=True).data[:] = 0
    assert (tmp_path / "m.mrc").read_bytes() == before


def test_bytes_of_old_imod_files_are_unsigned(tmp_path):
    mrcfile_write(tmp_path / "a.rec", np.arange(24, dtype="i1").reshape(2, 3, 4))
    raw = bytearray((tmp_path / "a.rec").read_bytes())
    raw[1024:] = bytes([250] * 12 + [3] * 12)
    (tmp_path / "signed.rec").write_bytes(raw)
    raw[152:156] = (1146047817).to_bytes(4, "little")
    (tmp_path / "unsigned.rec").write_bytes(raw)
    assert read_volume(tmp_path / "signed.rec").data.min() == -6
    assert read_volume(tmp_path / "unsigned.rec").data.max() == 250


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2), (3, 1, 2)])
@pytest.mark.parametrize("memory_map", [False, True])
def test_any_order_of_axes_becomes_zyx(tmp_path, order, memory_map):
    data = noise((3, 4, 5))  # z, y, x
    # Axis of the file array (sections, rows, columns) -> axis of zyx.
    stored = data.transpose([3 - axis for axis in order[::-1]])
    path = mrcfile_write(tmp_path / "m.mrc", np.ascontiguousarray(stored))
    nstart_of_axis = {1: 10, 2: 20, 3: 30}
    with mrcfile.open(path, "r+", permissive=True) as mrc:
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = order
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = (
            nstart_of_axis[axis] for axis in order
        )
        mrc.header.mx, mrc.header.my, mrc.header.mz = 5, 4, 3
        mrc.header.cella = (10.0, 8.0, 6.0)
    volume = read_volume(path, memory_map=memory_map)
    np.testing.assert_array_equal(volume.data, data)
    assert volume.nstart_xyz == (10, 20, 30)
    assert volume.pixel_size_angstrom == 2.0


def test_extended_header_is_skipped(tmp_path):
    path, data = tmp_path / "m.mrc", noise()
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 2
        mrc.set_extended_header(np.arange(37, dtype="i1"))  # not a multiple of four either
    for memory_map in (False, True):
        np.testing.assert_array_equal(read_volume(path, memory_map=memory_map).data, data)


def test_place_and_labels_are_written_back(tmp_path):
    path = mrcfile_write(tmp_path / "in.mrc", noise(), 1.5, nxstart=-3, nystart=4, nzstart=5)
    with mrcfile.open(path, "r+") as mrc:
        mrc.header.origin = (1.5, -2.5, 3.25)
        mrc.header.nlabl = 2
        mrc.header.label[0], mrc.header.label[1] = b"first", b"second"
    source = read_volume(path)
    write_volume(tmp_path / "out.mrc", source.data * 2, like=source, label="doubled")
    result = read_volume(tmp_path / "out.mrc")
    assert result.origin_xyz_angstrom == (1.5, -2.5, 3.25)
    assert result.nstart_xyz == (-3, 4, 5)
    assert result.labels == ("first", "second", "doubled")
    assert result.pixel_size_angstrom == 1.5
    write_volume(tmp_path / "fine.mrc", source.data, like=source, pixel_size_angstrom=0.75)
    assert read_volume(tmp_path / "fine.mrc").nstart_xyz == (-6, 8, 10)
    assert read_volume(tmp_path / "fine.mrc").pixel_size_angstrom == 0.75


def test_labels_fit_their_ten_lines(tmp_path):
    like = Volume(noise(), 1.0, labels=tuple(f"label {i}" for i in range(10)))
    write_volume(tmp_path / "m.mrc", noise(), like=like, label="ängström " * 20 + "\nend")
    labels = read_volume(tmp_path / "m.mrc").labels
    assert labels[:9] == like.labels[:9]
    assert len(labels) == 10
    assert labels[9].startswith("?ngstr?m ?ngstr?m")
    assert mrcfile.validate(tmp_path / "m.mrc")


def test_equal_volumes_give_equal_files(tmp_path):
    for name in ("a.mrc.gz", "b.mrc.gz", "a.mrc", "b.mrc"):
        write_volume(tmp_path / name, noise(), pixel_size_angstrom=1)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    assert (tmp_path / "a.mrc.gz").read_bytes() == (tmp_path / "b.mrc.gz").read_bytes()


def test_other_types_and_layouts_are_written_as_float32(tmp_path):
    data = np.arange(24).reshape(2, 3, 4)
    views = [data, data.astype(">f8"), np.asfortranarray(data), data[::-1][::-1], data % 2 == 0]
    for array in views:
        write_volume(tmp_path / "m.mrc", array, pixel_size_angstrom=1)
        np.testing.assert_array_equal(read_volume(tmp_path / "m.mrc").data, array)


def test_a_volume_written_in_several_slabs_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("cryodl.core.io.mrc._SLAB_BYTES", 100)
    data = noise((9, 5, 5)) + 7
    write_volume(tmp_path / "m.mrc", data, pixel_size_angstrom=1)
    np.testing.assert_array_equal(read_volume(tmp_path / "m.mrc").data, data)
    assert mrcfile.validate(tmp_path / "m.mrc")


def test_results_that_are_not_finite_are_not_written(tmp_path):
    for bad in (np.nan, np.inf, 1e300):
        data = noise().astype(np.float64)
        data[1, 2, 3] = bad
        with pytest.raises(TrainingError, match=r"m\.mrc: not written, 1 of 210 voxels"):
            write_volume(tmp_path / "m.mrc", data, pixel_size_angstrom=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "pixel_size", "name", "message"),
    [
        (np.zeros((4, 4)), 1.0, "m.mrc", r"shape \(4, 4\)"),
        (np.zeros((4, 4, 0)), 1.0, "m.mrc", "shape"),
        (np.zeros((4, 4, 4), complex), 1.0, "m.mrc", "complex128"),
        (np.zeros((4, 4, 4)), None, "m.mrc", "pixel size to write is None"),
        (np.zeros((4, 4, 4)), 0.0, "m.mrc", "pixel size to write is 0"),
        (np.zeros((4, 4, 4)), float("nan"), "m.mrc", "pixel size to write is nan"),
        (np.zeros((4, 4, 4)), 1.0, "m.tif", r"m\.tif.*\.mrc, \.map"),
        (np.zeros((4, 4, 4)), 1.0, "m.mrcs", "choose another name"),
        (np.zeros((4, 4, 4)), 1.0, "m.gz", "choose another name"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, data, pixel_size, name, message):
    with pytest.raises(InputError, match=message):
        write_volume(tmp_path / name, data, pixel_size_angstrom=pixel_size)
    assert list(tmp_path.iterdir()) == []


def test_disk_full_while_writing_a_volume(tmp_path, monkeypatch):
    def full(stream, _header, _volume):
        stream.write(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cryodl.core.io.mrc._write_slabs", full)
    for name in ("m.mrc", "m.mrc.gz"):
        with pytest.raises(ResourceError, match="disk is full"):
            write_volume(tmp_path / name, noise(), pixel_size_angstrom=1)
    assert list(tmp_path.iterdir()) == []


def test_same_grid(tmp_path):
    first = Volume(noise((6, 5, 4)), 1.0)
    check_same_grid(first)
    check_same_grid(first, Volume(noise((6, 5, 4)), 1.0009), Volume(noise((6, 5, 4)), 0.9991))
    write_volume(tmp_path / "half2.mrc", noise((6, 5, 5)), pixel_size_angstrom=1)
    with pytest.raises(InputError, match=r"half2\.mrc: box 5x5x6 but volume has 4x5x6"):
        check_same_grid(first, first, read_volume(tmp_path / "half2.mrc"))
    with pytest.raises(InputError, match=r"pixel size 1\.0015 A but volume has 1 A"):
        check_same_grid(first, Volume(noise((6, 5, 4)), 1.0015))


def test_image_stacks_have_their_own_reader(tmp_path):
    data = noise((7, 5, 5))
    with mrcfile.new(tmp_path / "s.mrcs") as mrc:
        mrc.set_data(data)
        mrc.set_image_stack()
    np.testing.assert_array_equal(read_stack(tmp_path / "s.mrcs"), data)
    mrcfile_write(tmp_path / "half.mrcs", data.astype(np.float16))
    assert read_stack(tmp_path / "half.mrcs").dtype == np.float32
    with pytest.raises(InputError, match="does not exist"):
        read_stack(tmp_path / "none.mrcs")


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    pixel_size=st.floats(0.02, 50),
    origin=st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3),
    nstart=st.tuples(*[st.integers(-500, 500)] * 3),
    suffix=st.sampled_from([".mrc", ".map.gz"]),
)
def test_round_trip_of_any_volume(tmp_path, shape, pixel_size, origin, nstart, suffix):
    like = Volume(noise(shape), pixel_size, origin, nstart, ("x",))
    write_volume(tmp_path / f"m{suffix}", like.data, like=like)
    result = read_volume(tmp_path / f"m{suffix}")
    np.testing.assert_array_equal(result.data, like.data)
    assert result.pixel_size_angstrom == pytest.approx(pixel_size, rel=1e-6)
    assert result.origin_xyz_angstrom == pytest.approx(origin, rel=1e-6)
    assert result.nstart_xyz == nstart
    assert result.labels == ("x",)


@pytest.mark.relion
def test_relion_reads_pixel_size_and_voxels(tmp_path):
    program = shutil.which("relion_image_handler")
    if program is None:
        pytest.skip("relion_image_handler is not installed")
    data = noise((8, 8, 8))
    data[2, 3, 6] = 50.0
    like = Volume(data, 1.7, (10.0, -20.0, 30.0))
    write_volume(tmp_path / "x.mrc", data, like=like)

    def relion(*arguments):
        command = [program, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    text = relion("--i", tmp_path / "x.mrc", "--stats").stdout
    numbers = {k: float(v) for k, v in re.findall(r"(\w+) *= *([-+.\deE]+)", text)}
    assert "8 x 8 x 8 x 1" in text
    assert numbers["angpix"] == pytest.approx(1.7)
    assert numbers["maxval"] == 50.0
    assert numbers["avg"] == pytest.approx(data.mean(), abs=1e-4)
    assert numbers["stddev"] == pytest.approx(data.std(), rel=1e-3)
    # RELION 3.1 takes the origin for no shift of the voxels, and does not write it on.
    relion("--i", "x.mrc", "--o", "y.mrc", "--multiply_constant", 2)
    doubled = read_volume(tmp_path / "y.mrc")
    np.testing.assert_allclose(doubled.data, 2 * data, rtol=1e-6)
    assert doubled.origin_xyz_angstrom == (0.0, 0.0, 0.0)
    # It shifts by +1 along x: the bright voxel says that its axes are ours.
    relion("--i", "x.mrc", "--o", "y.mrc", "--shift_x", 1)
    shifted = read_volume(tmp_path / "y.mrc")
    assert np.unravel_index(shifted.data.argmax(), (8, 8, 8)) == (2, 3, 7)
    assert shifted.pixel_size_angstrom == pytest.approx(1.7, rel=1e-5)


def test_logs_name_the_file(tmp_path, caplog):
    write_volume(tmp_path / "m.mrc", noise(), pixel_size_angstrom=1)
    with (tmp_path / "m.mrc").open("ab") as stream:
        stream.write(b"garbage")
    with caplog.at_level(logging.WARNING):
        volume = read_volume(tmp_path / "m.mrc")
    np.testing.assert_array_equal(volume.data, noise())
    assert "m.mrc: bytes after the last voxel are ignored" in caplog.text
    caplog.clear()
    content = gzip.compress((tmp_path / "m.mrc").read_bytes())
    (tmp_path / "z.mrc.gz").write_bytes(content)
    np.testing.assert_array_equal(read_volume(tmp_path / "z.mrc.gz").data, noise())
    assert "z.mrc.gz: bytes after" in caplog.text

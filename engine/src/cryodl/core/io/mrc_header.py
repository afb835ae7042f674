"""The 1024 bytes in front of an MRC file: taken apart with suspicion, put together by the book.

The layout is that of MRC2014 (Cheng et al. 2015, J. Struct. Biol. 192, 146-150). Nothing in a
header is believed before it is compared with the size of the file.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryodl.errors import InputError

logger = logging.getLogger(__name__)

ByteOrder = Literal["<", ">"]

HEADER_BYTES = 1024
MAX_DIMENSION = 10_000
MAX_LABELS = 10
LABEL_BYTES = 80

_FIELDS = [
    ("n", "i4", 3),  # columns, rows, sections: the order of the file
    ("mode", "i4"),
    ("nstart", "i4", 3),  # of columns, rows, sections
    ("m", "i4", 3),  # intervals along the cell's x, y, z
    ("cell", "f4", 3),  # Angstrom, x, y, z
    ("cell_angles", "f4", 3),
    ("map_crs", "i4", 3),  # which of x, y, z (1, 2, 3) columns, rows, sections are
    ("dmin", "f4"),
    ("dmax", "f4"),
    ("dmean", "f4"),
    ("ispg", "i4"),
    ("nsymbt", "i4"),
    ("extra1", "V8"),
    ("exttyp", "S4"),
    ("nversion", "i4"),
    ("extra2", "V40"),
    ("imod_stamp", "i4"),
    ("imod_flags", "i4"),
    ("extra3", "V36"),
    ("origin", "f4", 3),  # Angstrom, x, y, z
    ("magic", "V4"),
    ("machine_stamp", "u1", 4),
    ("rms", "f4"),
    ("nlabl", "i4"),
    ("label", f"S{LABEL_BYTES}", MAX_LABELS),
]
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED_MODES = {
    3: "complex 16-bit integers",
    4: "complex 32-bit numbers (a Fourier transform)",
    16: "RGB colours",
    101: "4-bit integers",
}
_PACKERS = {
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}
_IMOD_STAMP = 1146047817
_MAGIC = b"MAP "


@dataclass(frozen=True)
class Header:
    """What a file says of itself, already made plausible.

    Parameters
    ----------
    shape_file : tuple of int
        Sections, rows, columns as they lie in the file.
    dtype : numpy.dtype
        Of one voxel in the file, byte order included.
    axes_to_zyx : tuple of int
        The transposition that turns the file's array into `[z, y, x]`.
    data_offset : int
        Bytes in front of the first voxel.
    cell_angstrom, intervals : tuple
        Cell edges and their number of intervals, along x, y, z.
    origin_xyz_angstrom, nstart_xyz : tuple
        Along x, y, z, whatever the order of the axes in the file.
    space_group : int
        ISPG: 0 images, 1 a volume, 401 to 630 a stack of volumes.
    labels : tuple of str
        At most ten.
    """

    shape_file: tuple[int, int, int]
    dtype: np.dtype
    axes_to_zyx: tuple[int, int, int]
    data_offset: int
    cell_angstrom: tuple[float, float, float]
    intervals: tuple[int, int, int]
    origin_xyz_angstrom: tuple[float, float, float]
    nstart_xyz: tuple[int, int, int]
    space_group: int
    labels: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        """Size of all voxels in the file."""
        return math.prod(self.shape_file) * self.dtype.itemsize

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of the array after the axes are put in order."""
        z, y, x = (self.shape_file[axis] for axis in self.axes_to_zyx)
        return z, y, x

    @property
    def pixel_size_xyz_angstrom(self) -> tuple[float, float, float]:
        """Cell edge over intervals; where the intervals are missing, over the voxels."""
        counts = [m if m > 0 else n for m, n in zip(self.intervals, self.shape_zyx[::-1])]
        x, y, z = (edge / count for edge, count in zip(self.cell_angstrom, counts))
        return x, y, z


def parse_header(raw: bytes, name: str) -> Header:
    """Read a header in either byte order.

    Parameters
    ----------
    raw : bytes
        The first 1024 bytes of the (decompressed) file.
    name : str
        How the file is called in messages.

    Raises
    ------
    InputError
        Too short, wrong magic word, sizes or mode or order of axes that cannot be.
    """
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"{name}: holds {len(raw)} bytes, expected an MRC file with a header of {HEADER_BYTES} "
            "bytes; the file is damaged or of another format, copy or export it again"
        )
    record, byte_order = _in_its_byte_order(raw[:HEADER_BYTES])
    _check_magic(record, name, raw[:8])
    _check_sizes(record, name)
    order = _axis_order(record, name)
    # Position of z, y, x among sections, rows, columns.
    file_axes = order[::-1]
    axes_to_zyx = (file_axes.index(3), file_axes.index(2), file_axes.index(1))
    columns, rows, sections = (int(value) for value in record["n"])
    nstart_file = [int(value) for value in record["nstart"]]
    return Header(
        shape_file=(sections, rows, columns),
        dtype=_voxel_dtype(record, byte_order),
        axes_to_zyx=axes_to_zyx,
        data_offset=HEADER_BYTES + int(record["nsymbt"]),
        cell_angstrom=_floats(record["cell"]),
        intervals=_integers(record["m"]),
        origin_xyz_angstrom=_origin(record, name),
        nstart_xyz=(
            nstart_file[order.index(1)],
            nstart_file[order.index(2)],
            nstart_file[order.index(3)],
        ),
        space_group=int(record["ispg"]),
        labels=_labels(record),
    )


def build_header(
    shape_zyx: tuple[int, int, int],
    pixel_size_angstrom: float,
    statistics: tuple[float, float, float, float],
    origin_xyz_angstrom: tuple[float, float, float],
    nstart_xyz: tuple[int, int, int],
    labels: tuple[str, ...],
) -> bytes:
    """Make the header of a little-endian float32 volume.

    Parameters
    ----------
    shape_zyx : tuple of int
        Voxels along z, y, x.
    pixel_size_angstrom : float
        The same along all axes; the cell is its product with the number of voxels.
    statistics : tuple of float
        Minimum, maximum, mean, standard deviation.
    origin_xyz_angstrom, nstart_xyz, labels
        As in `Header`; labels beyond the tenth and characters beyond ASCII are lost.
    """
    record = np.zeros((), dtype=_dtype("<"))
    size_xyz = shape_zyx[::-1]
    record["n"] = record["m"] = size_xyz
    record["mode"] = 2
    record["nstart"] = nstart_xyz
    record["cell"] = [n * pixel_size_angstrom for n in size_xyz]
    record["cell_angles"] = 90.0
    record["map_crs"] = (1, 2, 3)
    record["dmin"], record["dmax"], record["dmean"], record["rms"] = statistics
    record["ispg"] = 1
    record["nversion"] = 20140
    record["origin"] = origin_xyz_angstrom
    record["magic"] = np.void(_MAGIC)
    record["machine_stamp"] = (0x44, 0x44, 0, 0)
    kept = labels[:MAX_LABELS]
    record["nlabl"] = len(kept)
    for i, label in enumerate(kept):
        text = " ".join(label.split()).encode("ascii", "replace")
        record["label"][i] = text[:LABEL_BYTES].ljust(LABEL_BYTES)
    return record.tobytes()


def _dtype(byte_order: ByteOrder) -> np.dtype:
    return np.dtype([(f[0], *f[1:]) for f in _FIELDS]).newbyteorder(byte_order)


def _in_its_byte_order(raw: bytes) -> tuple[np.void, ByteOrder]:
    """Try the order that the machine stamp names, then the other; old files have no stamp."""
    orders: list[ByteOrder] = [">", "<"] if raw[212] == 0x11 else ["<", ">"]
    records = [np.frombuffer(raw, dtype=_dtype(order))[0] for order in orders]
    for record, order in zip(records, orders):
        sizes_plausible = all(0 < int(n) <= MAX_DIMENSION for n in record["n"])
        if sizes_plausible and int(record["mode"]) in (*_MODES, *_REFUSED_MODES):
            return record, order
    return records[0], orders[0]


def _check_magic(record: np.void, name: str, start_of_file: bytes) -> None:
    magic = record["magic"].tobytes()
    if magic[:3] == _MAGIC[:3]:
        return
    if magic == b"\0\0\0\0":
        # Files older than MRC2000, and some of today's writers, leave the word blank. The sizes,
        # the mode and the length of the file are still checked, which chance does not pass.
        logger.warning("%s: no 'MAP ' in the header, read as an old-style MRC file", name)
        return
    packed = next((by for start, by in _PACKERS.items() if start_of_file.startswith(start)), None)
    if packed:
        raise InputError(
            f"{name}: is packed with {packed[0]}, expected an MRC file, plain or packed with gzip; "
            f"unpack it with {packed[1]}"
        )
    raise InputError(
        f"{name}: bytes 209-212 are {magic!r}, expected {_MAGIC!r}; this is not an MRC/CCP4 map, "
        "convert it to MRC or give another file"
    )


def _check_sizes(record: np.void, name: str) -> None:
    sizes = " x ".join(str(int(n)) for n in record["n"])
    if any(int(n) <= 0 or int(n) > MAX_DIMENSION for n in record["n"]):
        raise InputError(
            f"{name}: the header gives {sizes} voxels, expected 1 to {MAX_DIMENSION} along each "
            "axis; the header is damaged or the file is not an MRC map, export it again"
        )
    mode = int(record["mode"])
    if mode not in _MODES:
        meaning = f" ({_REFUSED_MODES[mode]})" if mode in _REFUSED_MODES else ""
        raise InputError(
            f"{name}: data mode {mode}{meaning}, expected a real-valued map of mode "
            f"{', '.join(map(str, _MODES))}; convert it to mode 2 (32-bit real numbers)"
        )
    if int(record["nsymbt"]) < 0:
        raise InputError(
            f"{name}: extended header of {int(record['nsymbt'])} bytes, expected 0 or more; "
            "the header is damaged, export the map again"
        )


def _axis_order(record: np.void, name: str) -> list[int]:
    order = [int(value) for value in record["map_crs"]]
    if order == [0, 0, 0]:  # left blank by old writers, who meant the usual order
        return [1, 2, 3]
    if sorted(order) != [1, 2, 3]:
        raise InputError(
            f"{name}: order of axes (mapc, mapr, maps) is {order}, expected 1, 2, 3 in some order; "
            "the header is damaged, export the map again"
        )
    return order


def _voxel_dtype(record: np.void, byte_order: ByteOrder) -> np.dtype:
    kind = _MODES[int(record["mode"])]
    imod = int(record["imod_stamp"]) == _IMOD_STAMP
    if kind == "i1" and imod and not int(record["imod_flags"]) & 1:
        kind = "u1"  # IMOD before 4.2.23 wrote bytes as 0..255 and says so by this flag's absence
    return np.dtype(kind).newbyteorder(byte_order)


def _origin(record: np.void, name: str) -> tuple[float, float, float]:
    origin = _floats(record["origin"])
    if all(math.isfinite(value) for value in origin):
        return origin
    logger.warning("%s: the origin in the header is %s, taken as 0, 0, 0", name, origin)
    return (0.0, 0.0, 0.0)


def _labels(record: np.void) -> tuple[str, ...]:
    count = min(max(int(record["nlabl"]), 0), MAX_LABELS)
    texts = (bytes(label).decode("ascii", "replace") for label in record["label"][:count])
    printable = ("".join(c if c.isprintable() else " " for c in text).strip() for text in texts)
    return tuple(text for text in printable if text)


def _floats(values: NDArray) -> tuple[float, float, float]:
    # Through the shortest decimal, so that a cell of 345.6 A in 256 voxels is 1.35 A and not
    # 1.3500000238.
    x, y, z = (float(str(value)) for value in values)
    return x, y, z


def _integers(values: NDArray) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z

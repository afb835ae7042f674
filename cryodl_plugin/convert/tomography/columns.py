"""Extra columns of a STAR file <-> extra attributes of Scipion's items.

``rlnX`` is kept as the attribute ``_rlnX``, as other plugins do, and ``cdlX``, the engine's own, as
``_cryodlX``.
"""

from pyworkflow.object import Float, Integer, Scalar, String

from cryodl_plugin.convert.tomography.star_files import EMPTY

PARTICLE_ID = "cdlParticleId"
"""Column with the id of the Scipion item: rows are told apart by it and never by their order."""

_PREFIXES = {"_cryodl": "cdl", "_rln": "rln"}
BOX_ANGLES = tuple(f"rlnTomoSubtomogram{name}" for name in ("Rot", "Tilt", "Psi"))
_POSE = {f"rlnAngle{name}" for name in ("Rot", "Tilt", "Psi")} | set(BOX_ANGLES)
_PLACE = {
    label
    for axis in "XYZ"
    for label in (
        f"rlnCoordinate{axis}",
        f"rlnCenteredCoordinate{axis}Angst",
        f"rlnOrigin{axis}",
        f"rlnOrigin{axis}Angst",
    )
}
_OWN = {
    PARTICLE_ID,
    "rlnTomoName",
    "rlnMicrographName",
    "rlnImageName",
    "rlnOpticsGroup",
    "rlnClassNumber",
    "cdlScore",
    "cdlGroupId",
}
_SIZES = {
    "rlnPixelSize",
    "rlnImagePixelSize",
    "rlnImageSize",
    "rlnDetectorPixelSize",
    "rlnMagnification",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnTomoTiltSeriesPixelSize",
}
RESERVED = _POSE | _PLACE | _OWN | _SIZES
"""Columns that have a place of their own in Scipion's items."""


def labelOf(attribute):
    """Return the column of an attribute's name, or None where it is none of ours."""
    for start, label in _PREFIXES.items():
        if attribute.startswith(start) and len(attribute) > len(start):
            return label + attribute[len(start) :]
    return None


def attributeOf(label):
    """Return the attribute's name of a column, or None for columns that are not kept."""
    for start, prefix in _PREFIXES.items():
        if label.startswith(prefix) and len(label) > len(prefix):
            return start + label[len(prefix) :]
    return None


def extraValues(item):
    """Return the extra columns of an item: label -> value."""
    values = {}
    for name, attribute in item.getAttributes():
        label = labelOf(name)
        if label is not None and label not in RESERVED:
            values[label] = attribute.get() if isinstance(attribute, Scalar) else str(attribute)
    return values


def columnTypes(rows, skip=RESERVED):
    """Return which extra columns the rows hold, and the type that suits all their values."""
    labels = [label for label in (rows[0] if rows else {}) if label not in skip]
    return {
        label: _typeOf(row[label] for row in rows)
        for label in labels
        if attributeOf(label) is not None
    }


def setExtras(item, row, types):
    """Give an item the extra columns of its row; attributes it has keep their type."""
    for label, kind in types.items():
        name = attributeOf(label)
        if not item.hasAttribute(name):
            setattr(item, name, kind())
        value = row.get(label, EMPTY)
        getattr(item, name).set(None if value == EMPTY else value)


def _typeOf(values):
    kind = Integer
    for value in values:
        if value == EMPTY:
            continue
        if kind is Integer and not _reads(int, value):
            kind = Float
        if kind is Float and not _reads(float, value):
            return String
    return kind


def _reads(number, value):
    try:
        number(value)
    except ValueError:
        return False
    return True

"""Optics groups: Scipion has none, so what they hold goes with each particle and comes back."""

from cryodl_plugin.convert.tomography.star_files import EMPTY

_SIZES = {
    "rlnOpticsGroup",
    "rlnImagePixelSize",
    "rlnPixelSize",
    "rlnImageSize",
    "rlnImageDimensionality",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
    "rlnTomoTiltSeriesPixelSize",
}
"""What the sets know themselves: sampling, box, and what the coordinates count in."""

_OF_GROUPS = {
    "rlnOpticsGroupName",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnCtfDataAreCtfPremultiplied",
    "rlnTomoSubtomogramBinning",
    "rlnMtfFileName",
    "rlnBeamTiltX",
    "rlnBeamTiltY",
    "rlnOddZernike",
    "rlnEvenZernike",
    "rlnMagMat00",
    "rlnMagMat01",
    "rlnMagMat10",
    "rlnMagMat11",
}
"""What RELION expects with the groups and not with the particles."""


def joinOptics(rows, optics):
    """Give each row what its optics group says, where it does not say so itself; return them."""
    groups = {_number(group): group for group in optics}
    only = optics[0] if len(optics) == 1 else {}
    for row in rows:
        group = groups.get(_number(row), only)
        for label, value in group.items():
            if label not in _SIZES:
                row.setdefault(label, value)
    return rows


def splitOptics(rows, common):
    """Take what belongs to optics groups out of rows, number the groups, and return them.

    Parameters
    ----------
    rows : list of dict
        Changed: they get ``rlnOpticsGroup``.
    common : dict
        What holds for all groups, where the rows do not say otherwise.
    """
    groups = {}
    for row in rows:
        own = {label: row.pop(label) for label in sorted(_OF_GROUPS & set(row))}
        own = {label: value for label, value in own.items() if value not in (None, EMPTY)}
        number, _ = groups.setdefault(tuple(own.items()), (len(groups) + 1, own))
        row["rlnOpticsGroup"] = number
    found = [
        {"rlnOpticsGroup": number, "rlnOpticsGroupName": f"opticsGroup{number}", **common, **own}
        for number, own in groups.values()
    ]
    labels = dict.fromkeys(label for group in found for label in group)
    return [{label: group.get(label, EMPTY) for label in labels} for group in found]


def _number(row):
    try:
        return int(float(row.get("rlnOpticsGroup", 0)))
    except ValueError:
        return 0

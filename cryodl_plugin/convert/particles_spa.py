"""Single particles: from a Scipion set to a RELION 3.1 STAR file, and poses back.

A pose in Scipion is a matrix M that takes coordinates of the particle to those of the reference,
in px about the middle of the box. With RELION's matrix A of (rot, tilt, psi) and its origin s,
``M = [A^T | A^T s]``, which is also what scipion-em-relion stores for projection alignment.
"""

import os
from collections import namedtuple

import numpy as np

from cryodl_plugin.convert.maps import plainName

Pose = namedtuple("Pose", "angles shiftAngstrom subset logLikelihood maxProbability")
"""Angles (rot, tilt, psi) in degrees, origin (x, y[, z]) in Å, half set, and how well it fits."""

ID_COLUMN = "rlnParticleId"
_STACKS = (".mrcs", ".stk")
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGIN = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")


def poseMatrix(angles, shiftPx):
    """Return Scipion's 4x4 matrix of RELION's angles in degrees and origin (x, y[, z]) in px."""
    from pwem.convert.transformations import euler_matrix

    matrix = np.eye(4)
    rotation = euler_matrix(*(-np.radians(angles)), "szyz")[:3, :3].T
    shift = np.zeros(3)
    shift[: len(shiftPx)] = shiftPx
    matrix[:3, :3] = rotation
    matrix[:3, 3] = rotation @ shift
    return matrix


def matrixPose(matrix):
    """Return (rot, tilt, psi) in degrees and the origin (x, y, z) in px of Scipion's matrix."""
    from pwem.convert.transformations import euler_from_matrix

    matrix = np.asarray(matrix, dtype=float)
    rotation = matrix[:3, :3].T
    angles = -np.degrees(euler_from_matrix(rotation, "szyz"))
    return angles, rotation @ matrix[:3, 3]


def writeParticles(particles, path, folder, withPoses=True):
    """Write a set as a STAR file of RELION 3.1; the name appears only when the file is whole.

    Parameters
    ----------
    particles : SetOfParticles
        With a sampling rate and an acquisition.
    path : str
        STAR file to write.
    folder : str
        Where stacks that RELION cannot read by their own name are linked or converted.
    withPoses : bool
        Whether to write the angles and shifts of a set with projection alignment.
    """
    sampling = particles.getSamplingRate()
    withPoses = withPoses and particles.hasAlignmentProj()
    images = _Images(folder)
    rows = (_row(particle, images, sampling, withPoses) for particle in particles.iterItems())
    writeTables(path, _opticsOf(particles), rows)


def writeTables(path, optics, rows):
    """Write optics groups and particles; the name appears only when the file is whole.

    Parameters
    ----------
    path : str
        STAR file to write.
    optics : list of dict
        Rows of the optics groups.
    rows : iterable of dict
        Rows of the particles, all with the same columns.
    """
    from emtable import Table

    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        for name, content in (("optics", optics), ("particles", rows)):
            file.write("\n# version 30001\n")
            writer, columns = Table.Writer(file), None
            writer.writeTableName(name)
            for row in content:
                if columns is None:
                    columns = list(row)
                    writer.writeHeader([Table.Column(column) for column in columns])
                writer.writeRowValues([row[column] for column in columns])
            file.write("\n")
    os.replace(temporary, path)


def _row(particle, images, sampling, withPoses):
    micrograph = particle.getAttributeValue("_rlnMicrographName") or _micrographOf(particle)
    row = {
        "rlnImageName": images.name(*particle.getLocation()),
        "rlnMicrographName": str(micrograph).replace(" ", "_"),
        "rlnOpticsGroup": int(particle.getAttributeValue("_rlnOpticsGroup") or 1),
        ID_COLUMN: particle.getObjId(),
    }
    subset = particle.getAttributeValue("_rlnRandomSubset")
    if subset:
        row["rlnRandomSubset"] = int(subset)
    if particle.hasCTF():
        ctf = particle.getCTF()
        row["rlnDefocusU"] = float(ctf.getDefocusU())
        row["rlnDefocusV"] = float(ctf.getDefocusV())
        row["rlnDefocusAngle"] = float(ctf.getDefocusAngle())
        row["rlnPhaseShift"] = float(ctf.getPhaseShift() or 0) if ctf.hasPhaseShift() else 0.0
    if withPoses:
        row.update(poseColumns(particle, sampling, dimensions=2))
    return row


def poseColumns(particle, sampling, dimensions):
    """Return the columns of angles and shifts of a particle."""
    angles, shift = matrixPose(particle.getTransform().getMatrix())
    row = dict(zip(_ANGLES, map(float, angles)))
    row.update(zip(_ORIGIN[:dimensions], map(float, shift * sampling)))
    return row


def _micrographOf(particle):
    """Return a name for particles of one micrograph: RELION estimates noise and scale by it."""
    coordinate = particle.getCoordinate() if particle.hasCoordinate() else None
    name = coordinate.getMicName() if coordinate is not None else None
    return os.path.basename(name) if name else f"mic_{particle.getMicId() or 0}.mrc"


def _opticsOf(particles):
    """Return the rows of optics groups: those of scipion-em-relion where the set has one."""
    import io

    from emtable import Table

    acquisition = particles.getAcquisition()
    known = acquisition.opticsGroupInfo.get() if hasattr(acquisition, "opticsGroupInfo") else None
    rows = []
    if known:
        table = Table()
        table.readStar(io.StringIO(known), tableName="optics", guessType=False)
        rows = [dict(row._asdict()) for row in table]
    fixed = {
        "rlnImagePixelSize": float(particles.getSamplingRate()),
        "rlnImageSize": int(particles.getXDim()),
        "rlnImageDimensionality": 2,
    }
    given = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnVoltage": float(acquisition.getVoltage() or 300),
        "rlnSphericalAberration": float(acquisition.getSphericalAberration() or 0),
        "rlnAmplitudeContrast": float(acquisition.getAmplitudeContrast() or 0.1),
    }
    if particles.isPhaseFlipped():
        fixed["rlnCtfDataArePhaseFlipped"] = 1
    return [{**given, **row, **fixed} for row in rows or [{}]]


class _Images:
    """Names of images that RELION can read, making each stack readable once."""

    def __init__(self, folder):
        self._folder = folder
        self._known = {}

    def name(self, index, fileName):
        if fileName not in self._known:
            self._known[fileName] = self._readable(plainName(fileName))
        return f"{max(index, 1):06d}@{self._known[fileName]}"

    def _readable(self, fileName):
        base, extension = os.path.splitext(fileName)
        if extension.lower() in _STACKS and " " not in fileName:
            return fileName
        os.makedirs(self._folder, exist_ok=True)
        # The whole path goes into the name: stacks of two folders may be called the same.
        base = base.strip("/").replace("/", "_").replace(" ", "_")
        target = os.path.join(self._folder, f"{base}.mrcs")
        if extension.lower() in (".mrc", *_STACKS[:1]):
            if not os.path.lexists(target):
                os.symlink(os.path.relpath(fileName, self._folder), target)
        elif not os.path.exists(target):
            from pwem.emlib.image import ImageHandler

            ImageHandler().convertStack(fileName, target)
        return target


def readPoses(path):
    """Return the poses of a refinement's ``_data.star`` by the id of the particle: id -> Pose."""
    poses = {}
    for row in starRows(path, "particles"):
        poses[int(float(getattr(row, ID_COLUMN)))] = rowPose(row)
    return poses


def rowPose(row):
    """Return the pose in a row of a particle table."""
    return Pose(
        tuple(float(getattr(row, name)) for name in _ANGLES),
        tuple(float(getattr(row, name)) for name in _ORIGIN if row.hasColumn(name)),
        int(row.get("rlnRandomSubset", 0)),
        float(row.get("rlnLogLikeliContribution", 0)),
        float(row.get("rlnMaxValueProbDistribution", 0)),
    )


def makeAcquisition(voltage, sphericalAberration, amplitudeContrast):
    """Return a microscope: kV, mm, a fraction."""
    from pwem.objects import Acquisition

    return Acquisition(
        magnification=50000,
        voltage=voltage,
        sphericalAberration=sphericalAberration,
        amplitudeContrast=amplitudeContrast,
    )


def starRows(path, tableName):
    """Go through the rows of a table of a STAR file; all values are text."""
    from emtable import Table

    with open(path, encoding="utf-8") as file:
        # Types are never guessed: emtable would take them from the first row alone.
        yield from Table.Reader(file, tableName=tableName, guessType=False)


def setPose(particle, pose, sampling):
    """Give a particle a pose; tells whether there was one."""
    from pwem.objects import Transform
    from pyworkflow.object import Float, Integer

    if pose is None:
        particle._appendItem = False  # how Scipion leaves an item out of a copied set
        return False
    shift = np.array(pose.shiftAngstrom) / sampling
    particle.setTransform(Transform(matrix=poseMatrix(np.array(pose.angles), shift)))
    particle._rlnRandomSubset = Integer(pose.subset)
    particle._rlnLogLikeliContribution = Float(pose.logLikelihood)
    particle._rlnMaxValueProbDistribution = Float(pose.maxProbability)
    return True

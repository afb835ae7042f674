"""Small tomograms with particles whose place and pose are known, without launching anything."""

import os

import numpy as np
from pwem.objects import Transform
from pyworkflow.object import Float, Pointer, String
from scipy.ndimage import affine_transform
from tomo.objects import SetOfCoordinates3D, SetOfSubTomograms, SetOfTomograms, SubTomogram

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import CryoDLProtSimulateTomograms
from cryodl_plugin.tests.fixtures import PluginTest, SourceProtocol

TOMOGRAM_SAMPLING, IMAGE_SAMPLING = 8.0, 4.0
SIZES_XYZ = {"TS_01": (33, 21, 17), "TS_02": (24, 30, 16)}
POSITIONS = {"TS_01": [(5, 6, 7), (20.5, 10.25, 8)], "TS_02": [(11, 12, 9), (3, 27, 2), (7, 8, 5)]}
ANGLES = [(30, 50, 70), (10, 0, 20), (-120, 95, 15), (0, 180, 0), (77, 33, -140)]
SHIFTS_ANGSTROM = [(3, -4, 5), (0, 0, 0), (-6, 2, 1), (4, 4, -4), (1, 0, 0)]


def turned(reference, rotation, shift):
    """Return the particle in which a point x of the reference lies at ``A x - s``."""
    order = [2, 1, 0]  # matrices are for (x, y, z), arrays are [z, y, x]
    back = rotation.T[np.ix_(order, order)]
    middle = np.array(reference.shape) // 2
    offset = middle + back @ (np.asarray(shift)[order] - middle)
    return affine_transform(reference, back, offset, order=3).astype(np.float32)


class SimulatedTest(PluginTest):
    """A project with small simulated tomograms of GroEL-GroES; `simulated` says what else."""

    simulated = {}

    @classmethod
    def makeSource(cls, **_):
        """Launch the simulation."""
        values = {
            "structure": "groel_groes",
            "pixelSize": 16.0,
            "boxSizePx": 96,
            "thicknessPx": 40,
            "number": 5,
            "snr": 2.0,
            "iceTexture": 0.0,
            "tomogramCount": 1,
            **cls.simulated,
        }
        prot = cls.newProtocol(CryoDLProtSimulateTomograms, **values)
        cls.launchProtocol(prot)
        return prot


class TomographyTest(PluginTest):
    """A project with two tomograms, coordinates in them, and subtomograms of another sampling."""

    @classmethod
    def makeSource(cls, **_):
        """Return a protocol with tomograms, coordinates and subtomograms."""
        prot = cls.newProtocol(SourceProtocol, objLabel="tomography source")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        tomograms = cls.makeTomograms(prot)
        prot._defineOutputs(tomograms=tomograms)
        coordinates = cls.makeCoordinates(prot, "coordinates")
        prot._defineOutputs(coordinates=coordinates)
        prot._defineOutputs(subtomograms=cls.makeSubtomograms(prot))
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def makeTomograms(cls, prot, sampling=TOMOGRAM_SAMPLING, suffix="", factor=1):
        """Return a set of tomograms whose voxels are noise."""
        tomograms = SetOfTomograms.create(prot._getPath(), prefix=f"tomograms{suffix}")
        tomograms.setSamplingRate(sampling)
        acquisition = tomography.makeAcquisition(-60.0, 57.0, 3.0, 300.0, tiltAxisAngle=85.0)
        tomograms.setAcquisition(acquisition.clone())
        random = np.random.default_rng(4)
        for tsId, size in SIZES_XYZ.items():
            path = prot._getExtraPath(f"{tsId}{suffix}.mrc")
            shape = [factor * length for length in reversed(size)]
            convert.writeMap(path, random.standard_normal(shape), sampling)
            tomograms.append(tomography.makeTomogram(path, tsId, sampling, acquisition))
        return tomograms

    @classmethod
    def makeCoordinates(cls, prot, name):
        """Return coordinates with poses, scores, groups and a column of another program."""
        output = SetOfCoordinates3D.create(prot._getPath(), prefix=f"{name}")
        output.setPrecedents(Pointer(prot, extended="tomograms"))
        output.setSamplingRate(TOMOGRAM_SAMPLING)
        output.setBoxSize(8)
        known = tomography.tomogramsById(prot.tomograms)
        places = [(tsId, place) for tsId, found in POSITIONS.items() for place in found]
        for i, (tsId, place) in enumerate(places):
            pose = tomography.eulerToMatrix(*ANGLES[i]), np.zeros(3)
            item = tomography.makeCoordinate(known[tsId], place, tomography.poseToTransform(*pose))
            item.setScore(0.5 + i)
            item.setGroupId(i % 2 + 1)
            item._cryodlEnergy = Float(i / 3)
            item._rlnTomoParticleName = String(f"{tsId}/{i + 1}")
            output.append(item)
        return output

    @classmethod
    def makeSubtomograms(cls, prot):
        """Return subtomograms at half the pixel size, made by turning one reference."""
        from cryodl_plugin.tests.fixtures import blobs

        output = SetOfSubTomograms.create(prot._getPath(), prefix="subtomograms")
        output.setCoordinates3D(Pointer(prot, extended="coordinates"))
        output.setSamplingRate(IMAGE_SAMPLING)
        reference = blobs()
        for i, coordinate in enumerate(prot.coordinates.iterCoordinates()):
            rotation = tomography.eulerToMatrix(*ANGLES[i])
            shift = np.array(SHIFTS_ANGSTROM[i]) / IMAGE_SAMPLING
            path = prot._getExtraPath(f"particle {i + 1}.mrc" if i == 4 else f"particle_{i}.mrc")
            convert.writeMap(path, turned(reference, rotation, shift), IMAGE_SAMPLING)
            item = SubTomogram()
            item.setFileName(path)
            item.setSamplingRate(IMAGE_SAMPLING)
            item.setVolName(coordinate.getTomoId())
            item.setCoordinate3D(coordinate.clone())
            item.setTransform(Transform(tomography.poseToTransform(rotation, shift)))
            item.setClassId(i % 2 + 1)
            item._rlnRandomSubset = Float(i % 2 + 1)
            output.append(item)
        return output

    def temporary(self, name):
        """Return a path in the folder of the source."""
        return os.path.join(self.source._getExtraPath(), name)

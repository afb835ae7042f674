"""Tomogram to average in a real project: the protocols launched, RELION at the end."""

import os
import subprocess

import numpy as np
import pytest
from pyworkflow.object import Pointer
from tomo.objects import SetOfCoordinates3D, SetOfTomograms

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtExtractSubtomos,
    CryoDLProtSimulateSubtomograms,
)
from cryodl_plugin.tests.fixtures import PluginTest, SourceProtocol, blobs
from cryodl_plugin.tests.tomography_fixtures import ANGLES, SimulatedTest, turned
from cryodl_plugin.viewers import CryoDLViewerSimulateTomograms

BOX, SAMPLING, PICKED_SAMPLING = 32, 5.0, 10.0
SHAPE_ZYX = (63, 90, 121)
PLACES = [(20, 22, 25), (60.5, 30.25, 28.5), (98.2, 60.7, 30.1), (25.4, 65, 27)]


class TestTomogramToAverage(PluginTest):
    """An off-centre object without symmetry, from a tomogram to RELION's average."""

    @classmethod
    def makeSource(cls, **_):
        """Return a protocol with a tomogram of four objects, of odd size, and a coarser one."""
        prot = cls.newProtocol(SourceProtocol, objLabel="tomogram")
        cls.proj.saveProtocol(prot)
        prot.makePathsAndClean()
        data = np.zeros(SHAPE_ZYX, np.float32)
        for place, angles in zip(PLACES, ANGLES):
            whole = np.floor(place).astype(int)
            rotation = tomography.eulerToMatrix(*angles)
            particle = turned(blobs(BOX), rotation, -(np.array(place) - whole))
            x, y, z = whole - BOX // 2
            data[z : z + BOX, y : y + BOX, x : x + BOX] += particle
        acquisition = tomography.makeAcquisition(-60.0, 60.0, 3.0, 300.0)
        sets = {}
        for name, voxels, sampling in (
            ("fine", data, SAMPLING),
            ("coarse", data[::2, ::2, ::2], PICKED_SAMPLING),
        ):
            tomograms = SetOfTomograms.create(prot._getPath(), prefix=f"{name}")
            tomograms.setSamplingRate(sampling)
            tomograms.setAcquisition(acquisition.clone())
            path = prot._getExtraPath(f"{name} rec.mrc")
            convert.writeMap(path, voxels, sampling)
            tomograms.append(tomography.makeTomogram(path, "TS_03", sampling, acquisition))
            sets[name] = tomograms
        prot._defineOutputs(**sets)
        prot._defineOutputs(coordinates=cls.makeCoordinates(prot))
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def makeCoordinates(cls, prot):
        """Return the places in voxels of the coarse tomogram, with poses; ids have a gap."""
        output = SetOfCoordinates3D.create(prot._getPath(), prefix="coordinates")
        output.setPrecedents(Pointer(prot, extended="coarse"))
        output.setSamplingRate(PICKED_SAMPLING)
        output.setBoxSize(BOX // 2)
        (tomogram,) = tomography.tomogramsById(prot.coarse).values()
        for key, place, angles in zip((2, 3, 7, 11), PLACES, ANGLES):
            pose = tomography.poseToTransform(tomography.eulerToMatrix(*angles), np.zeros(3))
            item = tomography.makeCoordinate(tomogram, np.array(place) / 2, pose)
            item.setObjId(key)
            output.append(item)
        return output

    @pytest.mark.relion
    def testInPlace(self):
        """Picked on one sampling, cut from another, averaged by RELION: in place, not mirrored."""
        prot = self.make(
            CryoDLProtExtractSubtomos,
            {
                "inputCoordinates": (self.source, "coordinates"),
                "inputTomograms": (self.source, "fine"),
            },
            boxSizePx=24,
            normalise=2,
            numberOfThreads=1,
        )
        self.launchProtocol(prot)
        self.assertEqual([item.getObjId() for item in prot.subtomograms], [2, 3, 7, 11])
        self.assertEqual(prot.subtomograms.getSamplingRate(), SAMPLING)
        self.assertEqual(tomography.tiltRange(prot.subtomograms.getFirstItem()), (-60, 60))
        star, average = prot._getExtraPath("out.star"), prot._getExtraPath("average.mrc")
        tomography.writeSubtomograms(prot.subtomograms, star, prot._getExtraPath())
        command = ["relion_reconstruct", "--i", star, "--o", average]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found, reference = convert.readMap(average), blobs(24)
        core = convert.sphereMask(24, 9, 2) > 0.5

        def correlation(other):
            return np.corrcoef(other[core], reference[core])[0, 1]

        self.assertGreater(correlation(found), 0.95)
        for axis in range(3):
            self.assertLess(correlation(np.flip(found, axis)), 0.8)


class TestSimulated(SimulatedTest):
    """Simulated tomograms are cut at the places and in the poses that are told."""

    simulated = {"tomogramCount": 2}

    def testSets(self):
        """Two different tomograms by id, particles in both, tilts known, the clean ones beside."""
        self.assertEqual(self.source.tomograms.getTSIds(), ["sim_01", "sim_02"])
        self.assertEqual(self.source.tomograms.getDim(), (96, 96, 40))
        self.assertEqual(sorted(self.source.coordinates.getTSIds()), ["sim_01", "sim_02"])
        self.assertEqual(tomography.tiltRange(self.source.tomograms), (-60, 60))
        self.assertGreater(self.source.coordinates.getBoxSize(), 10)
        one, two = (convert.readMap(item.getFileName()) for item in self.source.tomograms)
        self.assertFalse(np.allclose(one, two))
        for item in self.source.clean:
            self.assertTrue(os.path.exists(item.getFileName()))
        for coordinate in self.source.coordinates.iterCoordinates():
            self.assertEqual(coordinate.getGroupId(), 1)
            self.assertFalse(np.allclose(coordinate.getMatrix(), np.eye(4)))

    def testParticlesAreWhereItSays(self):
        """At the coordinates there is density in the clean tomograms, twice their deviation."""
        clean = {item.getTsId(): convert.readMap(item.getFileName()) for item in self.source.clean}
        places = tomography.Places(self.source.tomograms)
        for coordinate in self.source.coordinates.iterCoordinates():
            x, y, z = np.round(places.position(coordinate)).astype(int)
            data = clean[coordinate.getTomoId()]
            near = data[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3].mean()
            self.assertGreater(abs(near), 2 * data.std())

    def testViewer(self):
        """Places and poses are drawn from what was made."""
        viewer = CryoDLViewerSimulateTomograms(project=self.proj, protocol=self.source)
        viewer.setProtocol(self.source)
        calls = viewer._getVisualizeDict()
        (places,) = calls["showPlaces"]()
        count = sum(c.getTomoId() == "sim_01" for c in self.source.coordinates)
        self.assertEqual(len(places.figure.axes[0].collections[0].get_offsets()), count)
        (poses,) = calls["showDirections"]()
        self.assertIn(str(self.source.coordinates.getSize()), poses.figure.axes[0].get_title())


class TestSimulatedSubtomograms(PluginTest):
    """Subtomograms with their truth beside them."""

    @classmethod
    def makeSource(cls, **_):
        """Simulate three boxes of two structures, without telling the poses."""
        prot = cls.newProtocol(
            CryoDLProtSimulateSubtomograms,
            structure="p97 rubisco",
            pixelSize=20.0,
            boxSizePx=20,
            number=3,
            poses=2,
        )
        cls.launchProtocol(prot)
        return prot

    def testSets(self):
        """Same images in both sets, poses and classes in the truth alone, a density a class."""
        self.assertEqual(self.source.references.getSize(), 2)
        for told, true in zip(self.source.subtomograms, self.source.truth):
            self.assertEqual(told.getFileName(), true.getFileName())
            self.assertTrue(os.path.exists(told._rlnCtfImage.get()))
            np.testing.assert_allclose(told.getTransform().getMatrix(), np.eye(4), atol=1e-6)
            self.assertFalse(np.allclose(true.getTransform().getMatrix(), np.eye(4)))
            self.assertIn(true.getClassId(), (1, 2))
            self.assertEqual(tomography.tiltRange(told), (-60, 60))
        self.assertEqual(self.source.subtomograms.getDim(), (20, 20, 20))

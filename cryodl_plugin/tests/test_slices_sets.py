"""The slice viewer and Scipion: what sets give it, and the protocol that makes new ones."""

import os
from unittest import mock

import numpy as np
from pyworkflow.object import Pointer
from tomo.objects import (
    SetOfCoordinates3D,
)

from cryodl_plugin.protocols.protocol_edit_coordinates import (
    ChangesError,
    readChanges,
)
from cryodl_plugin.tests.slices_project import PLACES, SAMPLING, TURN, SlicesTest
from cryodl_plugin.viewers.slices import sets


class TestSets(SlicesTest):
    """What the viewer is given."""

    def testPointsCountFromTheFirstVoxel(self):
        """Whatever the origin of the tomogram."""
        points = sets.pointsOf(self.source.coordinates)
        expected = [(t, p) for t, places in PLACES.items() for p in places]
        self.assertEqual(list(points.tsIds), [t for t, _ in expected])
        np.testing.assert_allclose(points.xyz, [p for _, p in expected], atol=1e-4)
        np.testing.assert_allclose(points.scores, [0.1, 0.2, 0.3, 0.4, 0.5])
        self.assertEqual(list(points.groups), [1, 1, 2, 2, 2])
        self.assertEqual((points.boxSize, points.sampling), (10, SAMPLING))

    def testOtherSampling(self):
        """Stored positions of half the sampling, relative to the middle, lie in the same places."""
        points = sets.pointsOf(self.source.coordinates)
        coordinates = SetOfCoordinates3D(filename=self.getOutputPath("fine.sqlite"))
        coordinates.setPrecedents(Pointer(self.source, extended="tomograms"))
        coordinates.setSamplingRate(SAMPLING / 2)
        coordinates.setBoxSize(20)
        for item in self.source.coordinates:
            copy = item.clone()
            copy.scale(2)
            coordinates.append(copy)
        fine = sets.pointsOf(coordinates)
        np.testing.assert_allclose(fine.xyz, 2 * points.xyz, atol=1e-4)

    def testEntries(self):
        """Tomograms, masks over their tomograms, and masks whose tomogram is gone."""
        entries = sets.entriesOf(self.source.tomograms)
        self.assertEqual([e.tsId for e in entries], ["TS_1", "TS_2"])
        self.assertEqual(entries[0].sampling, SAMPLING)
        over = sets.entriesOf(self.source.masks)
        self.assertEqual([e.fileName for e in over], [e.fileName for e in entries])
        self.assertTrue(next(iter(over[1].overlays.values())).endswith("mask_2.mrc"))
        with mock.patch("os.path.exists", return_value=False):
            alone = sets.entriesOf(self.source.masks)
        self.assertTrue(alone[0].fileName.endswith("mask_1.mrc"))
        self.assertEqual(sets.entriesOf(None), [])
        with self.assertRaises(TypeError):
            sets.entriesOf(self.source.coordinates)

    def testSubtomograms(self):
        """Their places, classes, and files for the gallery."""
        points = sets.subtomogramPoints(self.source.subtomograms)
        np.testing.assert_allclose(points.xyz, sets.pointsOf(self.source.coordinates).xyz)
        self.assertEqual(list(points.classes), [2, 1, 2, 1, 2])
        items = sets.galleryItems(self.source.subtomograms)
        self.assertEqual([item.classId for item in items], [2, 1, 2, 1, 2])
        self.assertTrue(all(os.path.exists(item.source) for item in items))


class TestProtocol(SlicesTest):
    """A new set of what was kept and what was added."""

    def testKeptHaveAllTheyHad(self):
        """Pose, score, group, identifier and extra columns; the input stays as it was."""
        output = self.run_(self.onCoordinates({"removed": [2, 5]}))
        self.assertEqual([item.getObjId() for item in output], [1, 3, 4])
        for item in output:
            before = self.source.coordinates[item.getObjId()]
            np.testing.assert_array_equal(item.getMatrix(), TURN)
            self.assertEqual(item.getScore(), before.getScore())
            self.assertEqual(item._rlnDistance.get(), before._rlnDistance.get())
        self.assertEqual(self.source.coordinates.getSize(), 5)
        self.assertEqual(output.getBoxSize(), 10)
        self.assertEqual(output.getPrecedents().getSize(), 2)

    def testThreshold(self):
        """Scores from the lowest on."""
        output = self.run_(self.onCoordinates(minimumScore=0.3))
        self.assertEqual([item.getObjId() for item in output], [3, 4, 5])

    def testAddedLieWhereTheyWereSeen(self):
        """In tomograms with and without an origin of their own; without values of others."""
        added = [
            {"tomogram": "TS_2", "xyz": [1.5, 2, 3], "group": 4},
            {"tomogram": "TS_1", "xyz": [7, 8, 9]},
        ]
        output = self.run_(self.onCoordinates({"removed": [1], "added": added}, minimumScore=0.2))
        found = self.places(output)
        np.testing.assert_allclose(found["TS_2"][-1], (1.5, 2, 3), atol=1e-4)
        np.testing.assert_allclose(found["TS_1"][-1], (7, 8, 9), atol=1e-4)
        new = output[output.getSize() + 1]
        self.assertEqual((new.getScore(), new._rlnDistance.get()), (0, None))
        np.testing.assert_array_equal(new.getMatrix(), np.eye(4))
        groups = [item.getGroupId() for item in output]
        self.assertEqual(groups, [1, 2, 2, 2, 4, 0])

    def testAddedAtAnotherSampling(self):
        """Points of a viewer at 4 Å go into a set of 8 Å."""
        changes = {"sampling": SAMPLING / 2, "added": [{"tomogram": "TS_1", "xyz": [10, 20, 8]}]}
        found = self.places(self.run_(self.onCoordinates(changes)))
        np.testing.assert_allclose(found["TS_1"][-1], (5, 10, 4), atol=1e-4)

    def testTomogramsAlone(self):
        """All by hand; the box is that of the circles."""
        added = [{"tomogram": "TS_2", "xyz": [1, 2, 3]}]
        prot = self.edit({"added": added, "sampling": SAMPLING, "box_size": 24})
        self.assertEqual(len(prot._validate()), 1)
        prot.inputTomograms.set(self.source)
        prot.inputTomograms.setExtended("tomograms")
        self.assertEqual(prot.validate(), [])
        output = self.run_(prot)
        self.assertEqual((output.getSize(), output.getBoxSize()), (1, 24))
        self.assertEqual(output.getSamplingRate(), SAMPLING)
        np.testing.assert_allclose(self.places(output)["TS_2"], [(1, 2, 3)], atol=1e-4)
        self.assertIn("added: 1", prot._summary()[-1])

    def testNothingLeft(self):
        """An empty set is an error with words."""
        with self.assertRaisesRegex(ChangesError, "lower the threshold"):
            self.run_(self.onCoordinates(minimumScore=9))

    def testUnknownTomogram(self):
        """A point in a tomogram that the set does not hold."""
        changes = {"added": [{"tomogram": "TS_9", "xyz": [1, 2, 3]}]}
        with self.assertRaisesRegex(ChangesError, "TS_9.*TS_1, TS_2"):
            self.run_(self.onCoordinates(changes))

    def testBadFiles(self):
        """Each in one line, in the form already."""
        bad = ([], 7, {"added": [{"xyz": [1, 2, 3]}]}, {"removed": ["a"]}, {"removed": 3})
        bad += ({"added": [{"tomogram": "A", "xyz": [1, 2]}]},)
        bad += ({"added": [{"tomogram": "A", "xyz": [1, 2, float("nan")]}]},)
        for changes in bad:
            errors = self.onCoordinates(changes)._validate()
            self.assertEqual(len(errors), 1, changes)
            self.assertIn("save from the viewer again", errors[0])
        with self.assertRaises(ChangesError):
            readChanges(self.getOutputPath("no such file"))
        prot = self.onCoordinates()
        self.assertEqual(len(prot._warnings()), 1)
        self.assertEqual(prot._summary(), ["Not finished yet."])

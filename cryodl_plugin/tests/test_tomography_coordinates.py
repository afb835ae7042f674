"""STAR files, and Scipion's coordinates to their rows and back."""

import os
import tempfile

import numpy as np
from pwem.objects import Transform
from pyworkflow.object import Pointer
from tomo.constants import BOTTOM_LEFT_CORNER, SCIPION
from tomo.objects import (
    SetOfCoordinates3D,
)

from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.tomography.columns import columnTypes
from cryodl_plugin.tests.fixtures import PlainTest
from cryodl_plugin.tests.tomography_fixtures import (
    ANGLES,
    POSITIONS,
    SIZES_XYZ,
    TOMOGRAM_SAMPLING,
    TomographyTest,
)
from cryodl_plugin.viewers.slices import sets

PLACES = [place for found in POSITIONS.values() for place in found]


class TestStarFiles(PlainTest):
    """Text in, text out."""

    def setUp(self):
        """Choose a file."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "test.star")

    def written(self, text):
        """Write a file."""
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        return self.path

    def testRoundTrip(self):
        """Blanks in paths, no value at all, numbers to ten digits."""
        rows = [
            {"rlnImageName": "a b/c.mrc", "x": 1 / 3, "n": 7, "none": None, "flag": True},
            {"rlnImageName": "plain.mrc", "x": -0.0, "n": 8, "none": "", "flag": False},
        ]
        tomography.writeStar(self.path, {"particles": rows, "optics": [{"one": 1}]})
        found = tomography.readStar(self.path)
        self.assertEqual(list(found), ["particles", "optics"])
        self.assertEqual(found["particles"][0]["rlnImageName"], "a b/c.mrc")
        self.assertAlmostEqual(float(found["particles"][0]["x"]), 1 / 3, places=9)
        self.assertEqual([row["none"] for row in found["particles"]], ["None", "None"])
        self.assertEqual([row["flag"] for row in found["particles"]], ["1", "0"])

    def testOtherLayouts(self):
        """A block of single values, comments, quoted values, blank lines among the rows."""
        text = "# c\ndata_general\n_one 1 # why\n_two 'x y'\n\ndata_p\nloop_\n_a #1\n_b #2\n"
        found = tomography.readStar(self.written(text + ' 1 2\n\n# no row\n 3 "4 5"\n'))
        self.assertEqual(found["general"], [{"one": "1", "two": "x y"}])
        self.assertEqual(found["p"], [{"a": "1", "b": "2"}, {"a": "3", "b": "4 5"}])

    def testBadFiles(self):
        """One line names the file and the place."""
        for text, words in (
            ("", "no data_ block"),
            ("data_p\nloop_\n_a #1\n_b #2\n1 2 3\n", "line 5: found 3 values, expected 2"),
            ("data_p\n1 2\n", "expected 0"),
            ("nothing here", "expected 0"),
        ):
            with self.assertRaisesRegex(tomography.StarError, words):
                tomography.readStar(self.written(text))
        with open(self.path, "wb") as file:
            file.write(b"data_\xff\xfe")
        with self.assertRaisesRegex(tomography.StarError, "cannot be read"):
            tomography.readStar(self.path)
        with self.assertRaisesRegex(tomography.StarError, "cannot be read"):
            tomography.readStar("no/such.star")

    def testTypes(self):
        """One type for a whole column, the narrowest that suits."""
        rows = [
            {"rlnA": "1", "rlnB": "1", "cdlC": "1.5", "rlnD": "x", "other": "1", "rlnE": "None"},
            {"rlnA": "2", "rlnB": "2.5", "cdlC": "None", "rlnD": "1", "other": "1", "rlnE": "3"},
        ]
        names = {label: kind.__name__ for label, kind in columnTypes(rows).items()}
        expected = {"rlnA": "Integer", "rlnB": "Float", "cdlC": "Float", "rlnD": "String"}
        self.assertEqual(names, {**expected, "rlnE": "Integer"})

    def testTomogramIds(self):
        """Names of other programs become ids that Scipion's tables can bear."""
        for name, expected in (
            ("Unt_083.tomostar", "Unt_083"),
            ("/data/rec/TS_01.mrc", "TS_01"),
            ("17_5 deg.rec", "TS_17_5_deg"),
            ("tomo.v2", "tomo_v2"),
            ("", "TS_"),
        ):
            self.assertEqual(tomography.tomogramId(name), expected)


class TestCoordinates(TomographyTest):
    """Positions, on tomograms of odd size."""

    def testRows(self):
        """What was set from the first voxel comes out so, with pose, score, group, columns."""
        rows = tomography.coordinateRows(self.source.coordinates)
        self.assertEqual([row["rlnTomoName"] for row in rows], ["TS_01"] * 2 + ["TS_02"] * 3)
        for i, row in enumerate(rows):
            found = [row[f"rlnCoordinate{axis}"] for axis in "XYZ"]
            np.testing.assert_allclose(found, PLACES[i], atol=1e-6)
            found = [row[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")]
            np.testing.assert_allclose(
                tomography.eulerToMatrix(*found), tomography.eulerToMatrix(*ANGLES[i]), atol=1e-9
            )
            self.assertEqual(row["cdlScore"], 0.5 + i)
            self.assertEqual(row["cdlGroupId"], i % 2 + 1)
            self.assertAlmostEqual(row["cdlEnergy"], i / 3, places=6)
            self.assertEqual(row["rlnTomoParticleName"].rpartition("/")[2], str(i + 1))

    def testStoredRelativeToTheOrigin(self):
        """Scipion's own numbers count from half the size, 16.5 for 33 voxels."""
        first = self.source.coordinates.getFirstItem()
        self.assertEqual(first.getPosition(BOTTOM_LEFT_CORNER), PLACES[0])
        stored = np.array(PLACES[0]) - np.array(SIZES_XYZ["TS_01"]) / 2
        self.assertEqual(first.getPosition(SCIPION), tuple(stored))

    def testOtherOrigin(self):
        """A tomogram with an origin of its own: the position in the array stays."""
        tomogram = self.source.tomograms.getFirstItem().clone()
        origin = Transform()
        origin.setShifts(-8, -16, 24)
        tomogram.setOrigin(origin)
        coordinate = tomography.makeCoordinate(tomogram, (5, 6, 7))
        self.assertEqual(coordinate.getPosition(SCIPION), (4, 4, 10))
        places = tomography.Places([tomogram])
        np.testing.assert_allclose(places.position(coordinate), (5, 6, 7))

    def testOtherSampling(self):
        """On tomograms of half the pixel size the positions are doubled."""
        path = self.temporary("coordinates.star")
        count = tomography.writeCoordinates(self.source.coordinates, path, TOMOGRAM_SAMPLING / 2)
        table = tomography.readParticles(path)
        self.assertEqual(count, 5)
        self.assertEqual(table.coordinateSamplingRate, TOMOGRAM_SAMPLING / 2)
        found = [[float(row[f"rlnCoordinate{a}"]) for a in "XYZ"] for row in table.rows]
        np.testing.assert_allclose(found, 2 * np.array(PLACES), atol=1e-6)
        self.assertFalse(table.hasImages())
        self.assertTrue(table.hasPlaces())

    def testCoordinatesOfOtherVoxels(self):
        """Points of half the tomograms' pixel size, both ways and in the viewer: one place."""
        half = TOMOGRAM_SAMPLING / 2
        fine = self.emptyCoordinates("fine")
        fine.setSamplingRate(half)
        for item in self.source.coordinates:
            copy = item.clone()
            copy.scale(2)  # Scipion's way: the stored numbers, relative to the origin, are doubled
            fine.append(copy)
        expected = 2 * np.array(PLACES)
        places = tomography.Places(self.source.tomograms, half)
        found = [places.position(item) for item in fine.iterItems(orderBy="id")]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(sets.pointsOf(fine).xyz, expected, atol=1e-4)
        rows = tomography.coordinateRows(fine)
        found = [[row[f"rlnCoordinate{a}"] for a in "XYZ"] for row in rows]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        path = self.temporary("fine.star")
        tomography.writeCoordinates(fine, path, TOMOGRAM_SAMPLING)
        table = tomography.readParticles(path)
        found = [[float(row[f"rlnCoordinate{a}"]) for a in "XYZ"] for row in table.rows]
        np.testing.assert_allclose(found, PLACES, atol=1e-4)
        back = self.emptyCoordinates("finer")
        back.setSamplingRate(half)
        tomography.appendCoordinates(back, table.rows, self.source.tomograms, TOMOGRAM_SAMPLING)
        for old, new in zip(fine.iterItems(orderBy="id"), back.iterItems(orderBy="id")):
            np.testing.assert_allclose(
                new.getPosition(SCIPION), old.getPosition(SCIPION), atol=1e-4
            )

    def testRoundTrip(self):
        """Set -> STAR of other sampling -> set: same places, poses, scores, columns."""
        path = self.temporary("coordinates.star")
        tomography.writeCoordinates(self.source.coordinates, path, TOMOGRAM_SAMPLING / 2)
        output = self.emptyCoordinates("back")
        table = tomography.readParticles(path)
        missing = tomography.appendCoordinates(
            output, table.rows, self.source.tomograms, table.coordinateSamplingRate
        )
        self.assertEqual(missing, [])
        before = tomography.coordinateRows(self.source.coordinates)
        after = tomography.coordinateRows(output)
        for old, new in zip(before, after):
            self.assertEqual(list(old), list(new))
            for label in ("rlnTomoName", "cdlGroupId", "rlnTomoParticleName"):
                self.assertEqual(old[label], new[label])
            for label in [f"rlnCoordinate{a}" for a in "XYZ"] + ["cdlScore", "cdlEnergy"]:
                self.assertAlmostEqual(old[label], new[label], places=5)

    def testShiftsMoveTheCoordinate(self):
        """A particle at -s of its box is picked where it is, and the pose has no shift left."""
        row = {
            "rlnTomoName": "TS_01.tomostar",
            **dict(zip((f"rlnCoordinate{a}" for a in "XYZ"), ("10", "11", "12"))),
            **dict(zip((f"rlnOrigin{a}Angst" for a in "XYZ"), ("8", "-16", "4"))),
            **dict(zip((f"rlnAngle{a}" for a in ("Rot", "Tilt", "Psi")), ("30", "50", "70"))),
        }
        for apply, place in ((True, (9, 13, 11.5)), (False, (10, 11, 12))):
            output = self.emptyCoordinates(f"moved{apply}")
            tomography.appendCoordinates(
                output, [row], self.source.tomograms, TOMOGRAM_SAMPLING, applyShifts=apply
            )
            item = output.getFirstItem()
            np.testing.assert_allclose(item.getPosition(BOTTOM_LEFT_CORNER), place)
            rotation, shift = tomography.transformToPose(item.getMatrix())
            np.testing.assert_allclose(tomography.matrixToEuler(rotation), (30, 50, 70), atol=1e-5)
            expected = (0, 0, 0) if apply else (1, -2, 0.5)
            np.testing.assert_allclose(shift, expected, atol=1e-6)

    def testUnknownTomogram(self):
        """Rows of a tomogram that is not there are named; a set that has one is refused."""
        output = self.emptyCoordinates("unknown")
        row = {"rlnTomoName": "elsewhere", **{f"rlnCoordinate{a}": "1" for a in "XYZ"}}
        found = tomography.appendCoordinates(
            output, [row, row], self.source.tomograms, TOMOGRAM_SAMPLING
        )
        self.assertEqual((found, output.getSize()), (["elsewhere"], 0))
        with self.assertRaisesRegex(tomography.StarError, "'elsewhere', expected one of TS_01"):
            tomography.Places(self.source.tomograms).offset("elsewhere")

    def testBadNumbers(self):
        """A position that is no number is named."""
        row = {"rlnTomoName": "TS_01", **{f"rlnCoordinate{a}": "1" for a in "XYZ"}}
        for change, words in (({"rlnCoordinateY": "far"}, "1 far 1"), ({}, "rlnCoordinateZ")):
            bad = {**row, **change}
            if not change:
                bad.pop("rlnCoordinateZ")
            with self.assertRaisesRegex(tomography.StarError, words):
                tomography.appendCoordinates(
                    self.emptyCoordinates("bad"), [bad], self.source.tomograms, TOMOGRAM_SAMPLING
                )

    def emptyCoordinates(self, name):
        """Return a new set on the tomograms."""
        output = SetOfCoordinates3D.create(self.source._getPath(), prefix=f"{name}")
        output.setPrecedents(Pointer(self.source, extended="tomograms"))
        output.setSamplingRate(TOMOGRAM_SAMPLING)
        output.setBoxSize(8)
        return output

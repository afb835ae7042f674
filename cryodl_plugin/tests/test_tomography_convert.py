"""Subtomograms, classes and tomograms to STAR files and back: place, pose, identity, columns."""

import os
import subprocess
from unittest import mock

import numpy as np
import pytest
from pwem.objects import Transform
from pyworkflow.object import Float, Pointer
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    SetOfClassesSubTomograms,
    SetOfSubTomograms,
    SetOfTomoMasks,
)

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.convert.tomography.tomograms import mrcFile
from cryodl_plugin.tests.fixtures import blobs
from cryodl_plugin.tests.tomography_fixtures import (
    IMAGE_SAMPLING,
    POSITIONS,
    SHIFTS_ANGSTROM,
    TOMOGRAM_SAMPLING,
    TomographyTest,
)

PLACES = [place for found in POSITIONS.values() for place in found]


class TestSubtomograms(TomographyTest):
    """Images, poses, classes; identity by id."""

    def written(self, subtomograms=None, **values):
        """Write a set, return the table read back."""
        path = self.temporary("particles.star")
        tomography.writeSubtomograms(
            subtomograms or self.source.subtomograms, path, self.temporary("converted"), **values
        )
        return tomography.readParticles(path)

    def emptySet(self, name, images=None):
        """Return a new set, by default of subtomograms."""
        kind = SetOfClassesSubTomograms if images else SetOfSubTomograms
        output = kind.create(self.source._getPath(), prefix=f"{name}")
        if images:
            output.setImages(Pointer(self.source, extended=images))
        else:
            output.copyInfo(self.source.subtomograms)
        return output

    def testTable(self):
        """Two samplings: positions count in the tomograms, origins are in Å."""
        table = self.written()
        self.assertEqual(table.samplingRate, IMAGE_SAMPLING)
        self.assertEqual(table.coordinateSamplingRate, TOMOGRAM_SAMPLING)
        self.assertTrue(table.hasImages() and table.hasPlaces())
        for i, row in enumerate(table.rows):
            place = [float(row[f"rlnCoordinate{a}"]) for a in "XYZ"]
            np.testing.assert_allclose(place, PLACES[i], atol=1e-6)
            origin = [float(row[f"rlnOrigin{a}Angst"]) for a in "XYZ"]
            np.testing.assert_allclose(origin, SHIFTS_ANGSTROM[i], atol=1e-6)
            self.assertEqual(row["rlnClassNumber"], str(i % 2 + 1))
            self.assertEqual(float(row["rlnRandomSubset"]), i % 2 + 1)
            self.assertTrue(os.path.exists(row["rlnImageName"]))
        self.assertIn(" ", table.rows[4]["rlnImageName"])

    def testAbsoluteNames(self):
        """For programs that work elsewhere the whole path is written."""
        for absolute in (False, True):
            for row in self.written(absolute=absolute).rows:
                self.assertEqual(os.path.isabs(row["rlnImageName"]), absolute)
                self.assertTrue(os.path.exists(row["rlnImageName"]))

    def testResultByIdAndNotByRow(self):
        """A subset with gaps, a result in another order and with rows missing: all find theirs."""
        subset = self.emptySet("gaps")
        for item in self.source.subtomograms.iterItems():
            if item.getObjId() in (2, 4, 5):
                subset.append(item)
        subset.write()
        table = self.written(subset)
        self.assertEqual([row["cdlParticleId"] for row in table.rows], ["2", "4", "5"])
        for row in table.rows:
            key = int(row["cdlParticleId"])
            row.update(rlnAngleRot=str(key), rlnAngleTilt="90", rlnAnglePsi="0")
            row.update(rlnClassNumber=str(key + 10), cdlScore2=str(key / 8))
        table.rows.reverse()
        del table.rows[1]
        output = self.emptySet("result")
        left = tomography.updateSubtomograms(subset, output, table)
        output.write()
        self.assertEqual((left, output.getSize()), (1, 2))
        for item in output.iterItems():
            key = item.getObjId()
            rotation, _ = tomography.transformToPose(item.getTransform().getMatrix())
            self.assertAlmostEqual(tomography.matrixToEuler(rotation)[0], key, places=5)
            self.assertEqual(item.getClassId(), key + 10)
            self.assertEqual(item._cryodlScore2.get(), key / 8)
            self.assertEqual(item.getFileName(), self.source.subtomograms[key].getFileName())
            self.assertEqual(item.getCoordinate3D().getTomoId(), "TS_01" if key == 2 else "TS_02")
        self.assertTrue(output.hasCoordinates3D())

    def testBadIds(self):
        """A result without ids, or with one twice, is refused rather than put in order."""
        table = self.written()
        table.rows[1]["cdlParticleId"] = "1"
        with self.assertRaisesRegex(tomography.StarError, "1 twice"):
            table.byId()
        del table.rows[0]["cdlParticleId"]
        with self.assertRaisesRegex(tomography.StarError, "expected the id of a particle"):
            table.byId()

    def testImport(self):
        """Rows become new items with place, pose, tilts, class and columns."""
        table = self.written()
        output = self.emptySet("imported")
        missing = tomography.appendSubtomograms(
            output, table, self.source.tomograms, TOMOGRAM_SAMPLING
        )
        output.write()
        self.assertEqual((missing, output.getSize()), ([], 5))
        rows = tomography.subtomogramRows(self.source.subtomograms, "x")
        for old, new in zip(rows, tomography.subtomogramRows(output, "x")):
            self.assertEqual(list(old), list(new))
            for label, value in old.items():
                if isinstance(value, float):
                    if not label.startswith("rlnAngle"):
                        self.assertAlmostEqual(value, new[label], places=5)
                else:
                    self.assertEqual(value, new[label])
        self.assertEqual(tomography.tiltRange(output.getFirstItem()), (-60, 57))
        self.assertTrue(output.hasAlignment3D())
        first = self.source.tomograms.getFirstItem()
        self.assertEqual(len(list(output.iterSubtomos(first))), 2)

    def testImportWithoutTomograms(self):
        """Particles of nowhere keep their names and have no coordinate."""
        table = self.written()
        output = SetOfSubTomograms.create(self.source._getPath(), prefix="nowhere")
        output.setSamplingRate(table.samplingRate)
        tomography.appendSubtomograms(output, table)
        item = output.getFirstItem()
        self.assertFalse(item.hasCoordinate3D())
        self.assertEqual(item.getVolName(), "TS_01")
        rows = tomography.subtomogramRows(output, "x")
        self.assertNotIn("rlnCoordinateX", rows[0])

    def testPoseOfTwoParts(self):
        """What the RELION plugin keeps beside the matrix is part of the pose."""
        table = self.written()
        output = self.emptySet("two_parts")
        item = self.source.subtomograms.getFirstItem().clone()
        box = tomography.eulerToMatrix(10, 20, 30)
        origin = np.array([3, -4, 5]) / IMAGE_SAMPLING
        item.setTransform(Transform(tomography.poseToTransform(box, box @ origin)))
        item._rlnAngleRot, item._rlnAngleTilt, item._rlnAnglePsi = Float(30), Float(50), Float(70)
        output.append(item)
        row = tomography.subtomogramRows(output, "x")[0]
        found = [row[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")]
        np.testing.assert_allclose(found, (53.9578, 56.0460, 95.4344), atol=5e-5)
        found = [row[f"rlnOrigin{a}Angst"] for a in "XYZ"]
        np.testing.assert_allclose(found, (-1.872034, -4.069348, 5.471371), atol=2e-6)
        after = self.emptySet("one_part")
        tomography.updateSubtomograms(output, after, table)
        self.assertFalse(hasattr(after.getFirstItem(), "_rlnAngleRot"))

    def testClasses(self):
        """Classes by id, representatives with file and sampling, nothing for class 0."""
        average = self.source.subtomograms.getFirstItem().getFileName()
        output = self.emptySet("classes", images="subtomograms")
        tomography.fillClasses(output, {1: 2, 2: 1, 4: 2, 5: 0}, {1: average, 2: average})
        output.write()
        self.assertEqual(tomography.classAssignment(output), {1: 2, 2: 1, 4: 2})
        for group in output.iterItems():
            self.assertEqual(group.getRepresentative().getFileName(), average)
            self.assertEqual(group.getRepresentative().getSamplingRate(), IMAGE_SAMPLING)
        numbers = [row["rlnClassNumber"] for row in self.written(classOf={1: 3, 4: 2}).rows]
        self.assertEqual(numbers, ["3", "0", "0", "2", "0"])

    def testDisabledItemsStayOut(self):
        """What was deselected in a viewer is not written."""
        output = self.emptySet("disabled")
        for item in self.source.subtomograms.iterItems():
            item.setEnabled(item.getObjId() != 3)
            output.append(item)
        output.write()
        keys = [row["cdlParticleId"] for row in self.written(output).rows]
        self.assertEqual(keys, ["1", "2", "4", "5"])

    def testPixelSizesThatDiffer(self):
        """A file with two pixel sizes cannot be one set."""
        path = self.temporary("two.star")
        optics = [{"rlnOpticsGroup": i, "rlnImagePixelSize": float(i)} for i in (1, 2)]
        tomography.writeStar(path, {"optics": optics, "particles": optics})
        with self.assertRaisesRegex(tomography.StarError, "found 1, 2 Å in one file"):
            tomography.readParticles(path)
        tomography.writeStar(path, {"optics": optics, "particles": [{"rlnOpticsGroup": 2}]})
        self.assertEqual(tomography.readParticles(path).samplingRate, 2)
        tomography.writeStar(path, {"optics": optics})
        with self.assertRaisesRegex(tomography.StarError, "no data_particles"):
            tomography.readParticles(path)
        tomography.writeStar(path, {"particles": [{"rlnOpticsGroup": 1}]})
        with self.assertRaisesRegex(tomography.StarError, "no pixel size"):
            tomography.readParticles(path)


class TestOptics(TomographyTest):
    """What optics groups hold goes with the particles, and is in groups again when written."""

    def testGroupsComeBack(self):
        """Two groups, premultiplied stacks: import and export keep what they say."""
        path = self.temporary("groups.star")
        images = [item.getFileName() for item in self.source.subtomograms]
        common = {"rlnImagePixelSize": 4.0, "rlnImageSize": 32, "rlnCtfDataAreCtfPremultiplied": 1}
        optics = [
            {"rlnOpticsGroup": 2, "rlnOpticsGroupName": "b", "rlnVoltage": 200.0, **common},
            {"rlnOpticsGroup": 7, "rlnOpticsGroupName": "a", "rlnVoltage": 300.0, **common},
        ]
        rows = [
            {
                "rlnMicrographName": "TS_01",
                "rlnImageName": name,
                "rlnOpticsGroup": (7, 2)[i % 2],
                "rlnTomoVisibleFrames": "[1,0,1]",
            }
            for i, name in enumerate(images)
        ]
        tomography.writeStar(path, {"optics": optics, "particles": rows})
        output = SetOfSubTomograms.create(self.source._getPath(), prefix="groups")
        output.setSamplingRate(IMAGE_SAMPLING)
        tomography.appendSubtomograms(output, tomography.readParticles(path, withOptics=True))
        output.write()
        self.assertEqual(output.getFirstItem().getVolName(), "TS_01")
        tomography.writeSubtomograms(output, path, "x")
        blocks = tomography.readStar(path)
        self.assertEqual(blocks["general"], [{"rlnTomoSubTomosAre2DStacks": "1"}])
        found = {row["rlnOpticsGroup"]: row for row in blocks["optics"]}
        self.assertEqual(len(found), 2)
        for i, row in enumerate(blocks["particles"]):
            group = found[row["rlnOpticsGroup"]]
            self.assertEqual(group["rlnOpticsGroupName"], "ab"[i % 2])
            self.assertEqual(group["rlnVoltage"], ("300", "200")[i % 2])
            self.assertEqual(group["rlnCtfDataAreCtfPremultiplied"], "1")
            self.assertEqual(group["rlnImageDimensionality"], "2")
            self.assertEqual(row["rlnTomoVisibleFrames"], "[1,0,1]")
            self.assertNotIn("rlnVoltage", row)


class TestImages(TomographyTest):
    """Files of others, and files the engine has cut out."""

    def testLinks(self):
        """Two files of one name in two folders become two links; their rows name them."""
        outside = self.temporary("outside")
        rows = []
        for name in ("a/1.mrc", "b/1.mrc"):
            os.makedirs(os.path.dirname(os.path.join(outside, name)), exist_ok=True)
            convert.writeMap(os.path.join(outside, name), np.ones((4, 4, 4)), 2)
            rows.append({"rlnImageName": f"outside/{name}"})
        rows.append({"rlnImageName": "000002@outside/b/1.mrc"})
        table = tomography.ParticleTable(self.temporary("x.star"), rows, 2, 2)
        folder = self.temporary("links")
        for copy in (False, True):
            given = tomography.ParticleTable(table.path, [dict(row) for row in rows], 2, 2)
            self.assertEqual(tomography.linkImages(given, folder, copy), 2)
            names = [row["rlnImageName"] for row in given.rows]
            self.assertEqual(names[2], f"000002@{names[1]}")
            for name in names[:2]:
                self.assertEqual(os.path.islink(name), not copy)
                self.assertFalse(os.path.isabs(name))
                np.testing.assert_array_equal(convert.readMap(name), np.ones((4, 4, 4)))
        rows[0]["rlnImageName"] = "gone.mrc"
        with self.assertRaisesRegex(tomography.StarError, "gone.mrc does not exist"):
            tomography.linkImages(table, folder)

    def testExtracted(self):
        """Boxes find their coordinates by id, also when one was dropped and the order is other."""
        path = self.temporary("cut.star")
        tomography.writeCoordinates(self.source.coordinates, path)
        table = tomography.readParticles(path)
        for row, item in zip(table.rows, self.source.subtomograms):
            row["rlnImageName"] = item.getFileName()
        table.rows.reverse()
        del table.rows[2]
        output = SetOfSubTomograms.create(self.source._getPath(), prefix="cut")
        output.setSamplingRate(TOMOGRAM_SAMPLING)
        output.setCoordinates3D(Pointer(self.source, extended="coordinates"))
        left = tomography.appendExtracted(output, self.source.coordinates, table)
        output.write()
        self.assertEqual((left, output.getSize()), (1, 4))
        images = {item.getObjId(): item.getFileName() for item in self.source.subtomograms}
        for item in output.iterSubtomos():
            key = item.getObjId()
            self.assertNotEqual(key, 3)
            self.assertEqual(item.getFileName(), images[key])
            place = item.getCoordinate3D().getPosition(BOTTOM_LEFT_CORNER)
            np.testing.assert_allclose(place, PLACES[key - 1])
            self.assertEqual(tomography.tiltRange(item), (-60, 57))
            self.assertEqual(item.getVolName(), item.getCoordinate3D().getTomoId())


class TestTomograms(TomographyTest):
    """Files, tilts and masks."""

    def testLinks(self):
        """Files under their ids, relative to the project; only those asked for; again and again."""
        folder = self.temporary("links of tomograms")
        for only, expected in (({"TS_02"}, ["TS_02"]), (None, ["TS_01", "TS_02"])):
            links = tomography.linkTomograms(self.source.tomograms, folder, only)
            self.assertEqual(links, [tomography.tomogramLink(one, folder) for one in expected])
        for link, tomogram in zip(links, self.source.tomograms):
            self.assertFalse(os.path.isabs(link))
            self.assertTrue(os.path.samefile(link, tomogram.getFileName()))

    def testFormats(self):
        """MRC files by other suffixes are left alone; other formats would be converted."""
        for name in ("a.mrc", "b.mrcs", "c.rec", "d.ST", "e.map"):
            self.assertEqual(mrcFile(name, "x"), name)
        with mock.patch("cryodl_plugin.convert.tomography.tomograms.engineMap") as converted:
            self.assertIs(mrcFile("a.em", "x"), converted.return_value)

    def testTilts(self):
        """The range in order; unknown is None and never a guess."""
        first = self.source.tomograms.getFirstItem()
        self.assertEqual(tomography.tiltRange(first), (-60, 57))
        first.setAcquisition(tomography.makeAcquisition(50, -40))
        self.assertEqual(tomography.tiltRange(first), (-40, 50))
        for acquisition in (None, tomography.makeAcquisition(), tomography.makeAcquisition(0, 0)):
            first.setAcquisition(acquisition)
            self.assertIsNone(tomography.tiltRange(first))

    def testMasks(self):
        """A mask leads back to its tomogram."""
        masks = SetOfTomoMasks.create(self.source._getPath(), prefix="masks")
        masks.setSamplingRate(TOMOGRAM_SAMPLING)
        for tomogram in self.source.tomograms:
            path = self.temporary(f"{tomogram.getTsId()}_mask.mrc")
            shape = tuple(reversed(tomogram.getDim()))
            convert.writeMap(path, np.ones(shape), TOMOGRAM_SAMPLING)
            masks.append(tomography.makeTomoMask(path, tomogram))
        masks.write()
        for mask, tomogram in zip(masks, self.source.tomograms):
            self.assertEqual(mask.getTsId(), tomogram.getTsId())
            self.assertEqual(mask.getVolName(), tomogram.getFileName())
            self.assertEqual(mask.getDim(), tomogram.getDim())


@pytest.mark.relion
class TestRelionReconstructs(TomographyTest):
    """RELION averages what we write."""

    def testAverageInPlace(self):
        """An off-centre object without symmetry comes back where it was, and not mirrored."""
        path, average = self.temporary("relion.star"), self.temporary("average.mrc")
        tomography.writeSubtomograms(self.source.subtomograms, path, "x")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        # RELION 3.1 ends a name at a blank, so the particle with one gets another name.
        named, plain = self.temporary("particle 5.mrc"), self.temporary("p5.mrc")
        os.symlink(os.path.basename(named), plain)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(f'"{named}"', plain))
        command = ["relion_reconstruct", "--i", path, "--o", average, "--pad", "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found, reference = convert.readMap(average), blobs()
        core = convert.sphereMask(len(reference), 10, 2) > 0.5

        def correlation(other):
            return np.corrcoef(other[core], reference[core])[0, 1]

        self.assertGreater(correlation(found), 0.95)
        for axis in range(3):
            self.assertLess(correlation(np.flip(found, axis)), 0.8)
        self.assertLess(correlation(np.roll(found, 2, axis=0)), 0.9)

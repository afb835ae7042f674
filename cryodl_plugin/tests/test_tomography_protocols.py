"""Protocols on tomograms and particles, without launching: parameters, checks, outputs."""

import json
import os
from unittest import mock

import numpy as np
from pyworkflow.object import String

from cryodl_plugin import convert
from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import CryoDLProtExtractSubtomos, CryoDLProtSimulateSubtomograms
from cryodl_plugin.tests.tomography_fixtures import (
    ANGLES,
    POSITIONS,
    TOMOGRAM_SAMPLING,
    TomographyTest,
)
from cryodl_plugin.viewers import particle_figures
from cryodl_plugin.wizards import CryoDLBoxSizeWizard, CryoDLTomogramWizard


class TomographyProtocolTest(TomographyTest):
    """What the tests below share."""

    def errors(self, prot):
        """Return the messages as one text."""
        return "\n".join(prot.validate())

    def finished(self, prot, star, **values):
        """Make the outputs of a protocol whose engine has left a STAR file."""
        self.store(prot)
        os.makedirs(prot.engineFolder(), exist_ok=True)
        result = {"seconds": 3, "star": "particles.star", "files": ["particles.star"], **values}
        os.symlink(os.path.abspath(star), prot.enginePath("particles.star"))
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
        prot.createOutputStep("x")
        self.proj._storeProtocol(prot)
        return prot


class TestExtract(TomographyProtocolTest):
    """Coordinates, two samplings, ids."""

    pointers = {"inputCoordinates": "coordinates"}

    def extraction(self, other=None, **values):
        """Return a protocol on the coordinates, and on other tomograms if given."""
        pointers = {"inputCoordinates": (self.source, "coordinates")}
        if other:
            pointers["inputTomograms"] = (self.source, other)
        return self.make(CryoDLProtExtractSubtomos, pointers, **{"boxSizePx": 8, **values})

    def testParameters(self):
        """The engine gets tomograms by id, Scipion's pixel size, and the tilts of the set."""
        prot = self.store(self.extraction())
        prot.convertInputStep("x")
        values = prot.engineParameters()
        names = [os.path.basename(path) for path in values["tomograms"]]
        self.assertEqual(names, ["TS_01.mrc", "TS_02.mrc"])
        self.assertTrue(all(map(os.path.exists, values["tomograms"] + values["coordinates"])))
        self.assertEqual(values["tomogram_pixel_size"], TOMOGRAM_SAMPLING)
        self.assertEqual((values["tilt_min"], values["tilt_max"]), (-60, 57))
        self.assertEqual(values["box_size_px"], 8)
        self.assertEqual(prot.validate(), [])

    def testOtherTomograms(self):
        """From tomograms of half the pixel size: positions are doubled."""
        fine = self.makeTomograms(self.source, TOMOGRAM_SAMPLING / 2, "_fine", 2)
        self.source._defineOutputs(fine=fine)
        prot = self.store(self.extraction("fine"))
        prot.convertInputStep("x")
        table = tomography.readParticles(prot.engineParameters()["coordinates"][0])
        self.assertEqual(table.coordinateSamplingRate, TOMOGRAM_SAMPLING / 2)
        first = [float(table.rows[0][f"rlnCoordinate{axis}"]) for axis in "XYZ"]
        np.testing.assert_allclose(first, 2 * np.array(POSITIONS["TS_01"][0]))
        self.assertEqual(prot.outputSampling(), TOMOGRAM_SAMPLING / 2)

    def testOnlySomeTomograms(self):
        """Chosen tomograms and no others; a name that is not there is refused."""
        prot = self.store(self.extraction(onlyTomograms="TS_02"))
        prot.convertInputStep("x")
        values = prot.engineParameters()
        self.assertEqual(len(values["tomograms"]), 1)
        self.assertEqual(len(tomography.readParticles(values["coordinates"][0]).rows), 3)
        before = prot._fingerprint()
        prot.onlyTomograms.set("TS_09, TS_02")
        self.assertIn("found TS_09, expected some of TS_01, TS_02", self.errors(prot))
        self.assertNotEqual(before, prot._fingerprint())

    def testRefused(self):
        """No box, a box beyond the tomogram, half a tilt range."""
        for values, words in (
            ({"boxSizePx": None}, "Box size"),
            ({"boxSizePx": 64}, "expected at most 33"),
            ({"binning": 6.0}, "48 voxels"),
            ({"tiltMin": -60.0}, "one end of it"),
            ({"tiltMin": 60.0, "tiltMax": -60.0}, "lowest first"),
        ):
            self.assertIn(words, self.errors(self.extraction(**values)), values)
        empty = self.make(CryoDLProtExtractSubtomos, {"inputCoordinates": None}, boxSizePx=8)
        self.assertIn("Coordinates", self.errors(empty))

    def testOutputs(self):
        """Boxes in another order and with one missing get the ids of their coordinates."""
        prot = self.extraction()
        self.store(prot)
        os.makedirs(prot.engineFolder())
        star = self.temporary("engine.star")
        tomography.writeCoordinates(self.source.coordinates, star)
        rows = tomography.readStar(star)["particles"]
        optics = {"rlnOpticsGroup": 1, "rlnImagePixelSize": 16.0}
        optics["rlnMicrographOriginalPixelSize"] = TOMOGRAM_SAMPLING
        for row in rows:
            row["rlnImageName"] = f"boxes/{row['cdlParticleId']}.mrc"
        del rows[1]
        tomography.writeStar(star, {"optics": [optics], "particles": rows[::-1]})
        os.makedirs(prot.enginePath("boxes"))
        for key in (1, 3, 4, 5):
            convert.writeMap(prot.enginePath(f"boxes/{key}.mrc"), np.ones((8, 8, 8)), 16)
        os.rename(star, prot.enginePath("particles.star"))
        result = {"star": "particles.star", "files": ["particles.star"], "read": 5, "kept": 4}
        result.update(dropped={"the box is blank": 1}, filled=2)
        with open(prot.enginePath("result.json"), "w", encoding="utf-8") as file:
            json.dump(result, file)
        prot.createOutputStep("x")
        self.assertEqual([item.getObjId() for item in prot.subtomograms], [1, 3, 4, 5])
        for item in prot.subtomograms:
            self.assertEqual(item.getFileName(), prot.enginePath(f"boxes/{item.getObjId()}.mrc"))
        self.assertEqual(prot.subtomograms.getSamplingRate(), 16)
        self.assertEqual(tomography.tiltRange(prot.subtomograms), (-60, 57))
        summary = "\n".join(prot._summary())
        for words in (
            "*4* of 5 boxes",
            "1 left out: the box is blank",
            "2 reach beyond",
            "coordinates *8.00 Å/px*",
            "subtomograms *16.00 Å/px*",
        ):
            self.assertIn(words, summary)
        self.assertIn("4 subtomograms of 8 voxels", prot._methods()[0])


class TestWindows(TomographyProtocolTest):
    """Wizards and figures, without a screen."""

    def choose(self, wizard, prot, texts, *params):
        """Fire a wizard whose list is answered with texts; return what the form got."""
        form = mock.Mock(protocol=prot)
        with mock.patch("pyworkflow.gui.dialog.ListDialog") as window:
            window.return_value.resultYes.return_value = bool(texts)
            window.return_value.values = [String(text) for text in texts]
            wizard().show(form, *params)
        return form.setVar.call_args_list

    def testTomograms(self):
        """Ids with blanks between; Cancel changes nothing; no input is said."""
        prot = self.make(CryoDLProtExtractSubtomos, {"inputCoordinates": None})
        with mock.patch("pyworkflow.gui.dialog.showWarning") as warned:
            self.assertEqual(self.choose(CryoDLTomogramWizard, prot, ["TS_01"]), [])
            self.assertEqual(self.choose(CryoDLBoxSizeWizard, prot, ["8 px"]), [])
        self.assertEqual(warned.call_count, 2)
        prot.inputCoordinates.set(self.source)
        prot.inputCoordinates.setExtended("coordinates")
        chosen = self.choose(CryoDLTomogramWizard, prot, ["TS_01", "TS_02"], "onlyTomograms")
        self.assertEqual(chosen, [mock.call("onlyTomograms", "TS_01 TS_02")])
        self.assertEqual(self.choose(CryoDLTomogramWizard, prot, []), [])

    def testBoxSize(self):
        """Boxes in voxels of the output, even, from the size that was picked."""
        found = CryoDLBoxSizeWizard.suggestions(64.0, 8.0)
        self.assertEqual(list(found), [8, 10, 12, 16, 24])
        pointers = {"inputCoordinates": (self.source, "coordinates")}
        prot = self.make(CryoDLProtExtractSubtomos, pointers)
        chosen = self.choose(CryoDLBoxSizeWizard, prot, [found[12]])
        self.assertEqual(chosen, [mock.call("boxSizePx", 12)])

    def testFigures(self):
        """A gallery of what there is, poses as they are, and words where there is nothing."""
        items = [(item.getObjId(), item.getFileName()) for item in self.source.subtomograms]
        figure = particle_figures.galleryFigure(items, "Subtomograms")
        shown = [axes.get_title() for axes in figure.axes if axes.images]
        self.assertEqual(shown, ["1", "2", "3", "4", "5"])
        transforms = [item.getMatrix() for item in self.source.coordinates]
        points = particle_figures.viewingFigure(transforms, "t").axes[0].collections[0]
        np.testing.assert_allclose(points.get_offsets()[0], ANGLES[0][:2], atol=1e-5)
        for empty in (
            particle_figures.galleryFigure([], "t"),
            particle_figures.viewingFigure([], "t"),
        ):
            self.assertIn("no ", empty.texts[0].get_text())


class TestSimulation(TomographyProtocolTest):
    """Forms of the simulations."""

    def testParameters(self):
        """Lists, choices and conditions of the form reach the engine."""
        prot = self.make(
            CryoDLProtSimulateSubtomograms, structure="p97 rubisco", proportion="1 2", number=7
        )
        values = prot.engineParameters()
        self.assertEqual(values["structure"], ["p97", "rubisco"])
        self.assertEqual(values["proportion"], [1.0, 2.0])
        self.assertEqual(tomography.tiltRange(_Recorded(prot)), (-60, 60))
        self.assertEqual(prot.validate(), [])
        prot.structure.set("")
        self.assertIn("*Structure*", self.errors(prot))


class _Recorded:
    """Something that has the acquisition of a simulation."""

    def __init__(self, prot):
        self.getAcquisition = prot.acquisition

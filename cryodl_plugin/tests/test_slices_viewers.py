"""The viewers of tomograms and particles: what they open, and the way back into the project."""

import os
from unittest import mock

import numpy as np
from pyworkflow import Config
from pyworkflow.viewer import MessageView

from cryodl_plugin.protocols.protocol_edit_coordinates import (
    CryoDLProtEditCoordinates,
)
from cryodl_plugin.tests.slices_project import SlicesTest
from cryodl_plugin.viewers.slices import programs, saving, sets
from cryodl_plugin.viewers.slices.window import SliceView
from cryodl_plugin.viewers.viewer_slices import CryoDLViewerGallery, CryoDLViewerSlices


class TestViewers(SlicesTest):
    """What Analyze Results opens, and the way back into the project."""

    def viewer(self, viewerClass):
        """Return a viewer of the source protocol."""
        return viewerClass(project=self.proj, protocol=self.source)

    def testOursIsOfferedFirst(self):
        """But for tomograms, where the list of them comes first, as people know it."""
        domain = Config.getDomain()
        domain.getPlugins()
        for name, expected, place in (
            ("tomograms", "CryoDLViewerSlices", 1),
            ("coordinates", "CryoDLViewerSlices", 0),
            ("masks", "CryoDLViewerSlices", 0),
            ("subtomograms", "CryoDLViewerGallery", 0),
        ):
            found = domain.findViewers(getattr(self.source, name), "tkinter")
            names = [viewer.__name__ for viewer in found]
            self.assertEqual(names[place], expected, names)
        prot = CryoDLProtEditCoordinates()
        self.assertEqual(domain.findViewers(prot, "tkinter")[0].__name__, "CryoDLViewerSlices")

    def testWhatIsShown(self):
        """Coordinates with the masks of the same run, masks with its coordinates."""
        viewer = self.viewer(CryoDLViewerSlices)
        for name, points, overlays in (
            ("coordinates", 5, 1),
            ("masks", 5, 1),
            ("tomograms", 0, 0),
        ):
            (view,) = viewer._visualize(getattr(self.source, name))
            self.assertIsInstance(view, SliceView)
            self.assertEqual(len(view.model.points), points, name)
            self.assertEqual(len(view.model.entry.overlays), overlays, name)
            view.drawing.update()
        (message,) = viewer._visualize(CryoDLProtEditCoordinates())
        self.assertIsInstance(message, MessageView)

    def testGallery(self):
        """Subtomograms; in their tomograms they are coloured by class."""
        viewer = self.viewer(CryoDLViewerGallery)
        (view,) = viewer._visualize(self.source.subtomograms)
        self.assertEqual(len(view.model.items), 5)
        self.assertIn("Show in tomograms", view.actions)
        slices = viewer.inTomograms(self.source.subtomograms)
        self.assertEqual(slices.model.colorBy, "class")
        slices.model.points.remove(0)
        with mock.patch.object(self.proj, "launchProtocol") as launch:
            slices.onSave(slices.model.points)
        output = self.finishSubset(launch.call_args.args[0])
        self.assertEqual([item.getObjId() for item in output], [2, 3, 4, 5])
        slices.model.addPoint((1, 1, 1))
        with self.assertRaisesRegex(ValueError, "no subtomogram"):
            slices.onSave(slices.model.points)

    def finishSubset(self, prot):
        """Run Scipion's own protocol for sub-sets in this process; return its output."""
        self.store(prot)
        prot.createSetStep()
        return next(output for _, output in prot.iterOutputAttributes())

    def testSubsetOfTheGallery(self):
        """The chosen ones, with all they had; none chosen is said."""
        with mock.patch.object(self.proj, "launchProtocol"):
            prot = saving.saveSubset(self.proj, self.source.subtomograms, [2, 5])
        self.assertEqual(prot.inputObject.getExtended(), "subtomograms")
        output = self.finishSubset(prot)
        self.assertEqual([item.getObjId() for item in output], [2, 5])
        self.assertEqual(output.getFirstItem().getCoordinate3D().getTomoId(), "TS_1")
        with self.assertRaisesRegex(ValueError, "Nothing is chosen"):
            saving.saveSubset(self.proj, self.source.subtomograms, [])

    def testSavingLaunchesTheProtocol(self):
        """What is on the screen is what the new set holds; a run of its own makes it."""
        (view,) = self.viewer(CryoDLViewerSlices)._visualize(self.source.coordinates)
        model = view.model
        model.setThreshold(0.15)
        model.removePoint((30, 25, 6))
        model.addPoint((11, 12, 3))
        count = len(model.points.shown())
        prot = saving.saveCoordinates(
            self.proj, model.points, coordinates=self.source.coordinates, wait=True
        )
        self.assertTrue(prot.isFinished(), prot.getErrorMessage())
        self.assertEqual(prot.inputCoordinates.getExtended(), "coordinates")
        self.assertFalse(os.path.isabs(prot.changesFile.get()))
        again = self.proj.getProtocol(prot.getObjId()).coordinates
        self.assertEqual(again.getSize(), count)
        found = self.places(again)
        np.testing.assert_allclose(found["TS_1"], [(20, 10, 4), (11, 12, 3)], atol=1e-4)
        seen = sets.pointsOf(again)
        np.testing.assert_allclose(seen.xyz[-1], (11, 12, 3), atol=1e-4)
        os.remove(prot.changesFile.get())
        self.assertEqual(len(prot.readChanges()["added"]), 1)

    def testNothingToSave(self):
        """No points, no protocol."""
        entries = sets.entriesOf(self.source.tomograms)
        with self.assertRaisesRegex(ValueError, "no points"):
            saving.saveCoordinates(
                self.proj, sets.emptyPoints(entries), tomograms=self.source.tomograms
            )


class TestPrograms(SlicesTest):
    """ChimeraX and napari, present or not."""

    def testMissing(self):
        """Words instead of silence."""
        with mock.patch("shutil.which", return_value=None):
            words = {name: call(None) for name, call in programs.programs("Tmp").items()}
        self.assertIn("ChimeraX is not installed", words["ChimeraX"])
        self.assertIn("napari is not installed", words["napari"])

    def testPresent(self):
        """Tomogram and points are handed over, in Å and in voxels."""
        viewer = CryoDLViewerSlices(project=self.proj, protocol=self.source)
        model = viewer._visualize(self.source.coordinates)[0].model
        with (
            mock.patch("shutil.which", return_value="/x y/napari"),
            mock.patch("subprocess.Popen") as started,
        ):
            self.assertEqual(programs.openInNapari(model, "Tmp"), "")
        command = started.call_args.args[0][-1]
        self.assertTrue(command.startswith("'/x y/napari' ") and "TS_1.mrc" in command)
        rows = np.loadtxt("Tmp/TS_1.csv", delimiter=",", skiprows=1)
        np.testing.assert_allclose(rows[1], (1, 4, 10, 20))
        with open(programs.writeMarkers(model, "Tmp/TS_1.cmm"), encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text.count("<marker id"), 3)
        self.assertIn('x="160.00" y="80.00" z="32.00"', text)

"""Viewers of tomograms, coordinates, masks, score maps and subtomograms: slices and a gallery."""

import os

from pyworkflow.viewer import DESKTOP_TKINTER, Viewer
from tomo.objects import SetOfCoordinates3D, SetOfSubTomograms, SetOfTomograms, SetOfTomoMasks

from cryodl_plugin.protocols.protocol_edit_coordinates import CryoDLProtEditCoordinates
from cryodl_plugin.viewers.slices import sets
from cryodl_plugin.viewers.slices.gallery import GalleryModel
from cryodl_plugin.viewers.slices.model import COLOR_CLASS, SliceModel
from cryodl_plugin.viewers.slices.points import ADDED
from cryodl_plugin.viewers.slices.programs import programs
from cryodl_plugin.viewers.slices.saving import saveCoordinates, saveSubset
from cryodl_plugin.viewers.slices.window import SliceView

_SAVED = "Saved: '{}' is running, its output will be the new set."


class _SliceViewerBase(Viewer):
    """What both viewers share: the window's title, and what a saved set is followed by."""

    _environments = [DESKTOP_TKINTER]

    def _title(self, what):
        run = self.protocol.getRunName() if self.protocol is not None else ""
        return f"{what} - {run}" if run else what

    def _launched(self, protocol):
        """Show the new run in the project window, if that is where we came from."""
        widget = getattr(self.formWindow, "getViewWidget", lambda: None)()
        if hasattr(widget, "refreshRuns"):
            widget.refreshRuns()
        return _SAVED.format(protocol.getRunName() or protocol.getObjLabel())

    def openSlices(self, entries, points, save):
        """Return the slice window; `save` launches a protocol for the points and returns it."""
        return SliceView(
            SliceModel(entries, points),
            self._title("Slices"),
            self.getTkRoot(),
            save=lambda points: self._launched(save(points)),
            tools=programs(os.path.join(self._project.path, "Tmp")),
        )

    def _saver(self, **source):
        return lambda points: saveCoordinates(self._project, points, **source)


class CryoDLViewerSlices(_SliceViewerBase):
    """Slices of tomograms with coordinates, masks and score maps; points can be edited."""

    _name = "cryodl slices"
    _targets = [SetOfCoordinates3D, SetOfTomoMasks, SetOfTomograms, CryoDLProtEditCoordinates]

    def _visualize(self, obj, **kwargs):
        if isinstance(obj, CryoDLProtEditCoordinates):
            if not hasattr(obj, "coordinates"):
                return [self.infoMessage("There are no coordinates (yet).", "Slices")]
            obj = obj.coordinates
        try:
            return [self._view(obj)]
        except TypeError as error:
            return [self.infoMessage(str(error), "Slices")]

    def _view(self, obj):
        if isinstance(obj, SetOfCoordinates3D):
            tomograms = obj.getPrecedents()
            entries = sets.entriesOf(tomograms)
            for masks in sets.companions(self.protocol, SetOfTomoMasks):
                sets.addOverlays(entries, masks)
            return self.openSlices(entries, sets.pointsOf(obj), self._saver(coordinates=obj))
        entries = sets.entriesOf(obj)
        if isinstance(obj, SetOfTomoMasks):
            points, coordinates = sets.coordinatesFor(self.protocol, entries)
            if points is not None:
                return self.openSlices(entries, points, self._saver(coordinates=coordinates))
        return self.openSlices(entries, sets.emptyPoints(entries), self._saver(tomograms=obj))


class CryoDLViewerGallery(_SliceViewerBase):
    """Subtomograms side by side; those that are chosen become a set of their own."""

    _name = "cryodl gallery"
    _targets = [SetOfSubTomograms]

    def _visualize(self, obj, **kwargs):
        from cryodl_plugin.viewers.slices.gallery_window import GalleryView

        actions = {}
        if obj.hasCoordinates3D() and obj.getCoordinates3D() is not None:
            actions["Show in tomograms"] = lambda: self.inTomograms(obj).show()
        return [
            GalleryView(
                GalleryModel(sets.galleryItems(obj)),
                self._title("Gallery"),
                self.getTkRoot(),
                save=lambda keys: self._launched(saveSubset(self._project, obj, keys)),
                actions=actions,
            )
        ]

    def inTomograms(self, subtomograms):
        """Return the slice window with the places that subtomograms were taken from."""
        tomograms = subtomograms.getCoordinates3D().getPrecedents()

        def save(points):
            kept = points.ids[points.shown()]
            if (kept == ADDED).any():
                raise ValueError("Points added here have no subtomogram yet: remove them first.")
            return saveSubset(self._project, subtomograms, list(kept))

        try:
            view = self.openSlices(
                sets.entriesOf(tomograms), sets.subtomogramPoints(subtomograms), save
            )
        except TypeError as error:
            return self.infoMessage(str(error), "Slices")
        if COLOR_CLASS in view.model.colorChoices():
            view.model.colorBy = COLOR_CLASS
        return view

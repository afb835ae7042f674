"""Views of particles that came in, were cut out, were simulated, or go out."""

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols import (
    CryoDLProtExportStar,
    CryoDLProtExtractSubtomos,
    CryoDLProtImportParticlesStar,
    CryoDLProtSimulateSubtomograms,
    CryoDLProtSimulateTomograms,
)
from cryodl_plugin.viewers import particle_figures
from cryodl_plugin.viewers.base import REPORT_ROW, CryoDLViewerBase

_GALLERY = (
    "showGallery",
    "Images",
    "The middle slices of up to 32 subtomograms, with their ids.",
)
_DIRECTIONS = (
    "showDirections",
    "Poses",
    "From where the particles are seen: rot and tilt of each, and how they are turned.",
)


class CryoDLViewerParticles(CryoDLViewerBase):
    """Images and poses of subtomograms."""

    _label = "viewer of particles"
    _targets = [
        CryoDLProtImportParticlesStar,
        CryoDLProtExtractSubtomos,
        CryoDLProtSimulateSubtomograms,
    ]
    _rows = {"Particles": [_GALLERY, _DIRECTIONS, REPORT_ROW]}

    def _particles(self):
        """Return the subtomograms, or the coordinates where there is nothing else."""
        return getattr(self.protocol, "subtomograms", None) or self.protocol.coordinates

    def viewGallery(self):
        """Return slices of the subtomograms."""
        items = [(item.getObjId(), item.getFileName()) for item in self.protocol.subtomograms]
        return self.showFigure(particle_figures.galleryFigure(items, "Subtomograms"), "Images")

    def viewDirections(self):
        """Return the distribution of poses."""
        transforms = [
            item.getTransform().getMatrix() if hasattr(item, "getTransform") else item.getMatrix()
            for item in self._particles()
        ]
        figure = particle_figures.viewingFigure(transforms, self.protocol.getRunName())
        return self.showFigure(figure, "Poses")


class CryoDLViewerSimulateTomograms(CryoDLViewerParticles):
    """Where the particles of simulated tomograms are; the slices are a viewer of their own."""

    _label = "viewer of simulated tomograms"
    _targets = [CryoDLProtSimulateTomograms]
    _rows = {
        "Particles": [
            (
                "showPlaces",
                "Places",
                "Where the particles of the first tomogram lie, from above and from the side. For "
                "slices, open the output.",
            ),
            _DIRECTIONS,
            REPORT_ROW,
        ]
    }

    def viewPlaces(self):
        """Return the places of the first tomogram."""
        first, coordinates = self.protocol.tomograms.getFirstItem(), self.protocol.coordinates
        places = tomography.Places(self.protocol.tomograms, coordinates.getSamplingRate())
        found = [places.position(item) for item in coordinates.iterCoordinates(first)]
        figure = particle_figures.placesFigure(found, first.getDim())
        return self.showFigure(figure, f"Places in {first.getTsId()}")


class CryoDLViewerExportStar(CryoDLViewerBase):
    """What was written."""

    _label = "viewer of exported particles"
    _targets = [CryoDLProtExportStar]
    _rows = {
        "Particles": [
            ("showFile", "STAR file", "Where it is, and its first lines."),
            _DIRECTIONS,
            REPORT_ROW,
        ]
    }
    _LINES = 60

    def viewFile(self):
        """Return the beginning of the file."""
        path = self.protocol.exported.getFileName()
        with open(path, encoding="utf-8") as file:
            lines = [line.rstrip()[:160] for _, line in zip(range(self._LINES), file)]
        where = self.protocol.exportedFile() or path
        return [self.say("\n".join([where, "", *lines]))]

    def viewDirections(self):
        """Return the distribution of poses."""
        transforms = [
            tomography.poseToTransform(*tomography.rowPose(row))
            for row in self.protocol.readTable().rows
        ]
        figure = particle_figures.viewingFigure(transforms, self.protocol.getRunName())
        return self.showFigure(figure, "Poses")

"""What the protocols on tomograms and particles share: sets in, sets out, what tilts there were."""

import os

from pyworkflow.object import Pointer
from pyworkflow.protocol import params
from tomo.objects import (
    ClassSubTomogram,
    SetOfClassesSubTomograms,
    SetOfCoordinates3D,
    SetOfSubTomograms,
    SetOfTomograms,
)

from cryodl_plugin.convert import tomography
from cryodl_plugin.protocols.base import CryoDLProtBase


class CryoDLProtTomography(CryoDLProtBase):
    """Base of the protocols whose inputs or outputs are sets of tomography."""

    # --- form ------------------------------------------------------------------------------

    @staticmethod
    def _addSubtomograms(form, words):
        form.addParam(
            "inputSubTomograms",
            params.PointerParam,
            pointerClass="SetOfSubTomograms",
            important=True,
            label="Subtomograms",
            help=words,
        )

    @staticmethod
    def _addTiltRange(form, **arguments):
        """Add lowest and highest tilt, for data that do not know them."""
        line = form.addLine(
            "Tilt range (°)",
            help="Lowest and highest tilt of the tilt series. Needed where the input does not say "
            "how it was recorded; what the input says is not replaced.",
            **arguments,
        )
        for name, label in (("tiltMin", "lowest"), ("tiltMax", "highest")):
            line.addParam(
                name,
                params.FloatParam,
                default=None,
                allowsNull=True,
                label=label,
                help=f"The {label} tilt in degrees, empty where the input knows it.",
            )

    def givenTiltRange(self):
        """Return lowest and highest tilt of the form, or None."""
        low, high = self.tiltMin.get(), self.tiltMax.get()
        return None if low is None or high is None else (low, high)

    def _tiltErrors(self):
        low, high = self.tiltMin.get(), self.tiltMax.get()
        if (low is None) != (high is None):
            return ["*Tilt range*: found one end of it, expected both, or none."]
        if low is not None and not -90 <= low < high <= 90:
            return [
                f"*Tilt range*: found {low:g} to {high:g}, expected a range within -90 and 90 "
                "degrees, lowest first."
            ]
        return []

    # --- sets as files ---------------------------------------------------------------------

    def writeParticles(self, particles, path, absolute=False):
        """Write coordinates, subtomograms or classes of them as a STAR file; return how many."""
        if isinstance(particles, SetOfCoordinates3D):
            return tomography.writeCoordinates(particles, path)
        classOf = None
        if isinstance(particles, SetOfClassesSubTomograms):
            classOf = tomography.classAssignment(particles)
            particles = particles.getImages()
        whole = self.wholeSet(particles)
        folder = self.inputFolder()
        return tomography.writeSubtomograms(particles, path, folder, classOf, absolute, whole)

    def wholeSet(self, particles):
        """Return the set that one class was made of; other sets as they are.

        A class that is an input by itself (``classes.1``) knows neither the coordinates nor the
        tomograms of its particles; the set of classes that it came from does.
        """
        for _, pointer in self.iterInputAttributes():
            *path, last = (pointer.getExtended() or "").split(".")
            value = pointer.getObjValue() if last.isdigit() else None
            for part in path:
                value = getattr(value, part, None)
            if isinstance(value, SetOfClassesSubTomograms):
                mine = isinstance(particles, ClassSubTomogram)
                if mine and particles.getObjId() == int(last):
                    return value.getImages()
        return particles

    @staticmethod
    def setState(*sets):
        """Return what tells one set from another, for the fingerprint of a run."""
        return [
            [one.getFileName(), one.getSize(), one.getObjId()] if one is not None else None
            for one in sets
        ]

    # --- files as sets ---------------------------------------------------------------------

    def newTomograms(self, samplingRate, acquisition=None):
        """Return an empty set of tomograms."""
        tomograms = SetOfTomograms.create(self._getPath(), prefix="tomograms")
        tomograms.setSamplingRate(samplingRate)
        if acquisition is not None:
            tomograms.setAcquisition(acquisition.clone())
        return tomograms

    def newCoordinates(self, tomograms, samplingRate, boxSize, prefix="coordinates"):
        """Return an empty set of coordinates.

        Parameters
        ----------
        tomograms : Pointer or str
            To the tomograms: an input, or the name of an output of this run.
        samplingRate : float
            Of the tomograms, Å.
        boxSize : int
            In their voxels.
        prefix : str
            Of the set's file, for sets beside the usual one.
        """
        coordinates = SetOfCoordinates3D.create(self._getPath(), prefix=prefix)
        coordinates.setPrecedents(self._pointer(tomograms))
        coordinates.setSamplingRate(samplingRate)
        coordinates.setBoxSize(int(boxSize))
        return coordinates

    def newSubtomograms(self, samplingRate, coordinates=None, acquisition=None):
        """Return an empty set of subtomograms; `coordinates` as in `newCoordinates`."""
        subtomograms = SetOfSubTomograms.create(self._getPath(), prefix="subtomograms")
        subtomograms.setSamplingRate(samplingRate)
        if coordinates is not None:
            subtomograms.setCoordinates3D(self._pointer(coordinates))
        if acquisition is not None:
            subtomograms.setAcquisition(acquisition.clone())
        return subtomograms

    def note(self, lines):
        """Keep lines for the summary: Scipion's own variable for that is lost with the process."""
        with open(self._notesFile(), "w", encoding="utf-8") as file:
            file.write("\n".join(line for line in lines if line))

    def notes(self):
        """Return the lines that were kept."""
        if not os.path.exists(self._notesFile()):
            return []
        with open(self._notesFile(), encoding="utf-8") as file:
            return file.read().splitlines()

    def _notesFile(self):
        return self._getExtraPath("notes.txt")

    def _pointer(self, target):
        return Pointer(self, extended=target) if isinstance(target, str) else target

    def define(self, outputs, pointers=()):
        """Define outputs, with the inputs that they come from."""
        self._defineOutputs(**outputs)
        for output in outputs.values():
            for pointer in pointers:
                if pointer.get() is not None:
                    self._defineSourceRelation(pointer, output)


def samplingWords(**rates):
    """Return the samplings that matter in a run, for its summary: people mix them up."""
    return ", ".join(f"{name} *{rate:.2f} Å/px*" for name, rate in rates.items() if rate)

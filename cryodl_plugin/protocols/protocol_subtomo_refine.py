"""Gold-standard averaging of subtomograms, into one class or several."""

from pwem.objects import SetOfFSCs, SetOfVolumes, VolumeMask
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED
from tomo.objects import (
    AverageSubTomogram,
    SetOfAverageSubTomograms,
    SetOfClassesSubTomograms,
    SetOfSubTomograms,
)

from cryodl_plugin import convert, forms
from cryodl_plugin.convert import alignment, tomography
from cryodl_plugin.protocols.subtomos import (
    LABELS,
    ONE_MAP,
    REFINE_COMMAND,
    CryoDLProtSubtomos,
    scoreLines,
)

_REFINE = "refine"
_ONLY_NET = "mode == 3"
_FEW_OF_A_CLASS = 50


class CryoDLProtSubtomoRefine(CryoDLProtSubtomos):
    """Average subtomograms: align, average and measure until nothing changes (SelfAlign).

    Two half sets that never meet are aligned each to its own average. Only their Fourier shell
    correlation is shared; it decides how fine the references are. Several references, or a number
    of classes, sort the particles on the way.

    *Inputs*: subtomograms; a map to begin with, which is low-passed. Without one the particles
    make their own start, in C1.

    *Outputs*: _subtomograms_ in their last poses, with score, confidence and half set; _average_
    with its unfiltered half maps; _fscs_; _mask_; with several classes also _classes3D_ and
    _averages_.

    *Hints*: the halves agree up to the low-pass of the start whatever the particles are: believe
    what lies beyond it. A run that was stopped goes on after its last round. *Analyze Results*
    shows each round as soon as it is done.
    """

    _label = "average subtomograms"
    _command = REFINE_COMMAND
    _fedByProtocol = frozenset(
        {
            "star",
            "reference",
            "other_references",
            "mask",
            "pixel_size",
            "tilt_axis",
        }
    )
    _possibleOutputs = {
        "subtomograms": SetOfSubTomograms,
        "average": AverageSubTomogram,
        "fscs": SetOfFSCs,
        "mask": VolumeMask,
        "classes3D": SetOfClassesSubTomograms,
        "averages": SetOfAverageSubTomograms,
    }

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addGpuParameters(form)
        form.addSection(label="Input")
        self._addSubtomograms(form, "All of one box size. Half sets that they have are kept.")
        self._addReference(
            form,
            "To begin with, or a set of some, one for each class. Empty: the particles make their "
            "own.",
            f"{ONE_MAP}, SetOfVolumes",
            allowsNull=True,
        )
        form.addParam(
            "inputMoreReferences",
            params.MultiPointerParam,
            pointerClass=ONE_MAP,
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Further references",
            help="One more class for each. Particles go to the one that they fit best.\n"
            "Command line: *--other-references*",
        )
        self._addSubtomoMask(form)
        self._addInputGroup(form)
        form.addSection(label="Search")
        own = {"trainSteps": {**LABELS["trainSteps"], "condition": _ONLY_NET}}
        labels = {**LABELS, **own}
        forms.addParameters(form, self._command, "Search", skip=self.fedNames(), **labels)
        self._addRunParameters(form, threads=2)

    # --- inputs ----------------------------------------------------------------------------

    def referenceVolumes(self):
        """Return all references, the first one first."""
        first = self.inputReference.get()
        isSet = isinstance(first, SetOfVolumes)
        given = [one.clone() for one in first] if isSet else super().referenceVolumes()
        return given + self._furtherVolumes()

    def _furtherVolumes(self):
        return [pointer.get() for pointer in self.inputMoreReferences if pointer.get() is not None]

    def classCount(self):
        """Return how many averages there are to be."""
        return max(self.classes.get() or 1, len(self.referenceVolumes()), 1)

    def _inputParameters(self):
        values = super()._inputParameters()
        further = self.referenceFiles()[1:]
        if further and "reference" in values:
            values["other_references"] = further
        return values

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make poses, averages, curves and classes."""
        result, count = self.readResult(), self.classCount()
        subtomograms, left = self.alignedSet()
        prefixes = [f"class{i}_" for i in range(1, count + 1)] if count > 1 else [""]
        averages = [self._average(result, prefix) for prefix in prefixes]
        best = min(
            range(count),
            key=lambda i: result.get(f"{prefixes[i]}resolution", result["resolution"]),
        )
        outputs = {
            "subtomograms": subtomograms,
            "average": averages[best],
            "mask": self._mask(result[f"{prefixes[best]}mask"]),
            "fscs": self._fscs(result, prefixes),
        }
        if count > 1:
            outputs["averages"] = self._averages(averages)
        self.note([f"{left} subtomograms could not be read." if left else ""])
        pointers = [self.inputSubTomograms, self.inputReference]
        self.define(outputs, pointers)
        if count > 1:
            self.define({"classes3D": self._classes(result, prefixes)}, pointers)

    def _average(self, result, prefix):
        average = AverageSubTomogram(objLabel=prefix.rstrip("_") or "average")
        average.setFileName(result[f"{prefix}average"])
        average.setSamplingRate(self.samplingRate())
        average.setHalfMaps([result[f"{prefix}half1"], result[f"{prefix}half2"]])
        resolution = result.get(f"{prefix}resolution", result["resolution"])
        average._cryodlResolution = Float(resolution)
        return average

    def _mask(self, path):
        mask = VolumeMask(objLabel="mask")
        mask.setFileName(path)
        mask.setSamplingRate(self.samplingRate())
        return mask

    def _fscs(self, result, prefixes):
        fscs = SetOfFSCs.create(self._getPath())
        for prefix in prefixes:
            curves = alignment.readFscTable(result[f"{prefix}fsc"])
            names = {prefix.rstrip("_"): "corrected"} if prefix else {n: n for n in curves}
            for label, name in names.items():
                fscs.append(convert.makeFsc(label, *curves[name]))
        return fscs

    def _averages(self, averages):
        output = SetOfAverageSubTomograms.create(self._getPath(), prefix="averages")
        output.setSamplingRate(self.samplingRate())
        for average in averages:
            output.append(average.clone())
        return output

    def _classes(self, result, prefixes):
        classes = SetOfClassesSubTomograms.create(self._getPath(), prefix="classes")
        classes.setImages(self._pointer("subtomograms"))
        assignment = {item.getObjId(): item.getClassId() for item in self.subtomograms}
        files = {i: result[f"{prefix}average"] for i, prefix in enumerate(prefixes, 1)}
        tomography.fillClasses(classes, assignment, files)
        return classes

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate()
        first = self.inputReference.get()
        if self._furtherVolumes() and first is None:
            errors.append("*Reference*: found none with *further references*, expected the first.")
        symmetric = (self.symmetry.get() or "C1").strip().upper() != "C1"
        if symmetric and first is None and self.getEnumText("mode") != _REFINE:
            errors.append(
                f"*Symmetry*: found {self.symmetry.get()} without a reference, expected C1, for "
                "nothing says where the axes are. Average in C1 first, turn the average upright, "
                "and give it as reference."
            )
        particles = self.inputSubTomograms.get()
        least = 4 * self.classCount()
        if particles is not None and particles.getSize() < least:
            errors.append(
                f"*Subtomograms*: found {particles.getSize()}, expected at least {least} for "
                f"{self.classCount()} averages of two halves."
            )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        particles = self.inputSubTomograms.get()
        count = self.classCount()
        if particles is not None and count > 1 and particles.getSize() < _FEW_OF_A_CLASS * count:
            warnings.append(
                f"{particles.getSize()} subtomograms are few for {count} classes: halves of "
                "fewer than 25 of a class hardly tell one from another."
            )
        return warnings

    def _summaryOf(self, result):
        lines = [
            f"*{result.get('resolution', 0):.1f} Å* (FSC 0.143 of the halves, corrected for the "
            f"mask) after *{result.get('rounds', 0)}* rounds with *{result.get('particles', 0)}* "
            "subtomograms."
        ]
        for i in range(1, self.classCount() + 1):
            if f"class{i}_particles" in result:
                lines.append(
                    f"Class {i}: {result[f'class{i}_particles']} subtomograms, "
                    f"{result[f'class{i}_resolution']:.1f} Å."
                )
        return [*lines, *scoreLines(result), *self.notes(), *super()._summaryOf(result)]

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        start = "a low-passed map" if self.referenceVolumes() else "the particles themselves"
        return [
            f"{result.get('particles', 0)} subtomograms were averaged with cryodl "
            f"{result.get('version', '')} in {self.symmetry.get()}, starting from {start}, to "
            f"{result.get('resolution', 0):.1f} Å (gold-standard FSC of 0.143)."
        ]

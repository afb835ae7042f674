"""The form of the refinement with misalignment correction."""

from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED

from cryodl_plugin import forms
from cryodl_plugin.protocols.misalign_command import FEWEST_PROCESSES

SETTINGS = "relion_wrapper"
"""The schema of the ISONET_* variables."""

REFERENCE_VOLUME, REFERENCE_HALVES = range(2)
FAIL, FALLBACK = range(2)
_ON_FAILURE = ("fail", "fallback")
FED = frozenset({"on_error", "use_sampling", "reference", "devices"})
"""Variables that the protocol sets itself: stop when it fails, the low-resolution map, devices."""

_PUBLISHED = {"condition": "method==1"}
_EXPERT = {"expertLevel": LEVEL_ADVANCED}
_ORDERS = ["58.6°", "29.3°", "14.7°", "7.3°", "3.7°", "1.8°", "0.9°", "0.5°"]
_LABELS = {
    "startHealpix": {"label": "Start at HEALPix order"},
    "startResolution": {"label": "Start at resolution (Å)"},
    "prestart": {"label": "Map before the start", **_EXPERT},
    "retrainEachIter": {"label": "Train anew in each iteration"},
    "alpha": {"label": "Alpha (equivariance)", **_PUBLISHED},
    "beta": {"label": "Beta (denoising)", **_PUBLISHED},
    "accBatches": {"label": "Split batches into"},
    "batchSize": _EXPERT,
    "nSubvolume": {"label": "Subvolumes in an epoch"},
    "cubeSize": _EXPERT,
    "width": {"label": "Network width"},
    "independent": {"label": "Keep halves independent"},
    "seed": {"label": "Random seed", **_EXPERT},
    "precision": _EXPERT,
    "aniso": {"label": "Directional weight from"},
    "whitening": _EXPERT,
    "whiteningLow": {"label": "Whitening from (Å)", "condition": "whitening", **_EXPERT},
    "fscWeighting": {"label": "FSC weighting", **_PUBLISHED, **_EXPERT},
    "fsc05": {"label": "Train up to FSC 0.5", **_EXPERT},
    "measured": {"label": "Well measured directions from"},
    "beyond": {"label": "Beyond the resolution"},
    "stopHealpix": {"label": "Stop at HEALPix order"},
    "lowpass": {"label": "Low-pass the result", **_EXPERT},
    "angularWhiten": {"label": "Whiten by direction", **_EXPERT},
    "keepLowres": {"label": "Keep low resolution of reference"},
    "keepFiles": {"label": "Keep maps of each step", **_EXPERT},
    "stale": {"label": "Replace a silent worker after (s)", **_EXPERT},
    "timeout": {"label": "Longest wait (s)", **_EXPERT},
}


class MisalignForm:
    """Adds the parameters; the protocol inherits it."""

    def _defineParams(self, form):
        self._addGpuParameters(form)
        self._addInput(form)
        self._addRefinement(form)
        self._addCorrection(form)
        self._addCompute(form)
        form.addParallelSection(threads=1, mpi=FEWEST_PROCESSES)

    def _addInput(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputParticles",
            params.PointerParam,
            pointerClass="SetOfParticles, SetOfSubTomograms",
            important=True,
            label="Particles",
            help="Extracted, with CTF, normalised to mean 0 and standard deviation 1 outside the "
            "particle, which RELION insists on. Optics groups of scipion-em-relion are kept. Or "
            "subtomograms as volumes with their tilt range, as RELION 3.1 refines them.",
        )
        form.addParam(
            "useAlignment",
            params.BooleanParam,
            default=True,
            label="Start from their alignment",
            help="Give RELION the angles and shifts of the particles where they have projection "
            "alignment. Angles matter to local searches alone, shifts always. Choose *No* where "
            "the alignment may be what went wrong.",
        )
        form.addParam(
            "inputReference",
            params.PointerParam,
            pointerClass="Volume",
            important=True,
            label="Reference",
            help="Map on the grid of the particles: same box, same sampling. RELION starts from "
            "its low resolution, so a map that is distorted there distorts the result.",
        )
        form.addParam(
            "referenceIs",
            params.EnumParam,
            choices=["the volume", "mean of its half maps"],
            default=REFERENCE_VOLUME,
            display=params.EnumParam.DISPLAY_HLIST,
            label="Reference is",
            help="The half maps are neither sharpened nor masked, where the volume may be both.",
        )
        form.addParam(
            "inputMask",
            params.PointerParam,
            pointerClass="VolumeMask",
            allowsNull=True,
            label="Mask",
            help="Soft solvent mask, 0 to 1, on the grid of the reference. Recommended: without it "
            "the correction takes a sphere of the particle diameter.",
        )
        self._addInputDetails(form)

    def _addInputDetails(self, form):
        form.addParam(
            "initialLowPass",
            params.FloatParam,
            default=30.0,
            validators=[forms.Limits({"gt": 0})],
            label="Initial low-pass (Å)",
            help="Resolution of the reference in the first iteration. The lower, the less of the "
            "reference's own mistakes remain.\nRELION: *--ini_high*",
        )
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            default=-1.0,
            label="Particle diameter (Å)",
            help="Diameter of the circular mask on the particles. -1 takes 90 % of the box. The "
            "wand shows it on the reference.\nRELION: *--particle_diameter*",
        )
        form.addParam(
            "symmetry",
            params.StringParam,
            default="C1",
            label="Symmetry",
            help="Point group as RELION writes it: C1, D7, O, I1.\nRELION: *--sym*",
        )
        form.addParam(
            "doCtf",
            params.BooleanParam,
            default=True,
            label="Correct the CTF",
            help="*No* only for particles without CTF. For subtomograms: take their missing wedge "
            "into account.\nRELION: *--ctf*",
        )
        form.addParam(
            "ignoreFirstPeak",
            params.BooleanParam,
            default=False,
            condition="doCtf",
            label="Ignore CTF until its first peak",
            help="For particles whose low resolution was filtered away."
            "\nRELION: *--ctf_intact_first_peak*",
            **_EXPERT,
        )
        form.addParam(
            "absoluteGreyscale",
            params.BooleanParam,
            default=False,
            label="Reference has absolute greyscale",
            help="*Yes* for a map that RELION made of these very particles; *No* compares by "
            "cross-correlation in the first iteration.\nRELION: *--firstiter_cc*",
            **_EXPERT,
        )

    def _addRefinement(self, form):
        form.addSection(label="Refinement")
        orders = [f"{order}: {angle}" for order, angle in enumerate(_ORDERS)]
        for name, default, label, words in (
            (
                "healpixOrder",
                2,
                "HEALPix order at the start",
                "Angular sampling before oversampling, which halves it. RELION makes it finer as "
                "the refinement goes on.\nRELION: *--healpix_order*",
            ),
            (
                "localHealpixOrder",
                4,
                "Local searches from order",
                "From this sampling on only angles near the last ones are searched."
                "\nRELION: *--auto_local_healpix_order*",
            ),
        ):
            form.addParam(
                name,
                params.EnumParam,
                choices=orders,
                default=default,
                display=params.EnumParam.DISPLAY_COMBO,
                label=label,
                help=words,
            )
        self._addOffsets(form)
        form.addParam(
            "localSearches",
            params.BooleanParam,
            default=False,
            label="Only search near given angles",
            help="Start with local searches about the alignment of the particles.",
        )
        form.addParam(
            "localSigma",
            params.FloatParam,
            default=5.0,
            condition="localSearches",
            validators=[forms.Limits({"gt": 0})],
            label="Standard deviation (°)",
            help="Angles up to three times this are searched.\nRELION: *--sigma_ang*",
        )
        self._addSwitches(form)
        self._addLimits(form)

    @staticmethod
    def _addOffsets(form):
        for name, default, label, words in (
            ("offsetRange", 5.0, "Offset range (px)", "Shifts searched.\nRELION: *--offset_range*"),
            (
                "offsetStep",
                1.0,
                "Offset step (px)",
                "Before oversampling, which halves it.\nRELION: *--offset_step*",
            ),
        ):
            form.addParam(
                name,
                params.FloatParam,
                default=default,
                validators=[forms.Limits({"gt": 0})],
                label=label,
                help=words,
            )

    @staticmethod
    def _addSwitches(form):
        for name, default, label, words in (
            (
                "solventFsc",
                True,
                "Solvent-flattened FSC",
                "FSC corrected for the mask. With it both half maps are ready when the correction "
                "is called, which is the quickest way.\nRELION: *--solvent_correct_fsc*",
            ),
            (
                "zeroMask",
                True,
                "Zeros outside the particle",
                "*No* fills the surroundings of the particle with noise.\nRELION: *--zero_mask*",
            ),
            (
                "finerFaster",
                False,
                "Finer sampling faster",
                "Goes to a finer sampling as soon as the resolution allows.\nRELION: "
                "*--auto_ignore_angles --auto_resol_angles*",
            ),
            (
                "skipPadding",
                False,
                "Skip padding",
                "A quarter of the memory or less, with artefacts near the edge of the box."
                "\nRELION: *--pad 1*",
            ),
        ):
            form.addParam(
                name,
                params.BooleanParam,
                default=default,
                condition="inputMask is not None" if name == "solventFsc" else "True",
                label=label,
                help=words,
                **({} if name in ("solventFsc", "finerFaster") else _EXPERT),
            )

    @staticmethod
    def _addLimits(form):
        form.addParam(
            "joinHalves",
            params.FloatParam,
            default=40.0,
            validators=[forms.Limits({"gt": 0})],
            label="Join halves up to (Å)",
            help="Below this resolution both half maps are averaged, so that they keep one "
            "orientation.\nRELION: *--low_resol_join_halves*",
            **_EXPERT,
        )
        form.addParam(
            "maxIterations",
            params.IntParam,
            default=None,
            allowsNull=True,
            validators=[forms.Limits({"ge": 1}, optional=True)],
            label="Most iterations",
            help="Stop here if it has not converged, and make the final map of all particles. "
            "Empty: until convergence.\nRELION: *--auto_iter_max*, then *--force_converge*",
            **_EXPERT,
        )

    def _addCorrection(self, form):
        form.addSection(label="Correction")
        for name in ("Start", "Training", "Maps", "Reference"):
            self._addSettings(form.addGroup(name), name)
        form.addParam(
            "inputLowRes",
            params.PointerParam,
            pointerClass="Volume",
            allowsNull=True,
            condition="keepLowres",
            label="Map to keep it of",
            help="Map whose low resolution is kept, instead of the reference's, on the same grid."
            "\nVariable: *ISONET_REFERENCE*",
        )

    def _addSettings(self, form, group):
        """Add the variables of one group, each with its name in the help."""
        for parameter in forms.schemaParameters(SETTINGS, group):
            if parameter["name"] in self.fedNames():
                continue
            words = f"{parameter['help']}\nVariable: *{parameter['original']}*"
            own = _LABELS.get(forms.formName(parameter["name"]), {})
            forms.addParameter(form, parameter, **{"help": words, **own})

    def _addCompute(self, form):
        form.addSection(label="Compute")
        form.addParam(
            "showCommand",
            params.LabelParam,
            label="Show the whole command",
            help="The wand shows the variables and the command line as they will run, to be read "
            "or pasted into a terminal.",
        )
        form.addParam(
            "onFailure",
            params.EnumParam,
            choices=["stop", "go on without it"],
            default=FAIL,
            display=params.EnumParam.DISPLAY_HLIST,
            label="If the correction fails",
            help="*Stop* ends the refinement with the reason; *Continue* then goes on from the "
            "last iteration, also with other settings of the correction. *Go on without it* uses "
            "RELION's own map in that iteration, and warns.\nVariable: *ISONET_ON_ERROR*",
        )
        form.addParam(
            "relionOnGpu",
            params.BooleanParam,
            default=True,
            label="RELION on GPU",
            help="With *Use GPU*: whether RELION uses the cards too, or the correction alone. Both "
            "share their memory.\nRELION: *--gpu*",
        )
        self._addMachine(form)
        self._addSettings(form, forms.RUN_GROUP)

    @staticmethod
    def _addMachine(form):
        form.addParam(
            "pool",
            params.IntParam,
            default=3,
            validators=[forms.Limits({"ge": 1})],
            label="Pooled particles",
            help="Particles read at once by each thread: more is quicker with a slow disk, and "
            "takes more memory.\nRELION: *--pool*",
        )
        form.addParam(
            "preread",
            params.BooleanParam,
            default=False,
            label="Read all particles into memory",
            help="Quick, if they fit.\nRELION: *--preread_images*",
        )
        form.addParam(
            "scratchFolder",
            params.StringParam,
            default="",
            label="Scratch folder",
            help="Folder on a fast local disk to copy the particles to.\nRELION: *--scratch_dir*",
            **_EXPERT,
        )
        form.addParam(
            "extraArguments",
            params.StringParam,
            default="",
            label="Additional arguments",
            help="More options for relion_refine_mpi, as in a terminal. Those that the form "
            "decides, or that keep the correction from being called, are refused.",
            **_EXPERT,
        )

    def onFailureText(self):
        """Return the value of ISONET_ON_ERROR."""
        return _ON_FAILURE[self.onFailure.get()]

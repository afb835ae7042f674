"""Anisotropy correction of half maps by self-supervised learning (spIsoNet)."""

from pwem.objects import SetOfFSCs, Volume, VolumeMask
from pyworkflow.object import Float
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import LEVEL_ADVANCED

from cryodl_plugin import convert, forms
from cryodl_plugin.constants import INPUT_ONE_MAP, MASK_AUTOMATIC
from cryodl_plugin.objects import CryoDLModel
from cryodl_plugin.protocols.half_maps import CryoDLProtHalfMaps
from cryodl_plugin.protocols.protocol_fsc3d import CryoDLProtFsc3D

_TILE_MARGIN_PX = 14
_AS_ITS_RUN_SAYS, _MEAN_COSINES, _CORRELATIONS = range(3)
_PUBLISHED, _CLASSICAL = 1, 2
_PUBLISHED_ONLY = {"condition": f"method=={_PUBLISHED}"}


class CryoDLProtAnisoCorrect(CryoDLProtHalfMaps):
    """Correct the anisotropy of a map with preferred orientation (spIsoNet).

    A network learns, from the map itself, what the well-measured directions of Fourier space look
    like, and fills in the badly measured ones. Well-measured ones are denoised and else kept.
    Nothing is learned from other structures.

    *Inputs*: a volume with its half maps, two half maps, or one map alone; the 3DFSC, which is
    computed when none is given; a mask, which is estimated when none is given.

    *Outputs*: _volume_, the mean of the corrected half maps, which come with it; _model_, the
    network, to start another run from; _fscs_ of the half maps before and after.

    *Hints*: by default the maps are corrected up to what their best directions resolve; a coarser
    limit is safer. The defaults are for a GPU; on a processor choose width 16, few epochs and a
    small box.
    By default the network sees both half maps, which denoises them but makes them correlated: the
    FSC after is then no measure of resolution. *Keep halves independent* keeps them apart.
    A run that was stopped goes on from its last checkpoint with *Continue*.
    """

    _label = "correct anisotropy (spIsoNet)"
    _command = "spisonet correct"
    _possibleOutputs = {
        "volume": Volume,
        "model": CryoDLModel,
        "modelHalf2": CryoDLModel,
        "fscs": SetOfFSCs,
        "limitResolution": Float,
        "mask": VolumeMask,
    }
    _automaticMask = "estimated"
    _onGpu = True
    _fedByProtocol = CryoDLProtHalfMaps._fedByProtocol | {
        "aniso_file",
        "aniso_estimator",
        "reference",
        "pretrained_model",
        "truth",
        "truth_region",
    }

    # --- form ------------------------------------------------------------------------------

    def _defineParams(self, form):
        self._addGpuParameters(form)
        self._addHalfMapParameters(form)
        self._addMaskParameters(form)
        form.addParam(
            "inputFsc3D",
            params.PointerParam,
            pointerClass="CryoDLProtFsc3D, Volume",
            allowsNull=True,
            label="3DFSC",
            help="A run of *directional resolution (3DFSC)*, its volume, or another weight from 0 "
            "to 1 by direction, with the zero frequency in the middle of the box. Empty: it is "
            "computed from the half maps.\nCommand line: *--aniso-file*",
        )
        form.addParam(
            "anisoHolds",
            params.EnumParam,
            choices=["as its run says", "mean cosines", "correlations"],
            default=_AS_ITS_RUN_SAYS,
            display=params.EnumParam.DISPLAY_HLIST,
            expertLevel=LEVEL_ADVANCED,
            label="3DFSC values are",
            help="Only for a volume that no run of ours has made: the published spIsoNet writes "
            "mean cosines; the 3DFSC program, and densities of sampling, are correlations."
            "\nCommand line: *--aniso-estimator*",
        )
        self._addCorrectionSection(form)
        self._addTrainingSection(form)
        self._addRunParameters(form)

    def _addCorrectionSection(self, form):
        form.addSection(label="Correction")
        forms.addParameters(
            form,
            self._command,
            "Correction",
            skip=self.fedNames(),
            alpha={"label": "Alpha (equivariance)", **_PUBLISHED_ONLY},
            beta={"label": "Beta (denoising)", **_PUBLISHED_ONLY},
            rescale=_PUBLISHED_ONLY,
            emphasis={"label": "Emphasis on missing directions"},
            match={"label": "Match amplitudes by"},
            independent={"label": "Keep halves independent"},
        )
        group = form.addGroup("Reference")
        group.addParam(
            "inputReference",
            params.PointerParam,
            pointerClass="Volume",
            allowsNull=True,
            label="Reference volume",
            help="A trusted map without preferred orientation, on the grid of the half maps, whose "
            "low resolution is kept. Empty for none.\nCommand line: *--reference*",
        )
        forms.addParameters(group, self._command, "Reference", skip=self.fedNames())
        group = form.addGroup("Check against a known structure", expertLevel=LEVEL_ADVANCED)
        group.addParam(
            "inputTruth",
            params.PointerParam,
            pointerClass="Volume",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Known structure",
            help="For simulated half maps: the report compares the maps with it. It has no part in "
            "the correction.\nCommand line: *--truth*",
        )
        group.addParam(
            "inputTruthRegion",
            params.PointerParam,
            pointerClass="Volume",
            allowsNull=True,
            expertLevel=LEVEL_ADVANCED,
            label="Badly measured region",
            help="Volume that is 1 in the badly measured part of Fourier space, zero frequency in "
            "the middle. Empty: taken from the 3DFSC.\nCommand line: *--truth-region*",
        )

    def _addTrainingSection(self, form):
        form.addSection(label="Training")
        forms.addParameters(
            form,
            self._command,
            "Training",
            skip=self.fedNames(),
            nSubvolume={"label": "Subvolumes in an epoch"},
            accBatches={"label": "Split batches into"},
            width={"label": "Network width"},
            norm={"label": "Normalisation"},
            tta={"label": "Average over 24 rotations", **_PUBLISHED_ONLY},
        )
        group = form.addGroup("Start from a trained network")
        group.addParam(
            "inputModel",
            params.PointerParam,
            pointerClass="CryoDLModel",
            allowsNull=True,
            label="Network",
            help="Network of an earlier run to start from. With 0 epochs it is only applied. It "
            "must have been trained with the same width.\nCommand line: *--pretrained-model*",
        )
        group.addParam(
            "modelFile",
            params.FileParam,
            default="",
            expertLevel=LEVEL_ADVANCED,
            label="Network file",
            help="A .safetensors file to use instead of the network above: an earlier epoch of it, "
            "which the wand lists, or one from elsewhere.",
        )

    # --- inputs ----------------------------------------------------------------------------

    def fsc3DFile(self):
        """Return the file of the 3DFSC that was given, or None."""
        given = self.inputFsc3D.get()
        if isinstance(given, CryoDLProtFsc3D):
            given = getattr(given, "volume", None)
        return given.getFileName() if given is not None else None

    def modelPath(self):
        """Return the network to start from, or None."""
        if self.modelFile.get():
            return self.modelFile.get()
        model = self.inputModel.get()
        return model.getFileName() if model is not None else None

    def _inputMaps(self):
        maps = super()._inputMaps()
        maps["aniso_file"] = self.fsc3DFile()
        for name, pointer in (
            ("reference", self.inputReference),
            ("truth", self.inputTruth),
            ("truth_region", self.inputTruthRegion),
        ):
            volume = pointer.get()
            maps[name] = volume.getFileName() if volume is not None else None
        return {name: path for name, path in maps.items() if path}

    def _inputParameters(self):
        values = super()._inputParameters()
        if self.modelPath():
            values["pretrained_model"] = self.modelPath()
        if "aniso_file" in values and self._holdsCorrelations():
            values["aniso_estimator"] = "correlation"
        return values

    def _holdsCorrelations(self):
        """Tell whether the given 3DFSC holds correlations rather than mean cosines."""
        if self.anisoHolds != _AS_ITS_RUN_SAYS:
            return self.anisoHolds == _CORRELATIONS
        maker = self.inputFsc3D.getObjValue()
        return isinstance(maker, CryoDLProtFsc3D) and not maker.isMeanCosine()

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the corrected volume with its halves, the networks and the curves."""
        result = self.readResult()
        outputs = {"volume": self._makeVolume(result)}
        outputs.update(self._makeModels(result))
        if result.get("corrected_half2"):
            outputs["fscs"] = self._makeFscs(self._curves(result))
        if result.get("limit_resolution"):
            outputs["limitResolution"] = Float(result["limit_resolution"])
        mask = self._maskOf(result)
        if mask and self.inputMask.get() is None:
            outputs["mask"] = self._makeMask(mask)
        self._defineAll(
            outputs,
            [*self._halfMapPointers(), self.inputMask, self.inputReference, self.inputModel],
        )

    def _makeVolume(self, result):
        half1, half2 = result["corrected_half1"], result.get("corrected_half2")
        volume = Volume(objLabel="corrected")
        if half2:
            mean = self._getExtraPath("corrected.mrc")
            convert.averageMaps(half1, half2, mean)
            volume.setFileName(mean)
            volume.setHalfMaps([half1, half2])
        else:
            volume.setFileName(half1)
        volume.setSamplingRate(self.samplingRate())
        self._copyOrigin(volume)
        return volume

    def _makeModels(self, result):
        found = result.get("model")
        paths = found if isinstance(found, list) else [found, result.get("model_half2")]
        names = ("model", "modelHalf2")
        return {name: self._makeModel(path, result) for name, path in zip(names, paths) if path}

    def _makeModel(self, path, result):
        model = CryoDLModel(fileName=path, method=self._command)
        loss = result.get("loss")
        model.setTraining(
            version=result.get("version"),
            boxSize=convert.mapDimensions(result["corrected_half1"])[0],
            samplingRate=self.samplingRate(),
            epoch=self.epochs.get(),
            loss=loss if isinstance(loss, float) else None,
        )
        return model

    def _curves(self, result):
        mask = self._maskOf(result)
        values = self._inputParameters()
        after = "after" if self.independent.get() else "after (halves are correlated)"
        return {
            "before": self.fscOf(values["half1"], values["half2"], mask),
            after: self.fscOf(result["corrected_half1"], result["corrected_half2"], mask),
        }

    def _maskOf(self, result):
        if self.maskFrom == MASK_AUTOMATIC:
            return result.get("mask")
        return self._inputParameters().get("mask")

    # --- information -----------------------------------------------------------------------

    def _validate(self):
        errors = super()._validate()
        cube, tile = self.cubeSize.get(), self.predictCropSize.get()
        if cube and tile and tile < cube + _TILE_MARGIN_PX:
            errors.append(
                f"*Predict crop size*: found {tile}, expected at least cube size + "
                f"{_TILE_MARGIN_PX} = {cube + _TILE_MARGIN_PX}; enlarge it (expert level)."
            )
        batch, parts = self.batchSize.get(), self.accBatches.get()
        if batch and parts and batch % parts:
            errors.append(
                f"*Split batches into*: found {parts}, expected a divisor of the batch size "
                f"{batch}; change one of them."
            )
        if self.epochs.get() == 0 and self.method != _CLASSICAL and not self.modelPath():
            errors.append(
                "*Epochs*: found 0 without a network to apply; give one, or train for some epochs."
            )
        if self.inputFsc3D.get() is not None and self.fsc3DFile() is None:
            errors.append(
                "*3DFSC*: found a run without result, expected a finished one; run it first."
            )
        if self.inputFrom == INPUT_ONE_MAP and self.inputFsc3D.get() is None:
            errors.append(
                "*3DFSC*: found none, expected one: it cannot be computed from one map alone."
            )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        if not self.independent.get() and self.inputFrom != INPUT_ONE_MAP:
            warnings.append(
                "The network will see both half maps (*Keep halves independent: No*), so the "
                "corrected halves are correlated and their FSC is no measure of resolution. Set "
                "it to *Yes* for a gold-standard FSC."
            )
        return warnings

    def _summaryOf(self, result):
        lines = []
        if result.get("limit_resolution"):
            whose = "as asked for" if self.limitRes.get() else "what the best directions resolve"
            lines.append(f"Corrected up to *{result['limit_resolution']:.2f} Å*, {whose}.")
        if result.get("model"):
            lines.append(f"Trained for {self.epochs.get()} epochs{self._lossWords()}.")
        expected = result.get("expected_fsc_in_missing_directions")
        if expected is not None:
            lines.append(f"FSC to expect in the missing directions: *{expected:.2f}*.")
        lines += _truthWords(result)
        if result.get("corrected_half2") and not self.independent.get():
            lines.append("The corrected halves are correlated: no gold-standard FSC.")
        return lines + super()._summaryOf(result)

    def _lossWords(self):
        values = [row["loss"] for row in self.readMetrics() if "loss" in row]
        if len(values) < 2:
            return ""
        return f", loss from {values[0]:.3g} to *{values[-1]:.3g}*"

    def _methods(self):
        result = self.readResult()
        if not result:
            return []
        halves = "independently" if self.independent.get() else "together"
        words = (
            "The anisotropy of the half maps was corrected with cryodl "
            f"{result.get('version', '')}, method {self.getEnumText('method')}: halves {halves}"
        )
        if result.get("model"):
            words += f", {self.epochs.get()} epochs, network width {self.getEnumText('width')}"
        if self.method == _PUBLISHED:
            words += f", alpha {self.alpha.get():g}, beta {self.beta.get():g}"
        return [f"{words}."]

    def _citations(self):
        return ["Liu2025", "Tan2017"] if self.fsc3DFile() else ["Liu2025"]


def _truthWords(result):
    """Return what the comparison with a known structure says, where there was one."""
    before, after = result.get("truth_before"), result.get("truth_after")
    if not before or not after:
        return []
    words = []
    for side, where in (("inside", "badly"), ("outside", "well")):
        bands = ", ".join(
            f"{band} band {before[f'fsc_{side}_{band}']:.2f} to *{after[f'fsc_{side}_{band}']:.2f}*"
            for band in ("low", "high")
        )
        words.append(f"FSC with the known structure where {where} measured: {bands}.")
    return words

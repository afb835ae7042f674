"""What the refinement with misalignment correction refuses, asks, and tells about itself."""

from cryodl_plugin import convert
from cryodl_plugin.convert import misalign_results as results
from cryodl_plugin.convert.misalign_subtomograms import areStacks, ctfVolume, tiltRange
from cryodl_plugin.protocols import misalign_command as command
from cryodl_plugin.protocols.misalign_form import FALLBACK, REFERENCE_HALVES

_TOLERANCE = 1e-3


class MisalignChecks:
    """Validation, warnings, summary, methods; the protocol inherits it."""

    def _validate(self):
        return [
            *super()._validate(),
            *self._programErrors(),
            *self._inputErrors(),
            *self._settingErrors(),
        ]

    def _programErrors(self):
        errors = command.checkExtra(self.extraArguments.get())
        if self.processes() < command.FEWEST_PROCESSES:
            errors.append(
                f"*MPI*: found {self.processes()}, expected {command.FEWEST_PROCESSES} or more: "
                "RELION refines two half sets beside a leading process. An odd number is best."
            )
        if command.findRelion(self.relionEnviron()) is None:
            errors.append(
                f"RELION was not found: no {command.PROGRAM} of scipion-em-relion, and none on "
                "the PATH. Install RELION 3.1, 4.0 or 5.0 with MPI through *scipion3 installp -p "
                "scipion-em-relion*, or put its programs on the PATH before Scipion is started."
            )
        return errors

    def _inputErrors(self):
        particles, reference = self.inputParticles.get(), self.inputReference.get()
        if particles is None or reference is None:
            return []
        errors = self._gridErrors(particles)
        if self.referenceIs == REFERENCE_HALVES and not reference.hasHalfMaps():
            errors.append("*Reference*: found no half maps with it; take the volume itself.")
        if self.isTomography():
            return errors + self._subtomogramErrors(particles) + self._scaleErrors(particles)
        if self.doCtf and not particles.hasCTF():
            errors.append(
                "*Particles*: found no CTF; give particles with CTF, or do not correct it."
            )
        if particles.getAcquisition() is None or not particles.getAcquisition().getVoltage():
            errors.append("*Particles*: found no voltage, expected one; import them with it.")
        if self.localSearches and not (self.useAlignment and particles.hasAlignmentProj()):
            errors.append(
                "*Only search near given angles*: the particles give none, expected projection "
                "alignment and *Start from their alignment*."
            )
        return errors + self._scaleErrors(particles)

    def _subtomogramErrors(self, subtomograms):
        first, errors = subtomograms.getFirstItem(), []
        if areStacks(subtomograms):
            errors.append(
                "*Particles*: found stacks of tilt images, expected volumes; extract volumes."
            )
        if self.doCtf and not ctfVolume(first) and tiltRange(first, subtomograms) is None:
            errors.append(
                "*Particles*: found no tilt range with the subtomograms, expected one to know the "
                "missing wedge; give it when they are imported, or do not correct the CTF."
            )
        if self.localSearches and not (self.useAlignment and first.hasTransform()):
            errors.append(
                "*Only search near given angles*: the subtomograms give none, expected aligned "
                "ones and *Start from their alignment*."
            )
        return errors

    def _scaleErrors(self, particles):
        errors = []
        box = particles.getXDim() * particles.getSamplingRate()
        if self.diameter() > box * (1 + _TOLERANCE):
            errors.append(
                f"*Particle diameter*: found {self.diameter():g} Å, expected at most the box, "
                f"{box:g} Å."
            )
        nyquist = 2 * particles.getSamplingRate()
        if self.initialLowPass.get() and self.initialLowPass.get() < nyquist:
            errors.append(
                f"*Initial low-pass*: found {self.initialLowPass.get():g} Å, expected at least "
                f"{nyquist:g} Å, what the sampling allows."
            )
        return errors

    def _gridErrors(self, particles):
        box, sampling = particles.getXDim(), particles.getSamplingRate()
        errors = []
        for name, pointer in (
            ("Reference", self.inputReference),
            ("Mask", self.inputMask),
            ("Map to keep it of", self.inputLowRes),
        ):
            volume = pointer.get()
            if volume is None or (pointer is self.inputLowRes and not self.keepLowres):
                continue
            found = convert.mapDimensions(volume.getFileName())
            if found is None:
                errors.append(f"*{name}*: {volume.getFileName()} cannot be read.")
            elif set(found) != {box}:
                errors.append(
                    f"*{name}*: found a box of {' x '.join(map(str, found))}, expected {box} in "
                    "each direction, as the particles have; resample it."
                )
            given = volume.getSamplingRate()
            if given and abs(given - sampling) > _TOLERANCE * sampling:
                errors.append(
                    f"*{name}*: found {given:g} Å/px, expected {sampling:g} as the particles "
                    "have; resample it."
                )
        if box % 2:
            errors.append(f"*Particles*: found a box of {box} px; RELION needs an even one.")
        return errors

    def _settingErrors(self):
        errors = []
        batch, parts = self.batchSize.get(), self.accBatches.get()
        if batch and parts and batch % parts:
            errors.append(
                f"*Split batches into*: found {parts}, expected a divisor of the batch size "
                f"{batch}; change one of them."
            )
        if self.independent and not self.retrainEachIter:
            errors.append(
                "*Train anew in each iteration*: found No with *Keep halves independent*, "
                "expected Yes: networks of one half map are not handed on."
            )
        if self.healpixOrder.get() > self.localHealpixOrder.get() and not self.localSearches:
            errors.append(
                f"*Local searches from order*: found {self.localHealpixOrder.get()}, expected at "
                f"least the order at the start, {self.healpixOrder.get()}, unless RELION is to "
                "search near given angles only."
            )
        return errors

    def _warnings(self):
        warnings = super()._warnings()
        if self.processes() >= command.FEWEST_PROCESSES and self.processes() % 2 == 0:
            warnings.append(
                f"{self.processes()} MPI processes: one of them leads, so that one half set gets "
                "a process less than the other. An odd number is best."
            )
        if self.inputMask.get() is None:
            warnings.append(
                "Without a mask the solvent takes part in the resolution and in the correction, "
                "which both do better with one."
            )
        if self.isTomography():
            warnings.append("Subtomograms: this has been tried on very small data sets alone.")
        if self.onFailure == FALLBACK:
            warnings.append(
                "A correction that fails will not stop the refinement: look for *FAILED* in the "
                "log, or at *What the network did*."
            )
        return warnings

    # --- information -------------------------------------------------------------------------

    def _summary(self):
        table = results.readIterations(self.refineFolder())
        if not table:
            return ["Not started yet.", *self._commandLines()]
        last, lines = table[-1], []
        if hasattr(self, "resolution"):
            lines.append(
                f"Resolution at FSC 0.143: *{self.resolution.get():.2f} Å* after "
                f"{last.number} iterations."
            )
            if hasattr(self, "sphericity"):
                lines.append(f"Sphericity: *{self.sphericity.get():.2f}* (1 is isotropic).")
        else:
            lines.append(f"Iteration {last.number}: *{_angstrom(last.resolution)}*.")
        return [*lines, networkWords(table), *self._commandLines()]

    def _commandLines(self):
        try:
            text = self.commandText()
        except AttributeError:  # the inputs are not chosen yet
            return []
        call = text[text.index("mpirun") :].replace(" \\\n   ", "")
        return ["Command (its variables are in _extra/command.sh_):", call]

    def _methods(self):
        if not hasattr(self, "resolution"):
            return []
        table = results.readIterations(self.refineFolder())
        worked = [row.number for row in table if row.action == "network"]
        halves = "independently" if self.independent else "together"
        words = (
            f"{self.inputParticles.get().getSize()} particles were refined with RELION from a "
            f"reference low-passed to {self.initialLowPass.get():g} Å. "
        )
        if worked:
            words += (
                f"In {len(worked)} of {len(table)} iterations, from iteration {worked[0]} on, the "
                "half maps were corrected with spIsoNet as implemented in cryodl, method "
                f"{self.getEnumText('method')}, halves {halves}, {self.epochs.get()} epochs. "
            )
        words += f"The resolution at FSC 0.143 was {self.resolution.get():.2f} Å."
        return [words]

    def _citations(self):
        return ["Liu2025", "Zivanov2018"]


def networkWords(table):
    """Return a sentence on what the network did."""
    worked = [row.number for row in table if row.action == "network"]
    failed = [row.number for row in table if row.action in ("fallback", "failed")]
    if failed:
        return f"The correction *failed* in iterations {', '.join(map(str, failed))}."
    if worked:
        return (
            f"The network corrected the half maps in *{len(worked)}* of {len(table)} iterations, "
            f"from iteration {worked[0]} on."
        )
    reason = table[-1].reason
    return "The network has not worked" + (f": {reason}." if reason else ".")


def _angstrom(value):
    return "no resolution yet" if value is None else f"{value:.2f} Å"

"""Single-particle images with known truth, to try and to teach the refinement."""

import numpy as np
from pwem.objects import CTFModel, Particle, SetOfParticles, Transform, Volume
from pyworkflow.object import Integer

from cryodl_plugin.convert import particles_spa
from cryodl_plugin.protocols.protocol_simulate_tomography import CryoDLProtSimulation

_POSES_TRUE, _POSES_PERTURBED, _POSES_NONE = range(3)


class CryoDLProtSimulateParticles(CryoDLProtSimulation):
    """Simulate single-particle images whose poses and classes are known.

    Particles are turned, projected, and get contrast transfer function and noise. Views can prefer
    an axis of the particle, as in a thin layer of ice: then the map of a refinement is anisotropic,
    and its particles are drawn to the preferred views.

    *Outputs*: _particles_ with the CTF and with the poses that you let be known; _truth_, the
    density without noise (of the first class).

    *Hints*: a few hundred images in boxes of 48 px are refined in minutes on a processor. Real data
    are harder: there are no neighbours, no motion by the beam, no errors of the defocus here.
    """

    _label = "simulate particles"
    _command = "simulate particles"
    _possibleOutputs = {"particles": SetOfParticles, "truth": Volume}
    _recording = ("Optics", "Noise", "Grey values")

    @classmethod
    def _overrides(cls):
        """Return labels and conditions of the form by parameter."""
        perturbed = {"condition": f"poses=={_POSES_PERTURBED}"}
        return {**super()._overrides(), "poseError": perturbed, "shiftErrorPx": perturbed}

    def acquisition(self):
        """Return how the simulated images were recorded."""
        values = self.engineParameters()
        return particles_spa.makeAcquisition(
            values["voltage"], values["spherical_aberration"], values["amplitude_contrast"]
        )

    # --- outputs ---------------------------------------------------------------------------

    def createOutputStep(self, fingerprint):
        """Make the particles and the density that they show."""
        result = self.readResult()
        sampling = result["pixel_size_angstrom"]
        truth = Volume(objLabel="truth")
        truth.setFileName(self._firstReference(result))
        truth.setSamplingRate(sampling)
        self.define({"particles": self._particles(result["star"], sampling), "truth": truth})

    @staticmethod
    def _firstReference(result):
        return next(result[key] for key in sorted(result) if key.startswith("reference_class1"))

    def _particles(self, star, sampling):
        output = SetOfParticles.create(self._getPath())
        output.setSamplingRate(sampling)
        output.setAcquisition(self.acquisition())
        output.setHasCTF(self.ctf.get())
        known = self.poses.get() != _POSES_NONE
        if known:
            output.setAlignmentProj()
        micrographs = {}
        for row in particles_spa.starRows(star, "particles"):
            output.append(self._particle(row, sampling, micrographs, known))
        return output

    def _particle(self, row, sampling, micrographs, known):
        particle = Particle()
        number, _ = row.rlnImageName.split("@")
        particle.setLocation(int(number), self.enginePath("particles.mrcs"))
        particle.setSamplingRate(sampling)
        particle.setMicId(micrographs.setdefault(row.rlnMicrographName, len(micrographs) + 1))
        if self.ctf:
            model = CTFModel()
            model.setStandardDefocus(
                *(float(row.get(f"rlnDefocus{name}")) for name in ("U", "V", "Angle"))
            )
            particle.setCTF(model)
        if known:
            pose = particles_spa.rowPose(row)
            shift = np.array(pose.shiftAngstrom) / sampling
            particle.setTransform(
                Transform(matrix=particles_spa.poseMatrix(np.array(pose.angles), shift))
            )
        particle._rlnRandomSubset = Integer(int(float(row.rlnRandomSubset)))
        return particle

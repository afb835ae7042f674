"""Particles, finished refinements and a small real data set, for the tests of misalign."""

import os
import subprocess

import mrcfile
import numpy as np
from pwem.objects import Acquisition, CTFModel, Particle, SetOfParticles, Transform

from cryodl_plugin import convert
from cryodl_plugin.convert.misalign_subtomograms import wedge
from cryodl_plugin.convert.particles_spa import poseMatrix
from cryodl_plugin.protocols import CryoDLProtMisalignRefine
from cryodl_plugin.tests.fixtures import BOX, SAMPLING, PluginTest, blobs, directionalWeight

ENOUGH_SLOTS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
"""Lets three ranks run on two cores, and in a container."""


def views(number, seed=0):
    """Return random rot, tilt, psi in degrees, even over the sphere."""
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, number)))
    return np.stack([rng.uniform(-180, 180, number), tilt, rng.uniform(-180, 180, number)], 1)


def makeParticles(prot, stack, angles, shifts=None, sampling=SAMPLING, ctf=True, step=1):
    """Return a set of the images of a stack, with projection alignment; ids go up by `step`."""
    particles = SetOfParticles.create(prot._getPath())
    particles.setSamplingRate(sampling)
    acquisition = Acquisition(
        magnification=50000, voltage=300.0, sphericalAberration=2.7, amplitudeContrast=0.1
    )
    particles.setAcquisition(acquisition)
    particles.setHasCTF(ctf)
    particles.setAlignmentProj()
    shifts = np.zeros((len(angles), 2)) if shifts is None else shifts
    for i, (triple, shift) in enumerate(zip(angles, shifts)):
        particle = Particle()
        particle.setObjId(1 + i * step)
        particle.setLocation(i + 1, stack)
        particle.setMicId(1 + i % 4)
        if ctf:
            model = CTFModel()
            model.setStandardDefocus(15000.0 + i, 14000.0 + i, 30.0)
            particle.setCTF(model)
        particle.setTransform(Transform(matrix=poseMatrix(triple, shift)))
        particles.append(particle)
    return particles


def makeSubtomograms(prot, volume, angles, shifts, sampling=SAMPLING, tilts=(-60, 60), noise=0.0):
    """Return subtomograms of a volume in poses, with a missing wedge; ids are 5, 9, 13, ..."""
    from scipy.ndimage import affine_transform
    from tomo.objects import SetOfSubTomograms, SubTomogram, TomoAcquisition

    found = SetOfSubTomograms.create(prot._getPath())
    found.setSamplingRate(sampling)
    acquisition = TomoAcquisition(
        voltage=300.0, sphericalAberration=2.7, amplitudeContrast=0.1, magnification=1
    )
    acquisition.setAngleMin(tilts[0])
    acquisition.setAngleMax(tilts[1])
    found.setAcquisition(acquisition)
    rng, middle = np.random.default_rng(3), len(volume) // 2
    measured = np.fft.ifftshift(wedge(len(volume), *tilts))
    for i, (triple, shift) in enumerate(zip(angles, shifts)):
        pose = poseMatrix(triple, shift)
        # What is at r in the subtomogram is at M r in the reference; scipy counts z, y, x.
        turn, move = pose[2::-1, 2::-1], pose[2::-1, 3]
        offset = middle - turn @ np.full(3, middle) + move
        data = affine_transform(volume, turn, offset=offset, order=1)
        data = data + noise * volume.std() * rng.standard_normal(data.shape)
        data = np.fft.ifftn(np.fft.fftn(data) * measured).real
        item = SubTomogram()
        item.setObjId(5 + 4 * i)
        name = prot._getExtraPath(f"subtomogram{i}.mrc")
        outside = data[convert.sphereMask(len(data), 0.4 * len(data), 1) == 0]
        convert.writeMap(name, (data - outside.mean()) / outside.std(), sampling)
        item.setFileName(name)
        item.setSamplingRate(sampling)
        item.setVolName(f"tomogram{i % 3}")
        item.setAcquisition(acquisition)
        item.setTransform(Transform(matrix=pose))
        found.append(item)
    return found


def writeStack(path, images, sampling=SAMPLING):
    """Write images (n, y, x) as a stack."""
    with mrcfile.new(path, overwrite=True) as stack:
        stack.set_data(np.asarray(images, np.float32))
        stack.set_image_stack()
        stack.voxel_size = sampling


class MisalignTest(PluginTest):
    """The usual project, with particles on the grid of its maps."""

    @classmethod
    def makeSource(cls, box=BOX, sampling=SAMPLING):
        """Return the usual source with a set of 12 particles, whose ids have gaps."""
        prot = super().makeSource(box, sampling)
        stack = prot._getExtraPath("images.mrcs")
        writeStack(stack, np.random.default_rng(1).standard_normal((12, box, box)), sampling)
        shifts = np.random.default_rng(2).normal(0, 2, (12, 2))
        prot._defineOutputs(
            particles=makeParticles(prot, stack, views(12), shifts, sampling, step=3)
        )
        cls.proj._storeProtocol(prot)
        return prot

    @classmethod
    def refinement(cls, pointers=None, **values):
        """Return the protocol with particles, reference and mask."""
        given = {
            "inputParticles": (cls.source, "particles"),
            "inputReference": (cls.source, "volume"),
            "inputMask": (cls.source, "mask"),
            **(pointers or {}),
        }
        return cls.make(CryoDLProtMisalignRefine, given, **{"useGpu": False, **values})


def star(path, tables):
    """Write tables, name -> (columns, rows), or name -> dict of single values."""
    lines = ["# version 30001", ""]
    for name, content in tables.items():
        lines += [f"data_{name}", ""]
        if isinstance(content, dict):
            lines += [f"_{key} {value}" for key, value in content.items()]
        else:
            columns, rows = content
            lines += ["loop_", *(f"_{c} #{i}" for i, c in enumerate(columns, 1))]
            lines += [" ".join(map(str, row)) for row in rows]
        lines += ["", ""]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


LOG_COLUMNS = (
    "time,run,iteration,half,map,relion_version,healpix_order,resolution_0143,resolution_05,"
    "limit_resolution,gate,reason,action,role,weight,keep_lowres,sd_result,sd_relion,seconds,message"
)


def writeIteration(folder, number, ids, resolution, action="relion", final=False):
    """Write the files that RELION and the wrapper leave of an iteration, or of the final map."""
    root = os.path.join(folder, "run" if final else f"run_it{number:03d}")
    angles = views(len(ids), seed=number)
    columns = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    columns = ["rlnImageName", "rlnParticleId", *columns, "rlnRandomSubset"]
    rows = [
        (f"{i + 1:06d}@images.mrcs", key, *angles[i].round(4), 1.5, -2.5, 1 + i % 2)
        for i, key in enumerate(ids)
    ]
    star(f"{root}_data.star", {"particles": (columns, rows[::-1])})
    shells = np.arange(BOX // 2 + 1)
    curve = np.clip(1.2 - shells * resolution / (BOX * SAMPLING), 0, 1)
    fsc = [(k / (BOX * SAMPLING), value) for k, value in zip(shells, curve)]
    model = {
        "model_general": {"rlnCurrentResolution": resolution},
        "model_classes": (
            ["rlnAccuracyRotations", "rlnAccuracyTranslationsAngst"],
            [(20 / number, 9 / number)],
        ),
        "model_class_1": (["rlnResolution", "rlnGoldStandardFsc"], fsc),
    }
    if final:
        star(f"{root}_model.star", model)
        convert.writeMap(f"{root}_class001.mrc", blobs(seed=9), SAMPLING)
        for half in (1, 2):
            data = blobs(seed=half, noise=0.05)
            convert.writeMap(f"{root}_half{half}_class001_unfil.mrc", data, SAMPLING)
        return
    for half in (1, 2):
        star(f"{root}_half{half}_model.star", model)
        convert.writeMap(f"{root}_half{half}_class001.mrc", blobs(seed=half), SAMPLING)
    general = {"rlnChangesOptimalOrientations": 9 / number, "rlnChangesOptimalOffsets": 1.0}
    star(f"{root}_optimiser.star", {"optimiser_general": general})
    star(f"{root}_sampling.star", {"sampling_general": {"rlnHealpixOrder": 1 + number // 2}})
    _writeLog(folder, number, resolution, action)
    if action == "network":
        os.makedirs(f"{root}_spisonet", exist_ok=True)
        convert.writeMap(f"{root}_spisonet/weight.mrc", directionalWeight(), SAMPLING)


def _writeLog(folder, number, resolution, action):
    path = os.path.join(folder, "spisonet_log.csv")
    new = not os.path.exists(path)
    with open(path, "a", encoding="utf-8") as file:
        if new:
            file.write(LOG_COLUMNS + "\n")
        reason = "order 3 and 15 A reached" if action == "network" else "waits for order 3"
        for half, role in ((1, "worker for both halves"), (2, "waiter")):
            file.write(
                f"2026-01-01T00:00:00Z,run,{number},{half},class001,3.1.3,{1 + number // 2},"
                f"{resolution - 1},{resolution + 3},{resolution},open,{reason},{action},{role},"
                "min,0,0.2,0.3,12.5,\n"
            )


def finishedRefinement(test, number=6, final=True, **values):
    """Return a protocol whose refinement has gone so far, made without RELION."""
    prot = test.store(test.refinement(**values))
    folder = prot.refineFolder()
    os.makedirs(folder)
    ids = [particle.getObjId() for particle in prot.inputParticles.get()]
    for iteration in range(1, number + 1):
        action = "network" if iteration > number // 2 else "relion"
        writeIteration(folder, iteration, ids, 30.0 - 3 * iteration, action)
    if final:
        writeIteration(folder, number + 1, ids, 11.0, final=True)
        folder = prot.engineFolder()
        os.makedirs(folder)
        convert.writeMap(os.path.join(folder, "fsc3d.mrc"), directionalWeight(), SAMPLING)
        result = '{"fsc3d": "fsc3d.mrc", "files": ["fsc3d.mrc"], "sphericity": 0.8}'
        with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
            file.write(result)
        prot.createOutputStep("x", "y")
    test.proj._storeProtocol(prot)
    return prot


def runRelion(*words, folder):
    """Run a small program of RELION's."""
    subprocess.run(words, cwd=folder, check=True, capture_output=True)

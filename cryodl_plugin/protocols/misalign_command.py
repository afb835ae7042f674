"""The command of a RELION refinement that calls relion_wrapper: built, checked and shown."""

import os
import shlex
from importlib.util import find_spec

PROGRAM = "relion_refine_mpi"
WRAPPER = "relion_wrapper"
EXECUTABLE = "RELION_EXTERNAL_RECONSTRUCT_EXECUTABLE"
FEWEST_PROCESSES = 3

_LINE_WIDTH = 88
_TAIL_BYTES = 50000
_SYSTEM_CALL = "something wrong with system call"  # RELION's echo of the correction's failure

_BY_THE_FORM = "the form decides it"
_NO_HALF_MAPS = "it leaves no half maps to correct"
_OTHER_JOB = "it is for another kind of job"
_REFUSED = {
    "--blush": "with it RELION never calls the correction",
    **dict.fromkeys(
        ("--grad", "--sgd", "--stochastic_em", "--denovo_3dref", "--skip_maximize"), _NO_HALF_MAPS
    ),
    **dict.fromkeys(
        ("--K", "--iter", "--tau", "--multibody_masks", "--reconstruct_subtracted_bodies"),
        _OTHER_JOB,
    ),
    **dict.fromkeys(
        (
            *("--i", "--ios", "--tomograms", "--o", "--ref", "--continue", "--auto_refine"),
            *("--split_random_halves", "--external_reconstruct", "--force_converge", "--gpu"),
            *("--j", "--solvent_mask", "--sym", "--ini_high", "--particle_diameter", "--ctf"),
        ),
        _BY_THE_FORM,
    ),
}


def relionPlugin():
    """Return the Plugin class of scipion-em-relion, or None where it is not installed."""
    if find_spec("relion") is None:
        return None
    from pyworkflow import Config

    return Config.getDomain().importFromPlugin("relion", "Plugin")


def relionEnvironment(environment):
    """Return the environment of RELION: of its Scipion plugin, else the one given.

    Parameters
    ----------
    environment : pyworkflow.utils.Environ
        That of the engine: without what belongs to Scipion's own Python, for RELION hands its
        environment on to relion_wrapper.
    """
    plugin = relionPlugin()
    if plugin is None:
        return environment
    found = plugin.getEnviron()
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP"):
        if name not in environment:
            found.pop(name, None)
    return found


def findRelion(environment):
    """Return the path of relion_refine_mpi, or None."""
    import shutil

    return shutil.which(PROGRAM, path=environment.get("PATH"))


def wrapperText(python, activation, scriptPath):
    """Return what RELION is to call, as the shell will read it.

    The program lies beside the interpreter. An interpreter without it runs it as a module; an
    environment that has to be activated gets a script that does so.
    """
    beside = os.path.join(os.path.dirname(os.path.abspath(python)), WRAPPER)
    if activation:
        return shlex.quote(os.path.abspath(scriptPath))
    if os.path.exists(beside):
        return shlex.quote(beside)
    return f"{shlex.quote(python)} -m cryodl.{WRAPPER}"


def writeWrapperScript(path, python, activation):
    """Write the script that activates the engine's environment and runs the wrapper."""
    program = f"{shlex.quote(python)} -m cryodl.{WRAPPER}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/bash\n{activation} && exec {program} "$@"\n')
    os.chmod(path, 0o755)


def checkExtra(text):
    """Return what is wrong with additional arguments for RELION, as a list of messages."""
    try:
        words = shlex.split(text or "")
    except ValueError:
        return [f"*Additional arguments*: a quotation mark in '{text}' is not closed; close it."]
    errors = []
    for word in words:
        reason = _refusal(word.partition("=")[0])
        if reason:
            errors.append(
                f"*Additional arguments*: found {word}, which does not go together with the "
                f"correction: {reason}; take it out."
            )
    if words and not words[0].startswith("-"):
        errors.append(
            f"*Additional arguments*: found '{words[0]}', expected options such as "
            "--skip_gridding; correct it."
        )
    return errors


def _refusal(option):
    for family in ("--blush", "--grad", "--sgd"):  # with options of their own, --sgd_ini_iter
        if option.startswith(family):
            option = family
    return _REFUSED.get(option)


def startArguments(prot, machine=True):
    """Return the arguments that begin a refinement, as a list of words.

    Without `machine`: only those that decide the result.
    """
    words = ["--o", prot.relionRoot(), "--auto_refine", "--split_random_halves"]
    words += ["--i", prot.particlesFile(), "--ref", prot.referenceFile()]
    words += ["--ref_angpix", _text(prot.samplingRate())]
    words += ["--ini_high", _text(prot.initialLowPass.get())]
    words += ["--particle_diameter", _text(prot.diameter())]
    words += ["--sym", prot.symmetry.get().strip() or "C1", "--flatten_solvent", "--norm"]
    words += ["--scale", "--oversampling", "1"]
    words += ["--healpix_order", str(prot.healpixOrder.get())]
    words += ["--auto_local_healpix_order", str(prot.localHealpixOrder.get())]
    words += ["--offset_range", _text(prot.offsetRange.get())]
    words += ["--offset_step", _text(prot.offsetStep.get())]
    words += ["--low_resol_join_halves", _text(prot.joinHalves.get())]
    words += ["--pad", "1" if prot.skipPadding else "2"]
    words += ["--random_seed", str(prot.seed.get() + 1)]  # 0 would leave the order of particles
    if prot.maskFile():
        words += ["--solvent_mask", prot.maskFile()]
        words += ["--solvent_correct_fsc"] if prot.solventFsc else []
    for wanted, option in (
        (prot.zeroMask, "--zero_mask"),
        (not prot.absoluteGreyscale, "--firstiter_cc"),
        (prot.doCtf, "--ctf"),
        (prot.doCtf and prot.ignoreFirstPeak, "--ctf_intact_first_peak"),
        (prot.finerFaster, "--auto_ignore_angles --auto_resol_angles"),
    ):
        words += option.split() if wanted else []
    if prot.localSearches:
        words += ["--sigma_ang", _text(prot.localSigma.get())]
    return words + _everyTime(prot) + _limit(prot) if machine else words


def continueArguments(prot, optimiser, converge=False):
    """Return the arguments that go on from an optimiser file; see `startArguments`.

    Parameters
    ----------
    prot : Protocol
        Whose form is filled in.
    optimiser : str
        ``run_itNNN_optimiser.star``.
    converge : bool
        Make the final map of all particles in one more iteration.
    """
    words = ["--continue", optimiser, "--o", prot.relionRoot()]
    if converge:
        return [*words, "--force_converge", *_everyTime(prot)]
    return words + _everyTime(prot) + _limit(prot)


def _everyTime(prot):
    """Return what is said at the start and when continuing: RELION 4.0.2 on forgets the first."""
    words = ["--external_reconstruct", "--dont_combine_weights_via_disc"]
    words += ["--pool", str(prot.pool.get()), "--j", str(max(prot.numberOfThreads.get() or 1, 1))]
    words += ["--preread_images"] if prot.preread else []
    words += ["--scratch_dir", prot.scratchFolder.get()] if prot.scratchFolder.get() else []
    words += ["--gpu", ""] if prot.usesGpu() and prot.relionOnGpu else []
    return words + shlex.split(prot.extraArguments.get() or "")


def _limit(prot):
    return ["--auto_iter_max", str(prot.maxIterations.get())] if prot.maxIterations.get() else []


def _text(number):
    return f"{number:g}"


def shellArguments(variables, words):
    """Return the arguments for ``env``: variables, then RELION with its arguments.

    Through ``env`` the variables reach every rank on every node, whatever MPI is in use.
    """
    given = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " ".join([*given, PROGRAM, *map(shlex.quote, words)])


def readable(variables, words, processes):
    """Return the whole command over several lines, to be read or pasted into a terminal."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    call = f"mpirun -np {processes} {PROGRAM}"
    current = call
    for word in _pairs(words):
        if len(current) + len(word) > _LINE_WIDTH:
            lines.append(f"{current} \\")
            current = "   "
        current += f" {word}"
    return "\n".join([*lines, current])


def _pairs(words):
    """Join each option with its values, so that no line ends between them."""
    found = []
    for word in map(shlex.quote, words):
        if word.startswith("--") or not found:
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found


def explainFailure(logs, before):
    """Return why RELION stopped: the correction's own line, else RELION's, else an empty text.

    Parameters
    ----------
    logs : list of str
        Files to look in.
    before : dict
        How long each was before this run.
    """
    lines = [line for path in logs for line in _newLines(path, before.get(path, 0))]
    for marker in ("spIsoNet: ERROR:", "ERROR:"):
        for line in reversed(lines):
            if marker in line and _SYSTEM_CALL not in line:
                return line[line.index(marker) :].strip()
    return ""


def _newLines(path, start):
    try:
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return []

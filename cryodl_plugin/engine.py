"""Run an engine command from a protocol: one JSON file in, `result.json` out."""

import glob
import json
import logging
import os
import re
import shlex
import shutil
from subprocess import CalledProcessError

from pyworkflow.utils import getListFromRangeString

from cryodl_plugin.constants import ENGINE, VOID_GPU

logger = logging.getLogger(__name__)

_FINGERPRINT_FILE = "fingerprint.txt"
_TAIL_BYTES = 20000
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STATUS = {
    1: "an internal error of the engine",
    2: "bad input or settings",
    3: "the device, memory or disk does not suffice",
    4: "the computation went numerically wrong",
    -9: "the process was killed, most often for lack of memory",
    137: "the process was killed, most often for lack of memory",
}


class EngineError(Exception):
    """The engine said no; the message is its own one line."""


def runEngine(plugin, protocol, command, parameters, folder, gpu=False):
    """Run ``cryodl COMMAND --config FILE --output FOLDER`` and return the result.

    Parameters
    ----------
    plugin : type
        The Plugin class: interpreter, environment, activation.
    protocol : Protocol
        Whose step this is; the command goes through its ``runJob``.
    command : str
        For example ``spisonet correct``.
    parameters : dict
        Engine parameters by their own names.
    folder : str
        Output folder of the engine, relative to the project; a run in it is gone on with.
    gpu : bool
        False computes on the CPU whatever the form says.

    Returns
    -------
    dict
        ``result.json``, with the path of every file made relative to the project.

    Raises
    ------
    EngineError
        One line: what the engine found, expected, and what to do.
    """
    configFile = f"{folder}.json"
    writeConfig(configFile, parameters)
    program, arguments = buildCommand(plugin, protocol, command, configFile, folder, gpu)
    before = _logSizes(protocol)
    try:
        protocol.runJob(
            program,
            arguments,
            env=plugin.getEnviron(),
            numberOfMpi=1,
            numberOfThreads=1,
            executable="/bin/bash",  # "conda activate" and "module load" are unknown to plain sh
        )
    except CalledProcessError as error:
        raise EngineError(explainFailure(protocol, error.returncode, before)) from None
    try:
        return readResult(folder)
    except EngineError as error:  # a job in a queue can fail without the queue saying so
        raise EngineError(_saidByEngine(protocol, before) or str(error)) from None


def buildCommand(plugin, protocol, command, configFile, folder, gpu):
    """Return program text and arguments for ``runJob``."""
    prefix, devices = deviceChoice(protocol, gpu)
    python = shlex.quote(plugin.getEnginePython())
    activation = plugin.getEnvActivation()
    program = f"{python} -u -m {ENGINE} {command}"
    arguments = (
        f"--config {shlex.quote(configFile)} --output {shlex.quote(folder)} --devices {devices}"
    )
    if os.path.isdir(folder):
        arguments += " --resume"
    if "%(GPU)s" in prefix:
        # Scipion fills the placeholder with the % operator: every other % has to be doubled.
        program, activation = program.replace("%", "%%"), activation.replace("%", "%%")
        arguments = arguments.replace("%", "%%")
    before = f"{activation} && " if activation else ""
    return f"{before}{prefix}{program}", arguments


def deviceChoice(protocol, gpu):
    """Return what comes before the program, and the value of ``--devices``.

    GPUs are hidden from, or shown to, the engine by CUDA_VISIBLE_DEVICES, which it counts from 0.
    In a queue the scheduler has chosen the cards and set that variable already.
    """
    if not (gpu and protocol.usesGpu()):
        return "CUDA_VISIBLE_DEVICES= ", "cpu"
    executor = getattr(protocol, "_stepsExecutor", None)
    ids = list((executor.getGpuList() if executor else None) or protocol.getGpuList())
    devices = ",".join(str(index) for index in range(len(ids)))
    if protocol.useQueue():
        return "", devices
    return "CUDA_VISIBLE_DEVICES=%(GPU)s ", devices


def checkGpuList(text):
    """Return what is wrong with a list of GPU ids, as a list of messages."""
    try:
        ids = getListFromRangeString(text or "")
    except ValueError:
        return [f"*GPU IDs*: found '{text}', expected numbers such as 0, 0 1 or 0-3."]
    if not ids:
        return ["*GPU IDs*: found nothing, expected numbers such as 0; or choose not to use a GPU."]
    if VOID_GPU in ids:
        return [f"*GPU IDs*: found {VOID_GPU}, which stands for no GPU; choose not to use a GPU."]
    if len(set(ids)) < len(ids) or min(ids) < 0:
        return [f"*GPU IDs*: found '{text}', expected each GPU once, counted from 0."]
    return []


def hasGpuDevice():
    """Tell, without asking any driver, whether this computer seems to have an NVIDIA device."""
    return any(map(os.path.exists, ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")))


def writeConfig(path, parameters):
    """Write parameters as JSON, by rename, so that no half-written file is ever read."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(parameters, file, indent=1, sort_keys=True)
    os.replace(temporary, path)


def readResult(folder):
    """Return the run's ``result.json`` with its files relative to the project, not the folder."""
    path = os.path.join(folder, "result.json")
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: the run left no result ({error})") from None
    files = set(result.get("files", []))
    for key, value in result.items():
        if isinstance(value, str) and value in files:
            result[key] = os.path.join(folder, value)
        elif isinstance(value, list) and value and files.issuperset(map(str, value)):
            result[key] = [os.path.join(folder, name) for name in value]
    return result


def belongsTo(folder, fingerprint):
    """Tell whether the run in a folder was made with the settings of this fingerprint."""
    try:
        with open(os.path.join(os.path.dirname(folder), _FINGERPRINT_FILE)) as file:
            return file.read().strip() == fingerprint
    except OSError:
        return False


def noteFingerprint(folder, fingerprint):
    """Note with which settings the run in a folder is made."""
    with open(os.path.join(os.path.dirname(folder), _FINGERPRINT_FILE), "w") as file:
        file.write(fingerprint + "\n")


def removeRun(folder):
    """Remove an engine's run: nothing of it may be mistaken for the next one's."""
    shutil.rmtree(folder, ignore_errors=True)


def explainFailure(protocol, status, before=None):
    """Return the engine's last ``error:`` line, or what its exit status means."""
    meaning = _STATUS.get(status, "see the output log")
    return _saidByEngine(protocol, before) or f"cryodl ended with status {status}: {meaning}"


def _saidByEngine(protocol, before):
    for path in _logFiles(protocol):
        line = _lastErrorLine(path, (before or {}).get(path, 0))
        if line:
            return line
    return ""


def _logFiles(protocol):
    """Return the logs that may hold the engine's words: the run's own, and those of queue jobs."""
    first = [protocol.getStderrLog(), protocol.getStdoutLog()]
    logs = os.path.dirname(first[0])
    jobs = [name for end in ("err", "out") for name in glob.glob(os.path.join(logs, f"*.{end}"))]
    return first + sorted(set(jobs) - set(first), key=os.path.getmtime, reverse=True)


def _logSizes(protocol):
    return {path: os.path.getsize(path) for path in _logFiles(protocol) if os.path.exists(path)}


def _lastErrorLine(path, start):
    try:
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            file.seek(max(start if start <= size else 0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        line = _ANSI.sub("", line).strip()
        if line.startswith("error:"):
            return line[len("error:") :].strip()
    return ""

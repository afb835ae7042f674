"""Scipion plugin of cryodl: deep learning for cryo-EM and cryo-ET."""

import os
import shlex

import pwem
from pyworkflow import VarTypes
from pyworkflow.utils import Environ

from cryodl_plugin.constants import (
    CRYODL_ENGINE_SOURCE,
    CRYODL_ENV_ACTIVATION,
    CRYODL_PYTHON,
    ENGINE,
    ENGINE_VERSION,
)

__version__ = "0.1.0"
_logo = "icon.png"
_references = ["Liu2025", "Huang2022"]

# What Scipion's Python was started with must not reach another one. Scipion's own argument for
# this (vars) would take everything else away too: PATH, HOME, the settings of pip and of proxies.
_OWN_PYTHON = "unset PYTHONPATH PYTHONHOME PYTHONUSERBASE; "
_FIND_PYTHON = (
    "for p in python3.12 python3.11 python3.10 python3; do "
    "command -v $p >/dev/null && "
    "$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null "
    "&& break; p=; done; "
    '[ -n "$p" ] || { echo "No Python 3.10 or newer with venv was found" >&2; exit 1; }; '
)
"""Shell text that leaves in $p a Python new enough for the engine: Scipion's own may be too old."""


class Plugin(pwem.Plugin):
    """Variables, environment and installation of the engine, and the way protocols run it."""

    _homeVar = ""
    _pathVars = []
    _supportedVersions = [ENGINE_VERSION]
    _url = ""

    @classmethod
    def _defineVariables(cls):
        cls._defineVar(
            CRYODL_PYTHON,
            "",
            description="Python interpreter that has the cryodl engine. Empty: the environment "
            "made by 'scipion installb cryodl' if there is one, else the Python running Scipion.",
            var_type=VarTypes.PATH,
        )
        cls._defineVar(
            CRYODL_ENV_ACTIVATION,
            "",
            description="Shell command to run before the engine, for example 'module load cuda' or "
            "'conda activate cryodl'. Empty for none.",
            var_type=VarTypes.STRING,
        )
        cls._defineVar(
            CRYODL_ENGINE_SOURCE,
            "",
            description="Where 'scipion installb cryodl' takes the engine from: a folder, a wheel, "
            "or empty for the Python package index.",
            var_type=VarTypes.PATH,
        )

    @classmethod
    def getInstalledPython(cls):
        """Return where defineBinaries puts the engine's interpreter."""
        folder = f"{ENGINE}-{ENGINE_VERSION}"
        return os.path.join(pwem.Config.EM_ROOT, folder, "env", "bin", "python")

    @classmethod
    def getEnginePython(cls):
        """Return the interpreter that runs the engine."""
        from cryodl_plugin.interpreter import chooseInterpreter

        return chooseInterpreter(
            cls.getVar(CRYODL_PYTHON), cls.getEnvActivation(), cls.getInstalledPython()
        )

    @classmethod
    def getEnvActivation(cls):
        """Return the shell text that comes before the engine, or an empty text."""
        return (cls.getVar(CRYODL_ENV_ACTIVATION) or "").strip().rstrip(";&").strip()

    @classmethod
    def getEnviron(cls):
        """Return the environment of the engine, clean of what belongs to Scipion's own Python."""
        from cryodl_plugin.interpreter import isScipionPython

        environ = Environ(os.environ)
        if cls.getEnvActivation() or not isScipionPython(cls.getEnginePython()):
            for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP"):
                environ.pop(name, None)
            environ["LD_LIBRARY_PATH"] = ""
        return environ

    @classmethod
    def getActiveVersion(cls, home=None, versions=None):
        """Return the version of the engine that would run, or an empty text."""
        from cryodl_plugin.interpreter import findEngine

        return findEngine(cls.getEnginePython(), cls.getEnvActivation(), cls.getEnviron()).version

    @classmethod
    def validateInstallation(cls):
        """Return what keeps the engine from running; quick, and kept once all is well."""
        from cryodl_plugin.interpreter import findEngine

        found = findEngine(cls.getEnginePython(), cls.getEnvActivation(), cls.getEnviron())
        if not found.problem:
            return []
        return [
            f"The cryodl engine cannot be run: {found.problem}",
            "Install it with *scipion3 installb cryodl*, or set in the Scipion configuration "
            f"*{CRYODL_PYTHON}* to the Python of an environment that has it.",
        ]

    @classmethod
    def defineBinaries(cls, env):
        """Declare how to make the engine's environment: a venv, no conda needed."""
        source = cls.getVar(CRYODL_ENGINE_SOURCE)
        what = f"{ENGINE}=={ENGINE_VERSION}"
        if source:
            what = shlex.quote(os.path.abspath(os.path.expanduser(source)))
        python = os.path.join("env", "bin", "python")
        env.addPackage(
            ENGINE,
            version=ENGINE_VERSION,
            tar="void.tgz",
            commands=[
                (f'{_OWN_PYTHON}{_FIND_PYTHON}"$p" -m venv env', python),
                (
                    f"{_OWN_PYTHON}{python} -m pip install --upgrade pip && "
                    f"{python} -m pip install {what}",
                    os.path.join("env", "bin", ENGINE),
                ),
            ],
            neededProgs=[],
            default=True,
        )

    @classmethod
    def runEngine(cls, protocol, command, parameters, folder, gpu=False):
        """Run an engine command from a protocol's step and return its result.

        See `cryodl_plugin.engine.runEngine`.
        """
        from cryodl_plugin.engine import runEngine

        return runEngine(cls, protocol, command, parameters, folder, gpu=gpu)

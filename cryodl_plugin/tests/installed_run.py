"""Run by the tests of installation in the Python of a fresh environment: one protocol, launched.

python installed_run.py    prints one line of JSON: versions, interpreter, status, error, box
"""

import json
import os
import sys


def main():
    """Launch the simulation in a new project and say what came out."""
    from pyworkflow import Config
    from pyworkflow.project import Manager

    Config.getDomain().getPlugins()
    import cryodl_plugin
    from cryodl_plugin.protocols import CryoDLProtSimulateHalfMaps

    project = Manager().createProject("installed")
    os.chdir(project.path)
    prot = project.newProtocol(CryoDLProtSimulateHalfMaps, boxSizePx=32)
    project.launchProtocol(prot, wait=True)
    prot = project.getProtocol(prot.getObjId(), fromRuns=True)
    plugin = cryodl_plugin.Plugin
    report = {
        "plugin": cryodl_plugin.__file__,
        "interpreter": plugin.getEnginePython(),
        "engine": plugin.getActiveVersion(),
        "problems": plugin.validateInstallation(),
        "status": prot.getStatus(),
        "error": prot.getErrorMessage(),
        "box": list(prot.volume.getDim()) if prot.isFinished() else [],
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()

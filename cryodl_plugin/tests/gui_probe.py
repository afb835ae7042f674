"""Open Scipion's windows of this plugin one after the other, in a process of its own.

    python -m cryodl_plugin.tests.gui_probe PROJECT.json

The file names the project and what to open; one line a window goes to standard output. An
exception in a callback of Tk ends the process with status 3. Needs a display, such as Xvfb.
"""

import json
import os
import sys
import time
import tkinter as tk
import traceback

from pyworkflow import Config
from pyworkflow.gui import dialog
from pyworkflow.gui.project import ProjectWindow  # before form: the two import each other

from pyworkflow.gui.form import FormWindow  # isort: skip
from pyworkflow.project import Manager

_DIALOG_MILLISECONDS = 400
_PATIENCE_SECONDS = 30


def failLoudly(*error):
    """End the process: Tk would only show a dialog."""
    traceback.print_exception(*error)
    os._exit(3)


def nothing(*args, **kwargs):
    """Stand in for the callbacks of the project window."""


def openForm(master, prot):
    """Return the form of a protocol, drawn."""
    form = FormWindow(prot.getClassName(), prot, nothing, master, updateProtocolCallback=nothing)
    form.root.report_callback_exception = failLoudly
    form.root.update()
    return form


def probeForm(master, prot):
    """Open a form, look at every parameter at expert level, and close it."""
    form = openForm(master, prot)
    widgets = len(form.widgetDict)
    form.root.update()
    form.root.destroy()
    return widgets


def probeWizard(master, prot, name):
    """Open a form, fire a wizard, press Select, and return the parameter's value."""
    form = openForm(master, prot)
    wizard = Config.getDomain().findWizards(prot, "tkinter")[name]
    until = time.monotonic() + _PATIENCE_SECONDS

    def select():
        windows = [w for w in allChildren(form.root) if isinstance(w, dialog.Dialog)]
        # A dialog grabs the input once it is complete; pressed before, it breaks.
        if windows and windows[-1].grab_status():
            windows[-1].update()
            if hasattr(windows[-1], "tree"):
                windows[-1].tree.selectChildByIndex(0)
            windows[-1]._handleResult(dialog.RESULT_YES)
        elif time.monotonic() < until:
            form.root.after(_DIALOG_MILLISECONDS, select)
        else:
            failLoudly(TimeoutError, TimeoutError(f"no window of the wizard of {name}"), None)

    form.root.after(_DIALOG_MILLISECONDS, select)
    wizard().show(form, name)
    value = form.widgetDict[name].get()
    form.root.destroy()
    return value


def allChildren(widget):
    """Return a widget's children and theirs."""
    found = list(widget.winfo_children())
    return found + [child for one in found for child in allChildren(one)]


def probeViewer(master, project, prot, name):
    """Open a protocol viewer and all its figures; return the titles of their windows."""
    viewer = Config.getDomain().getViewers()[name](project=project, protocol=prot, parent=master)
    viewer.setProtocol(prot)
    viewer._tkRoot = master.root
    form = FormWindow(name, viewer, nothing, master, visualizeDict={}, visualizeMode=True)
    form.root.update()
    titles = []
    for view in (view for call in viewer._getVisualizeDict().values() for view in call()):
        if not hasattr(view, "figure"):
            continue
        view.show()
        view.window.report_callback_exception = failLoudly
        for widget in allChildren(view.window):
            if isinstance(widget, (tk.Radiobutton, tk.Checkbutton)):
                widget.invoke()
                view.window.update()
        if hasattr(view, "_tick"):
            view._tick()
        view.window.update()
        titles.append(view.window.title())
        view.window.destroy()
    form.root.destroy()
    return titles


def main():
    """Open what the file asks for."""
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = json.load(file)
    tk.Tk.report_callback_exception = failLoudly
    Config.getDomain().getPlugins()
    project = Manager().loadProject(jobs["project"])
    os.chdir(project.path)
    master = ProjectWindow(project.path)
    master.root.report_callback_exception = failLoudly
    project = master.project
    project.getRuns()
    for kind, key, *rest in jobs["windows"]:
        prot = project.getProtocol(key, fromRuns=True)
        if kind == "form":
            answer = probeForm(master, prot)
        elif kind == "wizard":
            answer = probeWizard(master, prot, *rest)
        else:
            answer = probeViewer(master, project, prot, *rest)
        sys.stdout.write(f"{json.dumps([kind, key, *rest, answer])}\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

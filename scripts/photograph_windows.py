"""Write docs/windows.md: what Analyze Results and the wizards show, photographed in finished runs.

    python scripts/photograph_windows.py FOLDER [PROJECT] [PART OF A CLASS NAME]

FOLDER is that of a demonstration, `demo_output` after `make demo`. Every viewer and every wizard of
each protocol is opened once on a virtual screen (Xvfb, ImageMagick).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from photographs import (
    PICTURES,
    ROOT,
    descendants,
    form_of,
    join,
    leave,
    on_virtual_screen,
    photograph,
    project_window,
    put_in_front,
    settle,
)
from run_demo import PROJECT, prepare_scipion

PAGE = ROOT / "docs" / "windows.md"
HEAD = """# All windows

<!-- Written by scripts/photograph_windows.py in the project of a demonstration: do not edit. -->

What *Analyze Results* and the wands of the forms show, in the project that `make demo` leaves
behind. [Viewers](viewers.md) says what can be done in the larger ones.
"""
_DIALOG_MILLISECONDS = 2500


def main(arguments: list[str]) -> int:
    """Photograph the windows of a project, then write the page."""
    status = on_virtual_screen()
    if status is not None:
        return status
    root = Path(arguments[0]).resolve()
    name = arguments[1] if len(arguments) > 1 else PROJECT
    wanted = arguments[2] if len(arguments) > 2 else "CryoDLProt"
    prepare_scipion(root / "scipion")
    from pyworkflow import Config
    from pyworkflow.project import Manager

    Config.getDomain().getPlugins()
    window = project_window(Manager().getProjectPath(name))
    seen = set()
    for run in window.project.getRuns():
        name = type(run).__name__
        if name.startswith("CryoDLProt") and run.isFinished() and name not in seen:
            seen.add(name)
            if wanted in name:
                photograph_run(window, run)
    PAGE.write_text(page(), encoding="utf-8")
    leave()
    return 0


def photograph_run(window: Any, run: Any) -> None:
    """Save what the viewers and wizards of one run show."""
    from pyworkflow import Config

    name = type(run).__name__
    for viewer in Config.getDomain().getViewers().values():
        if type(run) in viewer._targets and hasattr(viewer, "_getVisualizeDict"):
            for title, picture in figures_of(window, run, viewer):
                say(f"{name}: {title}")
                join([picture], PICTURES / "windows" / f"{name}.{slug(title)}.png")
    for parameter, wizard in Config.getDomain().findWizards(run, "tkinter").items():
        picture = PICTURES / "windows" / f"{name}.wizard_{parameter}.png"
        if wizard.__name__.startswith("CryoDL"):
            say(f"{name}: wizard of {parameter}")
            photograph_wizard(window, run, parameter, wizard, picture)


def figures_of(window: Any, run: Any, viewer_class: Any) -> Iterator[tuple[str, Path]]:
    """Yield title and picture of each window that a viewer of a run opens."""
    viewer = viewer_class(project=window.project, protocol=run, parent=window)
    viewer.setProtocol(run)
    viewer._tkRoot = window.root
    form = form_of(window, viewer, visualizeDict=viewer._getVisualizeDict(), visualizeMode=True)
    part = PICTURES / "windows" / "part.png"
    photograph(form.root, part)
    yield "menu", part
    for call in viewer._getVisualizeDict().values():
        for view in call():
            if not hasattr(view, "figure"):
                continue
            view.show()
            put_in_front(view.window)
            photograph(view.window, part)
            title = view.window.title().partition(" - ")[0]
            view.window.destroy()
            yield title, part
    form.root.destroy()


def photograph_wizard(window: Any, run: Any, parameter: str, wizard: Any, picture: Path) -> None:
    """Fire a wizard in the form of a run, save its dialog, and press Cancel."""
    from pyworkflow.gui import dialog

    form = form_of(window, run)

    def shoot() -> None:
        dialogs = [one for one in descendants(form.root) if isinstance(one, dialog.Dialog)]
        if not dialogs:
            form.root.after(_DIALOG_MILLISECONDS, shoot)
            return
        if not isinstance(dialogs[-1], dialog.MessageDialog):  # it asks for an input first
            dialogs[-1].geometry("+0+0")
            dialogs[-1].lift()
            settle(dialogs[-1])
            part = picture.with_suffix(".part.png")
            photograph(dialogs[-1], part)
            join([part], picture)
        dialogs[-1]._handleResult(dialog.RESULT_CANCEL)

    form.root.after(_DIALOG_MILLISECONDS, shoot)
    wizard().show(form, parameter)
    form.root.destroy()


def slug(title: str) -> str:
    """Return a title as the part of a file name."""
    words = "".join(c if c.isalnum() else " " for c in title.lower()).split()
    return "_".join(words)


def page() -> str:
    """Return the text of the page: all pictures there are, by protocol."""
    from pyworkflow import Config

    protocols = Config.getDomain().getProtocols()
    parts, last = [HEAD], ""
    for picture in sorted((PICTURES / "windows").glob("*.png"), key=in_order):
        name, what = picture.stem.split(".", 1)
        if name != last:
            parts.append(f"\n## {protocols[name].getClassLabel()}\n")
            last = name
        words = caption(protocols[name], what)
        parts.append(f"{words}:\n\n![{words}](pictures/windows/{picture.name})\n")
    return "\n".join(parts)


def in_order(picture: Path) -> tuple[str, int, str]:
    """Return the key that puts the list of windows first and wizards last."""
    name, what = picture.stem.split(".", 1)
    return name, 0 if what == "menu" else 2 if what.startswith("wizard_") else 1, what


def caption(protocol: Any, what: str) -> str:
    """Return what a picture shows."""
    if what == "menu":
        return "*Analyze Results*"
    if what.startswith("wizard_"):
        label = protocol().getParam(what.removeprefix("wizard_")).label.get()
        return f"The wand of *{label}*"
    return what.replace("_", " ").capitalize()


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Pictures of Scipion's windows on a virtual screen: what the scripts that make them share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
_ON_SCREEN = "CRYODL_ON_SCREEN"
_SMALL = ["-resize", "70%", "-colors", "48", "-define", "png:compression-level=9"]
_IN_A_ROW = 2


def on_virtual_screen() -> int | None:
    """Run this program again on a virtual screen and return its status; None there."""
    if _ON_SCREEN in os.environ:
        return None
    sys.path.insert(0, str(ROOT))
    from cryodl_plugin.tests.virtual_screen import VirtualScreen

    screen = VirtualScreen("2000x1600x24")
    try:
        environment = {**screen.environment(), _ON_SCREEN: "1"}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
    finally:
        screen.stop()


def leave() -> None:
    """End at once: a window of Scipion does not always let go."""
    sys.stdout.flush()
    os._exit(0)


def project_window(path: str) -> Any:
    """Return the window of a project, out of the way."""
    from pyworkflow.gui.project import ProjectWindow

    os.chdir(path)
    window = ProjectWindow(path)
    window.root.geometry("200x100+1790+1490")
    return window


def form_of(window: Any, protocol: Any, **arguments: Any) -> Any:
    """Return the form of a protocol, drawn in the corner of the screen."""
    from pyworkflow.gui.form import FormWindow

    form = FormWindow(
        protocol.getClassLabel() if hasattr(protocol, "getClassLabel") else str(protocol),
        protocol,
        lambda *a, **k: None,
        window,
        updateProtocolCallback=lambda *a, **k: None,
        **arguments,
    )
    form.root.update()
    put_in_front(form.root)
    return form


def put_in_front(root: Any) -> None:
    """Put a window into the corner of the screen and let it draw itself."""
    root.geometry("+0+0")
    root.deiconify()
    root.lift()
    settle(root)


def settle(root: Any, seconds: float = 0.5) -> None:
    """Let a window draw itself."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        root.update()
        time.sleep(0.02)


def photograph(root: Any, path: Path) -> None:
    """Save a window as it stands on the screen."""
    size = f"{root.winfo_width()}x{root.winfo_height()}"
    place = f"{size}+{root.winfo_rootx()}+{root.winfo_rooty()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["import", "-window", "root", "-crop", place, "+repage", str(path)]
    subprocess.run(command, check=True)


def join(parts: list[Path], target: Path) -> None:
    """Put pictures together, two in a row, small; the parts are removed."""
    names = [str(part) for part in parts]
    rows = [names[i : i + _IN_A_ROW] for i in range(0, len(names), _IN_A_ROW)]
    together = [word for row in rows for word in ("(", *row, "+append", ")")]
    command = ["convert", *together, "-append", *_SMALL, f"PNG8:{target}"]
    subprocess.run(command, check=True)
    for part in parts:
        part.unlink()


def descendants(widget: Any) -> list[Any]:
    """Return a widget's children and theirs."""
    found = list(widget.winfo_children())
    return found + [child for one in found for child in descendants(one)]

"""Write docs/protocols.md: every protocol, its form as a picture, what it makes, how long it takes.

    python scripts/photograph_forms.py [PART OF A CLASS NAME]

Opens each form on a virtual screen (Xvfb, ImageMagick), all its tabs side by side, as a user first
sees it. With a part of a name only those forms are photographed again.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
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
    settle,
)
from run_demo import prepare_scipion

PAGE = ROOT / "docs" / "protocols.md"
TIMES = ROOT / "scripts" / "protocol_times.json"
HEAD = """# All protocols

<!-- Written by scripts/photograph_forms.py from the protocols themselves: do not edit. -->

Each protocol as its form opens, without the expert options, all its tabs; what it makes; and how
long it took.

Times: {machine}.
"""


def main(arguments: list[str]) -> int:
    """Photograph the forms in a project of their own, then write the page."""
    status = on_virtual_screen()
    if status is not None:
        return status
    wanted = arguments[0] if arguments else "CryoDLProt"
    with tempfile.TemporaryDirectory() as folder:
        prepare_scipion(Path(folder))
        from pyworkflow import Config
        from pyworkflow.project import Manager

        Config.getDomain().getPlugins()
        window = project_window(Manager().createProject("forms").path)
        for _, protocol in listed_protocols():
            if wanted in protocol.__name__:
                picture_of(window, window.project.newProtocol(protocol))
        PAGE.write_text(page(), encoding="utf-8")
    leave()
    return 0


def listed_protocols() -> Iterator[tuple[str, Any]]:
    """Yield heading and class of the protocols in the order of Scipion's list, each once."""
    from pyworkflow import Config

    known, seen = Config.getDomain().getProtocols(), set()
    lines = (ROOT / "cryodl_plugin" / "protocols.conf").read_text(encoding="utf-8").splitlines()
    trees = "\n".join(lines[1:]).replace("Protocols SPA =", "@@").replace("Tomography =", "@@")
    for tree in trees.split("@@")[1:]:
        for heading, name in leaves(json.loads(tree), []):
            if name not in seen:
                seen.add(name)
                yield heading, known[name]


def leaves(nodes: list[dict[str, Any]], above: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the headings above a protocol, joined, and its class name."""
    for node in nodes:
        if node["tag"] == "protocol":
            yield " / ".join(above), node["value"]
        else:
            yield from leaves(node["children"], [*above, node["text"]])


def picture_of(window: Any, protocol: Any) -> None:
    """Save all tabs of one form in one picture."""
    from tkinter import ttk

    form = form_of(window, protocol)
    books = [one for one in descendants(form.root) if isinstance(one, ttk.Notebook)]
    parts = []
    for index, tab in enumerate(books[0].tabs()):
        books[0].select(tab)
        settle(form.root)
        parts.append(PICTURES / "forms" / f"{type(protocol).__name__}.{index}.png")
        photograph(form.root, parts[-1])
    join(parts, PICTURES / "forms" / f"{type(protocol).__name__}.png")
    form.root.destroy()


def page() -> str:
    """Return the text of the page."""
    times = json.loads(TIMES.read_text(encoding="utf-8"))
    parts, last = [HEAD.format(machine=times["machine"])], ""
    for heading, protocol in listed_protocols():
        if heading != last:
            parts.append(f"\n## {heading}\n")
            last = heading
        name = protocol.__name__
        words = (inspect.getdoc(protocol) or "").replace("_", "*")
        outputs = ", ".join(
            f"`{key}` ({getattr(kind, '__name__', kind)})"
            for key, kind in (protocol._possibleOutputs or {}).items()
        )
        parts.append(
            f"### {protocol.getClassLabel()}\n\n{words}\n\n"
            f"Makes: {outputs}.\n\nTime: {times['protocols'].get(name, 'not measured')}.\n\n"
            f"![Form of {protocol.getClassLabel()}](pictures/forms/{name}.png)\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Check that every relative link in the Markdown pages leads to a file, and to a heading of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_FOLDERS = (".", "docs", "engine", "cryodl_plugin", "benchmarks")


def main() -> int:
    """Print each broken link; return 1 if there is one."""
    broken = [line for page in pages() for line in broken_links(page)]
    sys.stdout.write("".join(f"{line}\n" for line in broken))
    return 1 if broken else 0


def pages() -> list[Path]:
    """Return our own Markdown pages, not those of libraries in an environment."""
    found = set(ROOT.glob("*.md"))
    for folder in _FOLDERS[1:]:
        found.update((ROOT / folder).rglob("*.md"))
    return sorted(found)


def broken_links(page: Path) -> list[str]:
    """Return one line for each link of a page that leads nowhere."""
    lines = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            lines.append(f"{page.relative_to(ROOT)}: no file {target}")
        elif heading and path.suffix == ".md" and heading not in anchors(path):
            lines.append(f"{page.relative_to(ROOT)}: no heading {target}")
    return lines


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    raise SystemExit(main())

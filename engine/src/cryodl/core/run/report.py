"""The page a person opens after a run: what was found, pictures, what to distrust."""

from __future__ import annotations

import base64
import html
import io
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cryodl.core.config.parameters import CommandConfig

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c2430;background:#f5f6f8;margin:0}
main{max-width:1000px;margin:0 auto;padding:2rem;background:#fff;min-height:100vh}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.when{color:#6a7483}.facts{display:flex;flex-wrap:wrap;gap:.8rem;padding:0;list-style:none}
.facts li{background:#eef2f7;border-radius:8px;padding:.6rem 1rem}
.facts b{display:block;font-size:1.25rem}.facts span{color:#4b5563;font-size:.9rem}
.distrust{border-left:4px solid #d97706;background:#fff7ed;padding:.5rem 1rem;margin:.5rem 0}
img{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{color:#4b5563;font-size:.92rem}
table{border-collapse:collapse;font-size:.92rem}td,th{padding:.25rem .8rem;text-align:right}
td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#f3f5f8}
details{margin-top:2rem}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
"""


class Report:
    """A self-contained HTML page, filled while a run goes on.

    Parameters
    ----------
    title
        Heading of the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._facts: list[tuple[str, str]] = []
        self._distrust: list[str] = []
        self._body: list[str] = []

    def fact(self, label: str, value: str) -> None:
        """Add a figure that matters, shown large at the top."""
        self._facts.append((label, value))

    def distrust(self, text: str) -> None:
        """Add a reason for caution, in a sentence or two."""
        self._distrust.append(text)

    def heading(self, text: str) -> None:
        """Start a section."""
        self._body.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def table(self, columns: list[str], rows: list[list[Any]]) -> None:
        """Add a table; the first column names the row."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(cell))}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._body.append(f"<table><tr>{head}</tr>{body}</table>")

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a matplotlib figure as a picture inside the page."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
        self._body.append(
            f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{encoded}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def html(self, config: CommandConfig, results: dict[str, Any]) -> str:
        """Return the page."""
        facts = "".join(
            f"<li><b>{html.escape(value)}</b><span>{html.escape(label)}</span></li>"
            for label, value in self._facts
        )
        distrust = "".join(f'<p class="distrust">{html.escape(t)}</p>' for t in self._distrust)
        caution = f"<h2>What to keep in mind</h2>{distrust}" if distrust else ""
        settings = html.escape(config.model_dump_json(indent=1))
        found = html.escape("\n".join(f"{key}: {value}" for key, value in results.items()))
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head><body><main>"
            f"<h1>{html.escape(self.title)}</h1>"
            f'<p class="when">{time.strftime("%Y-%m-%d %H:%M")}</p>'
            f'<ul class="facts">{facts}</ul>{"".join(self._body)}{caution}'
            f"<details><summary>Results</summary><pre>{found}</pre></details>"
            f"<details><summary>Settings</summary><pre>{settings}</pre></details>"
            "</main></body></html>"
        )


def _shown(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)

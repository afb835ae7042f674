"""Every message that the troubleshooting page quotes is one of ours, word for word."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
_GAP = "\0"


def texts_of(source):
    """Yield the texts of a program, each with a mark where a value is filled in."""
    tree = ast.parse(source)
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner.update(id(value) for value in node.values)
            values = [v.value if isinstance(v, ast.Constant) else _GAP for v in node.values]
            yield "".join(map(str, values))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def our_texts():
    found = []
    for folder in ("engine/src", "cryodl_plugin"):
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" not in path.parts:
                found += texts_of(path.read_text(encoding="utf-8"))
    found += [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.sh")]
    return [text for text in found if len(text) > 8]


def quotes(page):
    """Return what stands in italics in the first column of the page's tables."""
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")]
    return [quote for row in rows for quote in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", row)]


def is_ours(quote, texts):
    parts = [re.escape(part.strip()) for part in quote.split("...") if part.strip()]
    pattern = re.compile(".*?".join(parts), re.DOTALL)
    return any(pattern.search(text) for text in texts)


TEXTS = our_texts()
QUOTES = quotes(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("quote", QUOTES)
def test_the_quoted_message_is_ours(quote):
    assert is_ours(quote, TEXTS), quote


def test_a_message_that_nobody_says_is_found():
    assert len(QUOTES) > 35
    assert not is_ours("found a dragon, expected ... rather", TEXTS)
    assert list(texts_of('f"a {b} c" "d"\nx = "e"')) == ["a \0 cd", "e"]
    assert quotes("| *one ... two* and *three* | *not this* |\n*nor this*") == [
        "one ... two",
        "three",
    ]

"""The page for RELION users names every setting with its default."""

from pathlib import Path

from cryodl.methods.spisonet.relion.settings import settings_table

PAGE = Path(__file__).resolve().parents[4] / "docs" / "relion.md"


def test_table_of_settings_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    start = text.index("settings_table -->\n") + len("settings_table -->\n")
    assert text[start : text.index("<!-- end of settings table")] == settings_table()

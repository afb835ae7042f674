"""Marks for pytest. The surroundings that Scipion needs are made by the conftest of the root."""

import pytest


def pytest_collection_modifyitems(items):
    """Mark what needs Xvfb; be strict with warnings from our files, not with those of Scipion's."""
    for item in items:
        if __file__.rpartition("/")[0] not in str(item.path):
            continue
        item.add_marker(pytest.mark.filterwarnings("ignore"))
        item.add_marker(pytest.mark.filterwarnings("error:::cryodl_plugin"))
        if item.path.name == "test_gui.py":
            item.add_marker(pytest.mark.gui)

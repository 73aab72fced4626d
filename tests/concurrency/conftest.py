from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "needs_fork" in item.fixturenames:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"))


@pytest.fixture
def needs_fork():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")

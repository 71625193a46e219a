"""Expected numbers that stand outside the tree; tests that need them skip visibly without them."""

import pathlib

import pytest

_ROOT = pathlib.Path("../fixtures")


def fixture_or_skip(relative):
    """The path of a file or folder of the fixtures."""
    path = _ROOT / relative
    if not path.exists():
        pytest.skip(f"no fixtures here: {relative} is missing")
    return path.resolve()

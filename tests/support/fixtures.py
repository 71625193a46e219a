"""Expected numbers that stand outside the tree; tests that need them skip visibly without them."""

import pathlib

import pytest

_ROOT = pathlib.Path("../fixtures")


def real_folder(folder):
    """Where a folder of test data really is: the test sees each file of it as a symbolic link, and
    a checkpoint folder may not have those."""
    return next(path for path in pathlib.Path(folder).iterdir() if path.is_file()).resolve().parent


def fixture_or_skip(relative):
    """The path of a file or folder of the fixtures."""
    path = _ROOT / relative
    if not path.exists():
        pytest.skip(f"no fixtures here: {relative} is missing")
    return path.resolve() if path.is_file() else real_folder(path)

"""The diff in docs/adding-a-model.md is true: after it, the files look as they do."""

import pathlib
import re

DOCUMENT = pathlib.Path("docs/adding-a-model.md")


def hunks(text):
    """(file, the lines that a hunk leaves behind, as text)"""
    for block in re.findall(r"```diff\n(.*?)```", text, re.S):
        path, lines = None, []
        for line in [*block.splitlines(), "@@"]:
            if line.startswith(("--- ", "+++ ", "@@")):
                if lines:
                    yield path, "\n".join(lines)
                lines = []
                if line.startswith("+++ b/"):
                    path = line.removeprefix("+++ b/")
            elif not line.startswith("-"):
                lines.append(line[1:])


def test_the_quoted_diff_is_in_the_files():
    found = list(hunks(DOCUMENT.read_text()))
    assert len(found) >= 6
    for path, lines in found:
        assert lines in pathlib.Path(path).read_text(), f"{DOCUMENT} quotes {path} otherwise:\n{lines}"

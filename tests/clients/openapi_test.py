"""schemathesis against /openapi.json of a real server: every answer is one that is described."""

import os
import pathlib
import subprocess
import sys

import httpx

from tests.support import switchyard

KEY = "the-key"
CONFIG = """\
[checks.positive_data_acceptance]
# Fields that exclude each other, templates that refuse a chat, prompts that are longer than the
# context: no schema says that.
expected-statuses = ["2xx", 400, 404]
"""


def test_every_answer_is_described(tmp_path):
    (tmp_path / "keys").write_text(KEY)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    layout = ["--expert-hosts", 1, "--dtype", "fp32", "--served-model-name", "demo"]
    with switchyard.Server(
        switchyard.DEMO, *layout, "--api-key-file", tmp_path / "keys"
    ) as server:
        assert httpx.get(f"{server.url}/openapi.json").status_code == 401
        done = subprocess.run(
            [
                pathlib.Path(sys.executable).parent / "schemathesis",
                *("--config-file", tmp_path / "schemathesis.toml"),
                *("run", f"{server.url}/openapi.json"),
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--checks", "all", "--phases", "examples,coverage,fuzzing"),
                *("--seed", "1", "--max-examples", "20", "--generation-deterministic"),
                *("--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.clients.hooks_for_schemathesis",
                "PYTHONPATH": os.getcwd(),
            },
            capture_output=True,
            text=True,
            timeout=600,
        )
        print(done.stdout[-20000:])
        assert done.returncode == 0, done.stderr
        assert httpx.get(f"{server.url}/health").status_code == 200

"""The output of `switchyard eval` is the same file, bit by bit, from every layout."""

import json
import os
import signal
import subprocess
import time

import pytest
from safetensors.numpy import load_file

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip

CASES = ["mixtral", "mixtral_swa", "mixtral_sharded", "mixtral_bf16", "mixtral_fine", "llama"]

LOOPBACK = ["--in-process", "--transport", "loopback"]
IN_PROCESS = {
    "two hosts": ["--expert-hosts", 2],
    "three hosts": ["--expert-hosts", 3],
    "replicated": ["--expert-hosts", 3, "--replicas", 2],
    "two router workers": ["--router-workers", 2],
    "two stages": ["--stages", 2],
    "chunks of 1": ["--prefill-chunk", 1],
    "chunks of 7": ["--prefill-chunk", 7],
    "chunks of 16": ["--prefill-chunk", 16],
    "two threads": ["--threads", 2],
}
PROCESSES = {
    "ucx over tcp": ["--transport", "ucx-tcp", "--expert-hosts", 2],
    "ucx over shared memory": ["--transport", "ucx-shm", "--expert-hosts", 3],
    "two router workers over ucx": ["--transport", "ucx", "--router-workers", 2],
}


@pytest.fixture(params=["fp32", "bf16"])
def dtype(request):
    return request.param


def arguments_for(case, folder, path, dtype):
    tokens = path / f"{case}.json"
    if not tokens.exists():
        rows = load_file(folder / "expected.safetensors")["input_ids"].tolist()
        tokens.write_text(json.dumps({"input_ids": rows}))
    return ["eval", folder, "--tokens", tokens, "--greedy", 8, "--dtype", dtype]


def evaluate(arguments, out, *layout):
    switchyard.run(*arguments, "--out", out, *layout)
    return out.read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_every_layout_gives_the_same_file(case, dtype, tmp_path):
    folder = fixture_or_skip(f"models/{case}")
    arguments = arguments_for(case, folder, tmp_path, dtype)
    out = tmp_path / "out.safetensors"
    alone = evaluate(arguments, out, *LOOPBACK, "--expert-hosts", 1)
    for name, layout in IN_PROCESS.items():
        assert evaluate(arguments, out, *LOOPBACK, *layout) == alone, name
    if dtype == "fp32" or case == "mixtral":
        for name, layout in PROCESSES.items():
            assert evaluate(arguments, out, *layout) == alone, name


def wait_for_role(process, name):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if pid := switchyard.role_processes(process.pid).get(name):
            return pid
        time.sleep(0.005)
    raise AssertionError(f"{name} did not start")


@pytest.mark.parametrize("transport", ["ucx-shm", "ucx-tcp"])
def test_a_host_killed_half_way_changes_no_bit(transport, tmp_path):
    folder = fixture_or_skip("models/mixtral")
    rows = load_file(folder / "expected.safetensors")["input_ids"].tolist()
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"input_ids": rows * 4}))
    out = tmp_path / "out.safetensors"
    arguments = ["eval", folder, "--tokens", tokens, "--greedy", 200, "--dtype", "fp32"]
    alone = evaluate(arguments, out, *LOOPBACK, "--expert-hosts", 1)
    out.unlink()

    command = [*arguments, "--out", out, "--transport", transport, "--expert-hosts", 2,
               "--replicas", 2, "--prefill-chunk", 1]
    process = subprocess.Popen(
        [switchyard.PROGRAM, *map(str, command)], env=switchyard.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    kills = 0
    # The partial file grows from the first row on: that is when the evaluation has begun.
    while process.poll() is None and kills < 3:
        if any(path.name.startswith("out.") for path in tmp_path.glob("*.partial")):
            pid = wait_for_role(process, f"expert-host-{kills % 2}")
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            kills += 1
            time.sleep(1.0)
        time.sleep(0.01)
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert kills > 0, "the evaluation ended before a host could be killed"
    assert out.read_bytes() == alone

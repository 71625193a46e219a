"""The output of `switchyard eval` is the same file, bit by bit, from every layout."""

import json
import os
import signal
import subprocess
import time

import pytest
from safetensors.numpy import load_file

from tests.golden.cases import EVERY_LAYOUT, LOOPBACK, arguments_for, output_bytes
from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip

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


@pytest.mark.parametrize("case", EVERY_LAYOUT)
def test_every_layout_gives_the_same_file(case, dtype, tmp_path):
    folder = fixture_or_skip(case)
    arguments = arguments_for(folder, tmp_path, dtype)
    out = tmp_path / "out.safetensors"
    alone = output_bytes(arguments, out, *LOOPBACK, "--expert-hosts", 1)
    for name, layout in IN_PROCESS.items():
        assert output_bytes(arguments, out, *LOOPBACK, *layout) == alone, name
    if dtype == "fp32" or case == "models/mixtral":
        for name, layout in PROCESSES.items():
            assert output_bytes(arguments, out, *layout) == alone, name


def kill_hosts(process, log, kills):
    """SIGKILLs one of the two expert hosts after the other while the evaluation runs."""
    # One that dies before it was ever ready ends the evaluation, as it should.
    while not all(f"expert-host-{i}: ready" in log.read_text() for i in range(2)):
        if process.poll() is not None:
            return 0
        time.sleep(0.05)
    for number in range(kills):
        time.sleep(1.0)
        name = f"expert-host-{number % 2}"
        while name not in (roles := switchyard.role_processes(process.pid)):
            if process.poll() is not None:
                return number
            time.sleep(0.05)
        os.kill(roles[name], signal.SIGKILL)
    return kills


@pytest.mark.parametrize("transport", ["ucx-shm", "ucx-tcp"])
def test_hosts_killed_half_way_change_no_bit(transport, tmp_path):
    folder = fixture_or_skip("models/mixtral")
    rows = load_file(folder / "expected.safetensors")["input_ids"].tolist()
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"input_ids": rows * 8}))
    out = tmp_path / "out.safetensors"
    arguments = ["eval", folder, "--tokens", tokens, "--greedy", 400, "--dtype", "fp32"]
    alone = output_bytes(arguments, out, *LOOPBACK, "--expert-hosts", 1)
    out.unlink()

    command = [*arguments, "--out", out, "--transport", transport, "--expert-hosts", 2,
               "--replicas", 2, "--prefill-chunk", 1]
    log = tmp_path / "log"
    with open(log, "w") as stderr:
        process = subprocess.Popen(
            [switchyard.PROGRAM, *map(str, command)], env=switchyard.environment(),
            stdout=subprocess.DEVNULL, stderr=stderr,
        )
    kills = kill_hosts(process, log, 3)
    assert process.wait(timeout=300) == 0, log.read_text()
    assert kills > 0, "the evaluation ended before a host could be killed"
    assert out.read_bytes() == alone

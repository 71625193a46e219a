"""How `switchyard serve` and its roles start and end."""

import os
import signal
import subprocess
import time

from tests.support import switchyard


def start(*arguments):
    return subprocess.Popen(
        [switchyard.PROGRAM, *map(str, arguments)],
        env=switchyard.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_signal_ends_a_start():
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("serve", switchyard.DEMO, "--port", 0, "--expert-hosts", 2)
        assert "mixtral" in process.stdout.readline()  # the banner: signals are heard by now
        process.send_signal(number)
        assert process.wait(10) == 128 + number
    role = start(
        "role", "router", "--model", switchyard.DEMO, "--coordinator", "127.0.0.1:1", "--threads", 1
    )
    time.sleep(2)
    role.terminate()
    assert role.wait(30) in (0, 128 + signal.SIGTERM)


def test_the_roles_of_a_start_end_with_it():
    process = start("serve", switchyard.DEMO, "--port", 0, "--expert-hosts", 2)
    deadline = time.monotonic() + 60
    while not (roles := switchyard.role_processes(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    process.wait(10)
    for pid in roles.values():
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_role_refuses_what_serve_refuses():
    for flag, value in {"--dtype": "fp16", "--replicas": -1, "--expert-hosts": 0}.items():
        role = start("role", "coordinator", f"{flag}={value}")
        assert role.wait(10) != 0

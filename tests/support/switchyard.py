"""Runs the switchyard program as a user would: evaluations, and clusters of real processes."""

import contextlib
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time

from tests.support.fixtures import real_folder

PROGRAM = str(pathlib.Path("cli/switchyard").resolve())
DEMO = str(real_folder("models/demo"))


def environment(**extra):
    """Few threads: roles share the machine's cores, and tests are about bits, not speed."""
    return {**os.environ, "SWITCHYARD_THREADS": "1", **extra}


def run(*arguments, timeout=300, **extra):
    """Runs a command to its end; its output is in the error when it fails."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def role_processes(pid):
    """{member name: pid} of the role processes that a switchyard process has started."""
    roles = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                command = pathlib.Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if b"--name" in command:
                    name = command[command.index(b"--name") + 1].decode()
                    roles[name] = int(child)
    return roles


class Server:
    """`switchyard serve` as a child process; use it in a `with`."""

    def __init__(self, model, *arguments, timeout=120, **extra):
        self._lines = queue.Queue()
        self.log = []
        self._process = subprocess.Popen(
            [PROGRAM, "serve", str(model), "--port", "0", *map(str, arguments)],
            env=environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self._wait_ready(timeout)

    def _read(self):
        for line in self._process.stdout:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _wait_ready(self, timeout):
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.stop()
                raise AssertionError("the server did not become ready:\n" + "".join(self.log))
            if match := re.match(r"ready: (http://\S+)", line):
                return match[1]

    def pid(self, name, timeout=10):
        """The process of a member, for example "expert-host-1"; waits while it restarts."""
        deadline = time.monotonic() + timeout
        while True:
            roles = role_processes(self._process.pid)
            if name in roles:
                return roles[name]
            assert time.monotonic() < deadline, f"{name} is not among {sorted(roles)}"
            time.sleep(0.01)

    def kill(self, name, number=signal.SIGKILL):
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def stop(self, timeout=60):
        """Drains; returns the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
        return self._process.returncode

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        if kind is not None:
            print("".join(self.log))

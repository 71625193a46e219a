"""Roles started one by one, without a supervisor: tests decide who dies and who comes back."""

import json
import os
import select
import signal
import subprocess
import time

from tests.support import switchyard


class Role:
    """One `switchyard role` process."""

    def __init__(self, kind, *arguments, name=None, wait=True):
        self.name = name or kind
        self._arguments = [kind, "--name", self.name, *map(str, arguments)]
        self.port = None
        self.process = None
        self.start(wait=wait)

    def start(self, wait=True, timeout=60):
        """Starts it, on the port that it had before."""
        read_end, write_end = os.pipe()
        port = ["--port", str(self.port)] if self.port else []
        self.process = subprocess.Popen(
            [switchyard.PROGRAM, "role", *self._arguments, *port, "--ready-fd", str(write_end)],
            env=switchyard.environment(),
            pass_fds=[write_end],
        )
        os.close(write_end)
        self._ready = read_end
        if wait:
            self.wait_ready(timeout)

    def wait_ready(self, timeout=60):
        readable, _, _ = select.select([self._ready], [], [], timeout)
        line = os.read(self._ready, 100) if readable else b""
        os.close(self._ready)
        assert line.strip(), f"{self.name} did not become ready"
        self.port = int(line)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout=60):
        """SIGTERM: it drains. Returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


class RoleCluster:
    """Coordinator, expert hosts, router workers and a gateway; use it in a `with`."""

    def __init__(self, model, hosts=2, routers=1, replicas=2, dtype="fp32", transport="ucx"):
        self.model = str(model)
        self._transport = transport
        self._roles = []
        self.coordinator = self._keep(
            Role("coordinator", "--replicas", replicas, "--expert-hosts", hosts, "--dtype", dtype)
        )
        self.hosts = [self.add_host(f"expert-host-{i}") for i in range(hosts)]
        self.routers = [self._member("router", f"router-{i}", wait=False) for i in range(routers)]
        for router in self.routers:
            router.wait_ready()
        self.gateway = self._member("gateway", "gateway")
        self.url = f"http://{self.gateway.address}"

    def _keep(self, role):
        self._roles.append(role)
        return role

    def _member(self, kind, name, wait=True):
        return self._keep(
            Role(kind, "--model", self.model, "--coordinator", self.coordinator.address,
                 "--transport", self._transport, name=name, wait=wait)
        )

    def add_host(self, name):
        return self._member("expert-host", name)

    def status(self):
        return json.loads(switchyard.run("status", "--coordinator", self.coordinator.address))

    def wait_status(self, accept, timeout=30):
        """The first status that `accept` likes."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            if accept(status):
                return status
            assert time.monotonic() < deadline, json.dumps(status, indent=1)
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for role in reversed(self._roles):
            if role.process.poll() is None:
                role.signal(signal.SIGCONT)
                role.kill()

"""Hostile HTTP against a real server: refused, in bounded memory, while others are served.

It reads the memory of the gateway's process, so it always starts a server of its own.
"""

import contextlib
import pathlib
import re
import resource
import selectors
import socket
import time
import urllib.parse

import httpx
import pytest

from tests.support import switchyard

POST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server():
    layout = ["--expert-hosts", 1, "--dtype", "fp32", "--served-model-name", "demo"]
    with switchyard.Server(switchyard.DEMO, *layout) as running:
        complete(running)
        yield running


def complete(server):
    body = {"prompt": "Hark", "max_tokens": 2, "temperature": 0}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def memory(server):
    """Resident bytes of the gateway's process."""
    status = pathlib.Path(f"/proc/{server.pid('gateway')}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def connect(server):
    address = urllib.parse.urlparse(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    return connection


def send_until_refused(connection, first, endless, most):
    """Sends `first`, then `endless` again and again; returns the bytes sent and the answer."""
    sent = len(first)
    answer = b""
    with contextlib.suppress(OSError):
        connection.sendall(first)
        while sent < most:
            connection.sendall(endless)
            sent += len(endless)
    with contextlib.suppress(OSError):
        while part := connection.recv(65536):
            answer += part
    return sent, answer


STREAMS = {
    "10 GB, declared": (POST + b"Content-Length: 10000000000\r\n\r\n", b"x" * 65536, 413),
    "a body in endless chunks": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"8000\r\n" + b"x" * 0x8000 + b"\r\n",
        413,
    ),
    "chunks of one byte": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n" * 4096,
        413,
    ),
    "an endless chunk extension": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;",
        b"x" * 65536,
        431,
    ),
    "endless trailers": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: y\r\n" * 4096,
        431,
    ),
    "a header without an end": (POST + b"X: ", b"x" * 65536, 431),
    "headers without an end": (POST, b"X: y\r\n" * 4096, 431),
}


@pytest.mark.parametrize("name", STREAMS)
def test_endless_requests_are_refused_in_bounded_memory(server, name, record_property):
    first, endless, status = STREAMS[name]
    before = memory(server)
    with connect(server) as connection:
        sent, answer = send_until_refused(connection, first, endless, 10**10)
    grown = memory(server) - before
    record_property(
        "measured",
        f"{name}: {sent / MIB:.1f} MiB sent, the gateway grew by {grown / MIB:.1f} MiB",
    )
    # The kernel's buffers of a closed connection may swallow the answer, never the end.
    assert not answer or answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert sent < 200 * MIB
    assert grown < 64 * MIB
    complete(server)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST + b"Content-Length: 10000000000\r\n\r\n", 413),
        (POST + b"X: " + b"x" * MIB + b"\r\n\r\n", 431),
        (POST + b"X: y\r\n" * 100_000 + b"\r\n", 431),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        (POST + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 400),
    ],
)
def test_doubtful_requests_are_refused(server, request_bytes, status):
    with connect(server) as connection:
        connection.sendall(request_bytes)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    complete(server)


def slow_connections(server, wanted):
    """Connections that send the beginning of a request and then nothing."""
    opened = []
    for index in range(wanted):
        connection = connect(server)
        connection.sendall(POST if index % 2 else POST + b"Content-Length: 9\r\n\r\n{")
        opened.append(connection)
    return opened


def ended(connections, seconds):
    """How many of the connections the server ends in time."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        left = len(connections)
        while left and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                with contextlib.suppress(BlockingIOError):
                    try:
                        data = key.fileobj.recv(4096)
                    except ConnectionError:
                        data = b""
                    if not data:
                        selector.unregister(key.fileobj)
                        left -= 1
    return len(connections) - left


def test_ten_thousand_slow_connections_keep_nobody_out(server, record_property):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = 10_000 if most == resource.RLIM_INFINITY else min(10_000, most - 500)
    expected = complete(server)
    before = memory(server)
    slow = slow_connections(server, wanted)
    try:
        times = []
        for _ in range(100):
            start = time.monotonic()
            assert complete(server) == expected
            times.append(time.monotonic() - start)
        grown = memory(server) - before
        record_property(
            "measured",
            f"{wanted} slow connections: 100 of 100 requests answered, the slowest in"
            f" {max(times):.2f} s; the gateway grew by {grown / MIB:.1f} MiB",
        )
        assert grown < wanted * 32 * 1024
        # A header has 10 s, a body 60 s.
        assert ended(slow, 120) == wanted
    finally:
        for connection in slow:
            connection.close()
    complete(server)

"""SIGKILL of expert hosts in the middle of streams: no token changes, no request fails."""

import time

import pytest

from tests.support import switchyard
from tests.support.streams import run_streams

PROMPTS = [[1, 4037, 3, 705, 1805, 479, 4069, 4037, 4], [1, 4037, 3, 454, 327, 412, 799, 4069],
           [1, 271, 595], [1, 277, 501, 429, 4059]]
TOKENS = 600


def layout(transport):
    return ["--expert-hosts", 2, "--replicas", 2, "--dtype", "fp32", "--transport", transport]


@pytest.mark.parametrize("transport", ["ucx-shm", "ucx-tcp"])
def test_a_kill_every_three_seconds_changes_no_token(transport):
    kills = []

    def kill_until_done(streams):
        while any(stream.is_alive() for stream in streams) and len(kills) < 6:
            kills.append(server.kill(f"expert-host-{len(kills) % 2}"))
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline and any(s.is_alive() for s in streams):
                time.sleep(0.02)

    with switchyard.Server(switchyard.DEMO, *layout(transport)) as server:
        undisturbed = run_streams(server.url, PROMPTS, TOKENS)
        disturbed = []
        for _ in range(3):
            disturbed.append(run_streams(server.url, PROMPTS, TOKENS, during=kill_until_done))
    assert len(kills) >= 3
    worst = 0.0
    for streams in disturbed:
        for stream, expected in zip(streams, undisturbed):
            assert len(stream.ids) == TOKENS
            assert stream.ids == expected.ids
            worst = max(worst, stream.longest_pause)
    print(f"{transport}: {len(kills)} kills, 0 requests lost, 0 tokens wrong, "
          f"worst stall {worst * 1000:.0f} ms")


def test_without_a_replica_streams_wait_for_the_host_to_come_back():
    with switchyard.Server(switchyard.DEMO, "--expert-hosts", 2, "--dtype", "fp32") as server:
        undisturbed = run_streams(server.url, PROMPTS, TOKENS)
        disturbed = run_streams(
            server.url, PROMPTS, TOKENS, during=lambda _: server.kill("expert-host-0")
        )
    for stream, expected in zip(disturbed, undisturbed):
        assert stream.ids == expected.ids
    worst = max(stream.longest_pause for stream in disturbed)
    print(f"no replica: worst stall {worst * 1000:.0f} ms")

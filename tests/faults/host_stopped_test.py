"""A host stopped for 30 s and continued is a stranger: it does no harm and joins again."""

import signal
import time

from tests.support import switchyard
from tests.support.role_cluster import RoleCluster
from tests.support.streams import run_streams

PROMPTS = [[1, 4037, 3, 705, 1805, 479, 4069, 4037, 4], [1, 271, 595]]
TOKENS = 600


def incarnation(status, name):
    for member in status["members"]:
        if member["member"]["name"] == name:
            return member["member"]["incarnation"]
    return None


def test_a_stopped_host_comes_back_as_a_stranger():
    with RoleCluster(switchyard.DEMO, hosts=2, replicas=2) as cluster:
        undisturbed = run_streams(cluster.url, PROMPTS, TOKENS)
        before = incarnation(cluster.status(), "expert-host-1")

        def compare(streams):
            for stream, expected in zip(streams, undisturbed):
                assert stream.ids == expected.ids

        stopped = cluster.hosts[1]
        disturbed = run_streams(
            cluster.url, PROMPTS, TOKENS, during=lambda _: stopped.signal(signal.SIGSTOP)
        )
        compare(disturbed)
        worst = max(stream.longest_pause for stream in disturbed)
        print(f"host stopped: worst stall {worst * 1000:.0f} ms")
        time.sleep(30)
        cluster.wait_status(lambda status: incarnation(status, "expert-host-1") is None)
        compare(
            run_streams(
                cluster.url, PROMPTS, TOKENS, during=lambda _: stopped.signal(signal.SIGCONT)
            )
        )
        status = cluster.wait_status(
            lambda status: incarnation(status, "expert-host-1") not in (None, before)
            and status["router_workers"]["router-0"].get("ready")
        )
        assert incarnation(status, "expert-host-1") != before
        compare(run_streams(cluster.url, PROMPTS, TOKENS))

"""The coordinator is killed for a minute under traffic: nothing notices; then it learns again."""

import time

from tests.support import switchyard
from tests.support.role_cluster import RoleCluster
from tests.support.streams import run_streams

PROMPTS = [[1, 4037, 3, 705, 1805, 479, 4069, 4037, 4], [1, 271, 595]]
TOKENS = 400


def hosts_and_layers(status):
    placement = status.get("placement", {})
    return len(placement.get("hosts", [])), len(placement.get("layers", []))


def test_a_minute_without_a_coordinator():
    with RoleCluster(switchyard.DEMO, hosts=2, replicas=2) as cluster:
        before = cluster.status()
        undisturbed = run_streams(cluster.url, PROMPTS, TOKENS)
        cluster.coordinator.kill()
        gone = time.monotonic()
        rounds = 0
        while time.monotonic() - gone < 60:
            for stream, expected in zip(run_streams(cluster.url, PROMPTS, TOKENS), undisturbed):
                assert stream.ids == expected.ids
            rounds += 1
        # A replica takes over also while there is nobody to say so.
        killed = run_streams(
            cluster.url, PROMPTS, TOKENS, during=lambda _: cluster.hosts[1].kill()
        )
        for stream, expected in zip(killed, undisturbed):
            assert stream.ids == expected.ids
        cluster.hosts[1].start(wait=False)
        cluster.coordinator.start()
        cluster.hosts[1].wait_ready()
        after = cluster.wait_status(
            lambda status: hosts_and_layers(status) == hosts_and_layers(before)
            and not status["missing_experts"]
        )
        assert int(after["placement"]["epoch"]) >= int(before["placement"]["epoch"])
        for stream, expected in zip(run_streams(cluster.url, PROMPTS, TOKENS), undisturbed):
            assert stream.ids == expected.ids
        print(f"{rounds} rounds of streams without a coordinator, 0 lost, 0 wrong")

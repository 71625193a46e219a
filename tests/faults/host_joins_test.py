"""Expert hosts join and drain while streams run: traffic moves, no token changes."""

from tests.support import switchyard
from tests.support.role_cluster import RoleCluster
from tests.support.streams import run_streams

PROMPTS = [[1, 4037, 3, 705, 1805, 479, 4069, 4037, 4], [1, 271, 595]]
TOKENS = 600


def experts_of(status, name):
    host = status["expert_hosts"].get(name, {})
    return sum(len(layer["experts"]) for layer in host.get("loaded", []))


def test_a_new_host_gets_experts_and_traffic():
    with RoleCluster(switchyard.DEMO, hosts=1, replicas=1) as cluster:
        undisturbed = run_streams(cluster.url, PROMPTS, TOKENS)

        def join(_):
            cluster.add_host("newcomer")
            cluster.wait_status(lambda status: experts_of(status, "newcomer") > 0)

        disturbed = run_streams(cluster.url, PROMPTS, TOKENS, during=join)
        afterwards = run_streams(cluster.url, PROMPTS, TOKENS)
        for streams in (disturbed, afterwards):
            for stream, expected in zip(streams, undisturbed):
                assert stream.ids == expected.ids
        worst = max(stream.longest_pause for stream in disturbed)
        print(f"a host joined: worst stall {worst * 1000:.0f} ms")
        status = cluster.status()
        assert int(status["expert_hosts"]["newcomer"]["rows_done"]) > 0
        # How many depends on the measured speeds; every expert has one owner.
        assert experts_of(status, "newcomer") + experts_of(status, "expert-host-0") == 32


def test_a_drained_host_leaves_without_a_lost_row():
    with RoleCluster(switchyard.DEMO, hosts=2, replicas=1) as cluster:
        undisturbed = run_streams(cluster.url, PROMPTS, TOKENS)
        codes = []
        disturbed = run_streams(
            cluster.url, PROMPTS, TOKENS,
            during=lambda _: codes.append(cluster.hosts[1].terminate()),
        )
        assert codes == [0]
        for stream, expected in zip(disturbed, undisturbed):
            assert stream.ids == expected.ids
        status = cluster.status()
        assert experts_of(status, "expert-host-0") == 32
        assert int(status["router_workers"]["router-0"]["redispatched_assignments"]) == 0

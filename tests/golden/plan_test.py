"""`switchyard plan` as a user runs it."""

import json

import pytest

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip


def plan(*arguments):
    return json.loads(switchyard.run("plan", *arguments, "--json"))


def test_a_preset_on_hosts():
    got = plan("deepseek-v3", "--hosts", "16x96GiB", "--context", 4096, "--streams", 2)
    assert 670e9 < got["parameters"]["total"] < 672e9
    assert got["router_worker"]["kv_bytes_per_token"] == 61 * (512 + 64) * 2
    assert got["router_worker"]["kv_cache"] == 2 * 4096 * 61 * (512 + 64) * 2
    assert got["layout"]["fits"]
    assert sum(host["experts"] for host in got["layout"]["hosts"]) == 59 * 256  # the prediction block too
    fewest = got["host_kinds"][0]["fewest_hosts"]
    assert plan("deepseek-v3", "--hosts", f"{fewest}x96GiB")["layout"]["fits"]
    assert not plan("deepseek-v3", "--hosts", f"{fewest - 1}x96GiB")["layout"]["fits"]


def test_a_checkpoint_folder():
    folder = fixture_or_skip("models/mixtral")
    got = plan(folder, "--dtype", "fp32")
    assert got["name"] == "mixtral"
    assert got["parameters"]["total"] == 264768
    assert got["parameters"]["layers"][0]["experts"] == 8
    assert "layout" not in got


def test_the_table_says_what_does_not_fit():
    text = switchyard.run("plan", "gpt-moe-175b", "--hosts", "4x80GiB,1x1GiB", "--replicas", 2)
    assert "the name says 175B, but the tensors of this config hold 9.9" in text
    assert "DOES NOT FIT: " in text
    assert "not one expert fits a host of 1 GiB" in text
    assert max(map(len, text.splitlines())) <= 120


def test_every_preset_has_a_table():
    presets = switchyard.run("plan", "--help").replace("\n", " ")
    for name in ["mixtral-8x7b", "switch-c", "glam-64b-64e", "phi-3.5-moe"]:
        assert name in presets
        assert "total" in switchyard.run("plan", name, "--hosts", "64x80GiB")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mixtral"], "neither a folder nor a preset; presets are"),
        (["/dev"], "/dev/config.json"),
        (["mixtral-8x7b", "--hosts", "80"], "for example 8x80GiB"),
        (["mixtral-8x7b", "--dtype", "int3"], "int3"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(AssertionError, match=message):
        plan(*arguments)

"""Rope that depends on the length: which table a request gets, where the fixtures do not reach."""

import json
import shutil

import numpy as np
from safetensors.numpy import load_file

from tests.golden.cases import evaluate
from tests.support.fixtures import fixture_or_skip

LAYOUTS = {
    "chunks of 7": ["--prefill-chunk", 7],
    "two stages, two router workers": ["--stages", 2, "--router-workers", 2],
}


def only_long_factors(folder, target):
    """The checkpoint with one table for every length: the one for long sequences."""
    shutil.copytree(folder, target)
    config = json.loads((folder / "config.json").read_text())
    rope = config["rope_scaling"]
    rope["short_factor"], rope["short_mscale"] = rope["long_factor"], rope["long_mscale"]
    config["original_max_position_embeddings"] = config["max_position_embeddings"]
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_long_request_has_the_long_factors_from_its_first_token(tmp_path):
    folder = fixture_or_skip("models/phimoe")
    only_long = only_long_factors(folder, tmp_path / "only_long")
    ids = load_file(folder / "expected.safetensors")["input_ids"]

    def run(model, rows, greedy, *layout):
        return evaluate(model, rows, tmp_path / "out.safetensors", "--dtype", "fp32", "--greedy",
                        greedy, *layout)

    def assert_same(got, wanted):
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)

    # 80 tokens, of an original length of 64.
    rows = ids.reshape(1, -1)
    wanted = run(only_long, rows, 4)
    assert_same(run(folder, rows, 4), wanted)
    for layout in LAYOUTS.values():
        assert_same(run(folder, rows, 4, *layout), wanted)

    # 40 tokens and an answer that may have 40 more: long; the evaluation of the 40 alone is not.
    long, short = run(only_long, ids[:1], 40), run(folder, ids[:1], 40)
    np.testing.assert_array_equal(short["greedy_ids"], long["greedy_ids"])
    assert np.abs(short["logits"] - long["logits"]).max() > 0.1

"""`switchyard eval` in class fp32 against expected values made with transformers."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip

CASES = ["mixtral", "mixtral_swa", "mixtral_sharded", "mixtral_bf16", "mixtral_fine", "llama"]


def evaluate(folder, rows, out, *arguments):
    tokens = out.with_suffix(".json")
    tokens.write_text(json.dumps({"input_ids": rows.tolist()}))
    switchyard.run(
        "eval", folder, "--tokens", tokens, "--out", out, "--dtype", "fp32", "--in-process",
        "--transport", "loopback", "--expert-hosts", 2, *arguments,
    )
    return load_file(out)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, tmp_path):
    folder = fixture_or_skip(f"models/{case}")
    expected = load_file(folder / "expected.safetensors")
    error = json.loads((folder / "meta.json").read_text())["fp32_vs_fp64"]

    got = evaluate(folder, expected["input_ids"], tmp_path / "out.safetensors")
    scale = np.abs(expected["logits"]).max()
    relative = np.abs(got["logits"] - expected["logits"]).max() / scale
    print(f"{case}: logits {relative:.2e} of the largest")
    assert relative <= 1e-5

    routers = [name for name in expected if name.startswith("router.") and name.endswith(".ids")]
    for name in routers:
        np.testing.assert_array_equal(got[name], expected[name])
        weights = name.replace(".ids", ".weights")
        worst = np.abs(got[weights] - expected[weights]).max()
        assert worst <= 5 * error["router_weights_max_abs"], f"{weights}: {worst:.2e}"

    prompt = expected["greedy_prompt"][None, :]
    length = len(expected["greedy_ids"])
    got = evaluate(folder, prompt, tmp_path / "greedy.safetensors", "--greedy", length)
    np.testing.assert_array_equal(got["greedy_ids"][0], expected["greedy_ids"])

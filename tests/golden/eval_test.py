"""`switchyard eval` in class fp32 against expected values made with other people's software."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip

CASES = [
    *(f"models/{case}" for case in [
        "mixtral", "mixtral_swa", "mixtral_sharded", "mixtral_bf16", "mixtral_fine", "llama",
        "deepseek_v2", "deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8", "deepseek_v3_mtp",
        "deepseek_v3_noqlora", "glm4_moe", "gpt_oss", "gpt_oss_mxfp4", "olmoe", "phimoe",
        "qwen2_moe", "qwen3_moe", "switch", "switch_drop",
    ]),
    *(f"own_models/{case}" for case in [
        "deepseek_v3_fp8", "deepseek_v3_mtp", "glam_drops", "glam_no_drops", "gpt_moe_learned",
        "gpt_moe_sinusoidal",
    ]),
]


def token_rows(expected):
    """What `switchyard eval` reads of a case: with an encoder, the decoder's tokens too."""
    names = ["input_ids", "decoder_input_ids"]
    return {name: expected[name].tolist() for name in names if name in expected}


def evaluate(folder, rows, out, *arguments):
    """`rows`: of token_rows(), or an array of input_ids."""
    tokens = out.with_suffix(".json")
    tokens.write_text(json.dumps(rows if isinstance(rows, dict) else {"input_ids": rows.tolist()}))
    switchyard.run(
        "eval", folder, "--tokens", tokens, "--out", out, "--in-process", "--transport",
        "loopback", "--expert-hosts", 2, *arguments,
    )
    return load_file(out)


def by_expert(ids, weights):
    """Both in ascending order of ids: some references promise no order."""
    order = np.argsort(ids, axis=-1, kind="stable")
    return np.take_along_axis(ids, order, -1), np.take_along_axis(weights, order, -1)


def routers(expected, got):
    """(name, expected ids and weights, ours) of the layers that a plain forward pass computes."""
    for name in sorted(expected):
        if "router." in name and name.endswith(".ids") and name in got:
            weights = name.replace(".ids", ".weights")
            wanted = expected[weights]
            # Switch gives the weight before the capacity, and what was dropped beside it.
            dropped = expected.get(name.replace(".ids", ".dropped"))
            if dropped is not None:
                wanted = np.where(dropped[..., None], 0, wanted)
            yield name, by_expert(expected[name], wanted), by_expert(got[name], got[weights])


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, tmp_path):
    folder = fixture_or_skip(case)
    expected = load_file(folder / "expected.safetensors")
    error = json.loads((folder / "meta.json").read_text())["fp32_vs_fp64"]

    got = evaluate(folder, token_rows(expected), tmp_path / "out.safetensors",
                   "--dtype", "fp32")
    scale = np.abs(expected["logits"]).max()
    relative = np.abs(got["logits"] - expected["logits"]).max() / scale
    print(f"{case}: logits {relative:.2e} of the largest")
    assert relative <= max(1e-5, 3 * error["logits_max_rel"])

    compared = list(routers(expected, got))
    assert len(compared) == sum(name.endswith(".ids") for name in got if "router." in name)
    for name, (ids, weights), (got_ids, got_weights) in compared:
        np.testing.assert_array_equal(got_ids, ids, err_msg=name)
        worst = np.abs(got_weights - weights).max()
        assert worst <= 5 * error["router_weights_max_abs"], f"{name}: {worst:.2e}"

    prompt = expected["greedy_prompt"].reshape(1, -1)
    length = expected["greedy_ids"].size
    got = evaluate(folder, prompt, tmp_path / "greedy.safetensors", "--greedy", length,
                   "--dtype", "fp32")
    np.testing.assert_array_equal(got["greedy_ids"][0], expected["greedy_ids"].reshape(-1))

"""`switchyard eval` in class fp32 against expected values made with other people's software."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.golden.cases import CASES, evaluate, token_rows
from tests.support.fixtures import fixture_or_skip


def by_expert(ids, weights):
    """Both in ascending order of ids: some references promise no order."""
    order = np.argsort(ids, axis=-1, kind="stable")
    return np.take_along_axis(ids, order, -1), np.take_along_axis(weights, order, -1)


def routers(expected, got):
    """(name, expected ids and weights, ours) of every layer with a router."""
    for name in sorted(got):
        if "router." in name and name.endswith(".ids"):
            weights = name.replace(".ids", ".weights")
            wanted = expected[weights]
            # Switch gives the weight before the capacity, and what was dropped beside it.
            dropped = expected.get(name.replace(".ids", ".dropped"))
            if dropped is not None:
                wanted = np.where(dropped[..., None], 0, wanted)
            yield name, by_expert(expected[name], wanted), by_expert(got[name], got[weights])


def assert_close(name, got, expected, error):
    """Their largest difference, relative to the largest number."""
    assert got.shape == expected.shape
    relative = np.abs(got - expected).max() / np.abs(expected).max()
    assert relative <= max(1e-5, 3 * error), f"{name}: {relative:.2e}"
    return relative


def assert_routing(expected, got, error):
    """The largest difference of a weight; ids are equal."""
    worst = 0.0
    for name, (ids, weights), (got_ids, got_weights) in routers(expected, got):
        np.testing.assert_array_equal(got_ids, ids, err_msg=name)
        difference = np.abs(got_weights - weights).max()
        assert difference <= 5 * error["router_weights_max_abs"], f"{name}: {difference:.2e}"
        worst = max(worst, difference)
    return worst


def mtp_names(folder, expected):
    """What the models/ fixtures call otherwise; the block is the layer behind the last."""
    if "mtp.logits" not in expected:
        return {}
    layer = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    names = {"mtp.logits": "mtp_logits", "mtp.hidden": "mtp_hidden",
             "mtp.router.0.ids": f"router.{layer}.ids",
             "mtp.router.0.weights": f"router.{layer}.weights"}
    return {new: expected[old] for old, new in names.items()}


def mtp_hidden(folder, got, expected):
    """Ours, before the block's final norm, as the case has it: models/ keeps them after it."""
    if "mtp.hidden" not in expected:
        return got["mtp_hidden"]
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    norm = weights[f"model.layers.{config['num_hidden_layers']}.shared_head.norm.weight"]
    hidden = got["mtp_hidden"].astype(np.float64)
    square = np.mean(hidden**2, axis=-1, keepdims=True)
    return hidden / np.sqrt(square + config["rms_norm_eps"]) * norm


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case, tmp_path, record_property):
    folder = fixture_or_skip(case)
    expected = load_file(folder / "expected.safetensors")
    error = json.loads((folder / "meta.json").read_text())["fp32_vs_fp64"]

    got = evaluate(folder, token_rows(expected), tmp_path / "out.safetensors",
                   "--dtype", "fp32")
    logits = assert_close(f"{case}: logits", got["logits"], expected["logits"],
                          error["logits_max_rel"])
    expected = {**expected, **mtp_names(folder, expected)}
    weights = assert_routing(expected, got, error)
    measured = f"fp32 {case:31} logits {logits:.1e}, router weights {weights:.1e}, ids equal"

    if "mtp_logits" in expected:
        limit = error.get("mtp_logits_max_rel", error["logits_max_rel"])
        guesses = assert_close(f"{case}: mtp_logits", got["mtp_logits"], expected["mtp_logits"],
                               limit)
        measured += f", prediction block {guesses:.1e}"
        limit = error["hidden_max_rel"]
        assert_close(f"{case}: mtp_hidden", mtp_hidden(folder, got, expected),
                     expected["mtp_hidden"], limit)

    prompt = expected["greedy_prompt"].reshape(1, -1)
    length = expected["greedy_ids"].size
    got = evaluate(folder, prompt, tmp_path / "greedy.safetensors", "--greedy", length,
                   "--dtype", "fp32")
    np.testing.assert_array_equal(got["greedy_ids"][0], expected["greedy_ids"].reshape(-1))
    record_property("measured", f"{measured}, {length} greedy tokens equal")


def test_untied_stacks_have_tables_of_their_own(tmp_path):
    folder = fixture_or_skip("models/switch")
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    table = tensors["shared.weight"]
    tensors |= {"encoder.embed_tokens.weight": table, "decoder.embed_tokens.weight": table.copy(),
                "lm_head.weight": table * np.float32(config["d_model"] ** -0.5),
                "shared.weight": np.zeros_like(table)}
    untied = tmp_path / "untied"
    untied.mkdir()
    save_file(tensors, untied / "model.safetensors")
    (untied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))

    expected = load_file(folder / "expected.safetensors")
    got = evaluate(untied, token_rows(expected), tmp_path / "out.safetensors", "--dtype", "fp32")
    assert_close("logits", got["logits"], expected["logits"], 0)


def test_guesses_what_the_reference_guesses(tmp_path):
    folder = fixture_or_skip("own_models/deepseek_v3_mtp")
    expected = load_file(folder / "expected.safetensors")
    tokens = np.concatenate([expected["greedy_prompt"].ravel(), expected["greedy_ids"].ravel()])
    got = evaluate(folder, tokens.reshape(1, -1), tmp_path / "out.safetensors",
                   "--dtype", "fp32")
    guesses = got["mtp_logits"][0].argmax(axis=-1)
    np.testing.assert_array_equal(guesses, expected["greedy_draft_ids"])
    right = guesses[:-1] == tokens[2:]
    np.testing.assert_array_equal(right, expected["greedy_draft_accepted"].astype(bool))

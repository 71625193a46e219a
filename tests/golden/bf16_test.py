"""Class bf16 beside class fp32: as close as the number of its roundings lets one expect.

A rounding to bf16 moves a number by at most 2^-9 of itself. On the way from an embedding to a logit a layer
rounds its normed input, the weights of q, k and v, what is cached, what attention gives and the weights of
the output; then the FFN's normed input, gate and up weights, the product of both, the down weights, an
expert's row, and each sum of rows, of which there are log2(top_k) one upon the other. Embedding, final norm
and head add three. Behind an encoder its layers count too, its embedding and final norm, and in each layer of
the decoder the five of cross attention. If every rounding moved a logit by as much as itself, and all in one
direction, the error would be their number times 2^-9 of the largest logit: that is the bound.

It holds while a token's experts are those of class fp32. Close decisions fall differently in class bf16
(an exact rounding of a score is enough), so rows are compared up to the first such token of a sequence, and
such tokens must be few. With an encoder, one of them in the source changes every row behind it, so the cases'
sequences are cut into shorter ones, of which those are compared whose source has none.
"""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.golden.cases import CASES, evaluate, token_rows
from tests.support.fixtures import fixture_or_skip

ROUNDING = 2.0**-9
OTHER_EXPERTS = 0.1  # of the tokens, at most
# Rows that are compared, at least. One such token early in a sequence takes all behind it away.
COMPARABLE = 0.1
COMPARABLE_SOURCES = 0.5
# A weight that moves further is another decision, too: a capacity dropped the expert, or the threshold of a
# sparse-mixer, whose weights are softmaxes over what it keeps, kept another logit.
JUMP = 0.1


PIECES = 4  # that sequences behind an encoder are cut into


def roundings(config):
    if "num_decoder_layers" in config:
        return config["num_layers"] * 10 + 2 + config["num_decoder_layers"] * (10 + 5) + 3
    layers = config.get("num_hidden_layers") or config["n_layer"]
    top_k = config.get("num_experts_per_tok") or 1
    return layers * (10 + math.ceil(math.log2(top_k))) + 3


def same_decisions(fp32, bf16, shape, stack=""):
    """[rows][tokens]: all layers chose the same experts; and no weight of theirs jumped. The block
    for multi-token prediction, which has one token less, is behind the logits."""
    same, steady = np.ones(shape, bool), np.ones(shape, bool)
    for name in fp32:
        if (name.startswith(f"{stack}router.") and name.endswith(".ids")
                and fp32[name].shape[:2] == shape):
            same &= (np.sort(fp32[name], -1) == np.sort(bf16[name], -1)).all(-1)
            weights = name.replace(".ids", ".weights")
            moved = np.abs(np.sort(fp32[weights], -1) - np.sort(bf16[weights], -1))
            steady &= (moved <= JUMP).all(-1)
    return same, same & steady


def comparable_rows(fp32, bf16, shape):
    """[rows][tokens] without an encoder: those before the first other decision of their sequence."""
    same, alike = same_decisions(fp32, bf16, shape)
    assert (~same).mean() <= OTHER_EXPERTS
    return np.logical_and.accumulate(alike, axis=1)


def comparable_rows_behind_encoder(fp32, bf16, source_shape, shape):
    """The same of the decoder's sequences whose source has no other decision."""
    same, alike = same_decisions(fp32, bf16, source_shape, "encoder.")
    assert (~same).mean() <= OTHER_EXPERTS
    sources = alike.all(axis=1)
    assert sources.mean() >= COMPARABLE_SOURCES
    same, alike = same_decisions(fp32, bf16, shape, "decoder.")
    assert (~same[sources]).mean() <= OTHER_EXPERTS
    return np.logical_and.accumulate(alike, axis=1) & sources[:, None]


@pytest.mark.parametrize("case", CASES)
def test_error_is_within_the_roundings(case, tmp_path, record_property):
    folder = fixture_or_skip(case)
    rows = {name: np.array(ids)
            for name, ids in token_rows(load_file(folder / "expected.safetensors")).items()}
    encoder = "decoder_input_ids" in rows
    if encoder:
        rows = {name: ids.reshape(-1, ids.shape[1] // PIECES) for name, ids in rows.items()}
    fp32, bf16 = (
        evaluate(folder, {name: ids.tolist() for name, ids in rows.items()},
                 tmp_path / f"{dtype}.safetensors", "--dtype", dtype)
        for dtype in ("fp32", "bf16")
    )
    shape = fp32["logits"].shape[:2]
    comparable = (
        comparable_rows_behind_encoder(fp32, bf16, rows["input_ids"].shape, shape)
        if encoder else comparable_rows(fp32, bf16, shape)
    )
    assert comparable.mean() >= COMPARABLE

    difference = np.abs(fp32["logits"] - bf16["logits"])[comparable]
    error = difference.max() / np.abs(fp32["logits"]).max()
    bound = roundings(json.loads((folder / "config.json").read_text())) * ROUNDING
    record_property("measured", f"bf16 {case:32} logits {error:.4f}, bound {bound:.4f}, "
                                f"{comparable.sum()} of {comparable.size} rows")
    assert error <= bound

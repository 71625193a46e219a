"""A prompt of 32,768 tokens on a cut of the fine-grained design: MQA, 16 experts top-4, rope widened
for 262,144 positions by alpha 8. Its logits are those of the same formulas in fp64, whatever the chunks."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.support import switchyard

TOKENS = 32768
HIDDEN, HEADS, HEAD_DIM, EXPERTS, TOP_K, FFN, VOCABULARY = 64, 2, 64, 16, 4, 96, 48
EPSILON, THETA, ALPHA = 1e-5, 10000.0, 8.0
PROBED = [0, 1, 4095, 16384, 32766, 32767]

CONFIG = {
    "model_type": "mixtral", "hidden_size": HIDDEN, "num_hidden_layers": 1,
    "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD_DIM,
    "intermediate_size": FFN, "num_local_experts": EXPERTS, "num_experts_per_tok": TOP_K,
    "vocab_size": VOCABULARY, "max_position_embeddings": 262144, "rms_norm_eps": EPSILON,
    "rope_theta": THETA, "rope_scaling": {"type": "ntk", "alpha": ALPHA},
    "sliding_window": None, "tie_word_embeddings": False, "hidden_act": "silu",
}


def random_tensors(rng):
    """Matrices keep the size of what they multiply, so that scores and choices differ widely."""
    shapes = {
        "model.embed_tokens": (VOCABULARY, HIDDEN),
        "lm_head": (VOCABULARY, HIDDEN),
        "model.layers.0.self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.k_proj": (HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.v_proj": (HEAD_DIM, HIDDEN),
        "model.layers.0.self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
        "model.layers.0.block_sparse_moe.gate": (EXPERTS, HIDDEN),
    }
    for expert in range(EXPERTS):
        prefix = f"model.layers.0.block_sparse_moe.experts.{expert}."
        shapes |= {prefix + "w1": (FFN, HIDDEN), prefix + "w3": (FFN, HIDDEN),
                   prefix + "w2": (HIDDEN, FFN)}
    tensors = {name + ".weight": rng.standard_normal(shape) / shape[1]**0.5
               for name, shape in shapes.items()}
    for name in ["model.norm", "model.layers.0.input_layernorm",
                 "model.layers.0.post_attention_layernorm"]:
        tensors[name + ".weight"] = 1 + 0.1 * rng.standard_normal(HIDDEN)
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight


def silu(x):
    return x / (1 + np.exp(-x))


def rotate(x, positions):
    base = THETA * ALPHA**(HEAD_DIM / (HEAD_DIM - 2))
    inverse = (1 / base**(np.arange(0, HEAD_DIM, 2) / HEAD_DIM)).astype(np.float32)
    # The angle is one product in fp32, as transformers computes it.
    angles = (positions[:, None].astype(np.float32) * inverse).astype(np.float64)
    a, b = np.split(x, 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def expected_logits(tensors, ids):
    """fp64, at PROBED. One layer, so keys and values follow from the embeddings alone."""
    w = {name.removesuffix(".weight").removeprefix("model.layers.0."): tensor.astype(np.float64)
         for name, tensor in tensors.items()}
    embedded = w["model.embed_tokens"][ids]
    normed = norm(embedded, w["input_layernorm"])
    positions = np.arange(len(ids))
    keys = rotate(normed @ w["self_attn.k_proj"].T, positions)
    values = normed @ w["self_attn.v_proj"].T
    result = []
    for t in PROBED:
        queries = (w["self_attn.q_proj"] @ normed[t]).reshape(HEADS, HEAD_DIM)
        scores = rotate(queries, np.full(HEADS, t)) @ keys[:t + 1].T / HEAD_DIM**0.5
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (weights / weights.sum(-1, keepdims=True)) @ values[:t + 1]
        x = embedded[t] + w["self_attn.o_proj"] @ attended.reshape(-1)
        y = norm(x, w["post_attention_layernorm"])
        router = w["block_sparse_moe.gate"] @ y
        chosen = np.argsort(-router)[:TOP_K]
        gates = np.exp(router[chosen] - router[chosen].max())
        for expert, gate in zip(chosen, gates / gates.sum()):
            w1, w2, w3 = (w[f"block_sparse_moe.experts.{expert}.w{i}"] for i in (1, 2, 3))
            x = x + gate * (w2 @ (silu(w1 @ y) * (w3 @ y)))
        result.append(w["lm_head"] @ norm(x, w["model.norm"]))
    return np.array(result)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fine")
    rng = np.random.default_rng(7)
    tensors = random_tensors(rng)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    ids = rng.integers(0, VOCABULARY, TOKENS)
    tokens = folder.parent / "tokens.json"
    tokens.write_text(json.dumps({"input_ids": [ids.tolist()]}))
    return folder, tokens, expected_logits(tensors, ids)


def test_logits_far_out_are_exact_and_free_of_chunks(checkpoint, tmp_path, record_property):
    folder, tokens, expected = checkpoint
    outputs = []
    for chunk in (256, 1000):
        out = tmp_path / f"{chunk}.safetensors"
        switchyard.run("eval", folder, "--tokens", tokens, "--out", out, "--dtype", "fp32",
                       "--in-process", "--transport", "loopback", "--prefill-chunk", chunk,
                       timeout=900)
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]
    logits = load_file(tmp_path / "256.safetensors")["logits"][0, PROBED]
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    record_property("measured", f"fp32 a prompt of {TOKENS} tokens         logits {error:.1e}")
    assert error <= 1e-5

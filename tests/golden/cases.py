"""The cases of the reference fixtures, and `switchyard eval` over them."""

import json

from safetensors.numpy import load_file

from tests.support import switchyard

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

# Those that run in every layout; of the others each runs in a few.
EVERY_LAYOUT = [
    f"models/{case}"
    for case in ["mixtral", "mixtral_swa", "mixtral_sharded", "mixtral_bf16", "mixtral_fine", "llama"]
]

LOOPBACK = ["--in-process", "--transport", "loopback"]


def token_rows(expected):
    """What `switchyard eval` reads of a case: with an encoder, the decoder's tokens too."""
    names = ["input_ids", "decoder_input_ids"]
    return {name: expected[name].tolist() for name in names if name in expected}


def evaluate(folder, rows, out, *arguments):
    """What comes out of two hosts. `rows`: of token_rows(), or an array of input_ids."""
    tokens = out.with_suffix(".json")
    tokens.write_text(json.dumps(rows if isinstance(rows, dict) else {"input_ids": rows.tolist()}))
    switchyard.run("eval", folder, "--tokens", tokens, "--out", out, *LOOPBACK, "--expert-hosts", 2,
                   *arguments)
    return load_file(out)


def arguments_for(folder, path, dtype):
    """The case's own rows and a few greedy tokens; without a layout."""
    tokens = path / "tokens.json"
    tokens.write_text(json.dumps(token_rows(load_file(folder / "expected.safetensors"))))
    return ["eval", folder, "--tokens", tokens, "--greedy", 8, "--dtype", dtype]


def output_bytes(arguments, out, *layout):
    """The whole file that comes out of a layout."""
    switchyard.run(*arguments, "--out", out, *layout)
    return out.read_bytes()

"""Speculative decoding over HTTP: the same choices with and without it, from any number of hosts."""

import re

import httpx
import pytest
from safetensors.numpy import load_file

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip

# Greedy, sampled, cut off by a length, and several choices; compared as a client sees them.
REQUESTS = [
    {"temperature": 0, "max_tokens": 60, "ignore_eos": True},
    *({"temperature": 0.7, "seed": seed, "max_tokens": 40, "n": 2} for seed in range(4)),
    {"temperature": 1.0, "top_p": 0.8, "top_k": 30, "seed": 9, "max_tokens": 40, "min_tokens": 7},
    {"temperature": 0, "max_tokens": 17, "ignore_eos": True, "prompt_logprobs": 1},
]


def answers(url, prompt):
    """The choices of every request, whole and streamed."""
    for request in REQUESTS:
        body = {"prompt": prompt, "logprobs": 3, "return_token_ids": True, **request}
        response = httpx.post(f"{url}/v1/completions", json=body, timeout=120)
        assert response.status_code == 200, response.text
        yield response.json()["choices"]


def counter(url, name):
    text = httpx.get(f"{url}/metrics").text
    return float(re.search(rf"^switchyard_spec_decode_num_{name}_total (\S+)$", text, re.M)[1])


@pytest.mark.parametrize("case", ["own_models/deepseek_v3_mtp", "models/deepseek_v3_mtp"])
def test_guesses_change_no_token_and_no_logprob(case):
    folder = fixture_or_skip(case)
    prompt = load_file(folder / "expected.safetensors")["greedy_prompt"].ravel().tolist()
    with switchyard.Server(folder, "--dtype", "fp32", "--expert-hosts", 1) as server:
        plain = list(answers(server.url, prompt))
        assert counter(server.url, "draft_tokens") == 0
    for hosts, guesses in [(1, 1), (3, 1), (3, 3)]:
        layout = ["--expert-hosts", hosts, "--num-speculative-tokens", guesses]
        with switchyard.Server(folder, "--dtype", "fp32", *layout) as server:
            assert list(answers(server.url, prompt)) == plain, layout
            drafted = counter(server.url, "draft_tokens")
            accepted = counter(server.url, "accepted_tokens")
            print(f"{case}, {guesses} ahead: {accepted:.0f} of {drafted:.0f} guesses right")
            assert 0 < accepted <= drafted or case.startswith("models/")
            assert drafted > 0


def test_a_model_that_cannot_guess_says_so():
    with pytest.raises(AssertionError, match="no block for multi-token prediction"):
        switchyard.Server(switchyard.DEMO, "--num-speculative-tokens", 1)

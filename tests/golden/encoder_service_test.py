"""An encoder-decoder over HTTP: the prompt is what the encoder reads."""

import httpx
from safetensors.numpy import load_file

from tests.support import switchyard
from tests.support.fixtures import fixture_or_skip


def test_completions_of_an_encoder_decoder():
    folder = fixture_or_skip("models/switch_drop")
    expected = load_file(folder / "expected.safetensors")
    prompt, answer = expected["greedy_prompt"].tolist(), expected["greedy_ids"].tolist()
    body = {"prompt": prompt, "max_tokens": len(answer), "temperature": 0, "ignore_eos": True,
            "return_token_ids": True}
    with switchyard.Server(folder, "--dtype", "fp32", "--expert-hosts", 2) as server:
        def post(path, **fields):
            return httpx.post(f"{server.url}/v1/{path}", json=fields, timeout=120)

        for _ in range(2):  # the second time nothing is cached either
            completion = post("completions", **body).json()
            assert completion["choices"][0]["token_ids"] == answer
            usage = completion["usage"]
            assert usage["prompt_tokens"] == len(prompt)
            assert usage["completion_tokens"] == len(answer)
            assert usage["prompt_tokens_details"]["cached_tokens"] == 0

        chat = post("chat/completions", messages=[{"role": "user", "content": "Hello"}])
        assert chat.status_code == 400
        assert "no chat template" in chat.json()["error"]["message"]
        scored = post("completions", **body, prompt_logprobs=0)
        assert scored.status_code == 400
        assert "prompt_logprobs: the model has an encoder" in scored.json()["error"]["message"]

"""openai-python, unchanged, against a real server with the demo model."""

import asyncio
import json
import math
import pathlib

import openai
import pytest

from tests.support import switchyard

MODEL = "demo"
QUESTION = [{"role": "user", "content": "Who goes there?"}]


def chat(client, **fields):
    return client.chat.completions.create(model=MODEL, messages=QUESTION, **fields)


def complete(client, prompt="Hark! who", **fields):
    return client.completions.create(model=MODEL, prompt=prompt, **fields)


def test_models(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).owned_by == "switchyard"


def test_the_expected_answers_token_for_token(client):
    for expected in json.loads(pathlib.Path(switchyard.DEMO, "expected.json").read_text()):
        answer = client.chat.completions.create(
            model=MODEL,
            messages=expected["messages"],
            temperature=0,
            max_tokens=64,
            extra_body={"return_token_ids": True},
        )
        choice = answer.choices[0]
        assert choice.token_ids == expected["greedy_ids"]
        assert choice.prompt_token_ids == expected["prompt_ids"]
        assert choice.message.content == expected["text"]
        assert answer.usage.prompt_tokens == len(expected["prompt_ids"])
        assert answer.usage.completion_tokens == len(expected["greedy_ids"])


def test_a_stream_says_the_same(client):
    whole = chat(client, temperature=0, max_tokens=30)
    chunks = list(
        chat(client, temperature=0, max_tokens=30, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


def test_completions_and_echo(client):
    plain = complete(client, temperature=0, max_tokens=8)
    echoed = complete(client, temperature=0, max_tokens=8, echo=True)
    assert echoed.choices[0].text == "Hark! who" + plain.choices[0].text
    streamed = complete(client, temperature=0, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == plain.choices[0].text


def test_several_prompts_and_choices(client):
    answer = complete(client, ["My lord", "Good morrow"], n=2, seed=3, temperature=1, max_tokens=6)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    alone = complete(client, "Good morrow", seed=3, temperature=1, max_tokens=6)
    assert alone.choices[0].text == answer.choices[2].text


def test_seeds(client):
    texts = [
        chat(client, seed=seed, temperature=1, max_tokens=24).choices[0].message.content
        for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1
    choices = chat(client, seed=1, n=3, temperature=1, max_tokens=24).choices
    assert choices[0].message.content == texts[0]


def test_stop_strings(client):
    full = chat(client, temperature=0, max_tokens=30).choices[0].message.content
    stop = full[4:9]  # lies across tokens
    for stream in (False, True):
        answer = chat(client, temperature=0, max_tokens=30, stop=["nowhere", stop], stream=stream)
        if stream:
            chunks = list(answer)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            reason = chunks[-1].choices[0].finish_reason
        else:
            text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
        assert text == full[: full.index(stop)]
        assert reason == "stop"


def token_ids(client, prompt="Hark! who", **fields):
    answer = complete(client, prompt, extra_body={"return_token_ids": True, **fields})
    return answer.choices[0].token_ids


def test_logit_bias(client):
    plain = token_ids(client, temperature=0, max_tokens=6)
    other = plain[0] + 1
    forced = token_ids(client, temperature=0, max_tokens=6, logit_bias={str(other): 100})
    assert forced == [other] * 6
    without = token_ids(client, temperature=0, max_tokens=6, logit_bias={str(plain[0]): -100})
    assert plain[0] not in without
    only = token_ids(client, temperature=1, max_tokens=6, allowed_token_ids=[other, plain[0]])
    assert set(only) <= {other, plain[0]}


def test_penalties(client):
    # Without a penalty the favoured token comes again and again, with one it does so once.
    ask = {"temperature": 0, "max_tokens": 8, "ignore_eos": True, "logit_bias": {"705": 100}}
    assert token_ids(client, **ask) == [705] * 8
    once = token_ids(client, **ask, repetition_penalty=50)
    assert once.count(705) == 1
    for penalty in ("presence_penalty", "frequency_penalty"):
        plain = token_ids(client, temperature=0, max_tokens=40, ignore_eos=True)
        varied = token_ids(client, temperature=0, max_tokens=40, ignore_eos=True, **{penalty: 2})
        assert len(set(varied)) > len(set(plain))


def test_bad_words(client):
    words = complete(client, temperature=0, max_tokens=12).choices[0].text.split()
    word = max(words, key=len)
    answer = complete(client, temperature=0, max_tokens=12, extra_body={"bad_words": [word]})
    assert f" {word} " not in answer.choices[0].text


def test_chat_logprobs(client):
    choice = chat(client, temperature=0, max_tokens=12, logprobs=True, top_logprobs=3).choices[0]
    content = choice.logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in content).decode().lstrip().startswith(
        choice.message.content
    )
    for entry in content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs)  # greedy
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-5


def test_completion_logprobs(client):
    logprobs = complete(client, temperature=0, max_tokens=5, logprobs=2).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 5
    for chosen, top in zip(logprobs.token_logprobs, logprobs.top_logprobs):
        assert chosen == max(top.values())


def test_what_lm_eval_sends(client):
    ids = [1, 705, 1805, 479, 4069, 277, 447]
    choice = complete(
        client, [ids], temperature=0, max_tokens=1, logprobs=1, echo=True
    ).choices[0]
    assert len(choice.logprobs.token_logprobs) == len(ids) + 1
    assert choice.logprobs.token_logprobs[0] is None
    # The log-probability of a prompt token is what generating it would have had.
    for place in range(1, len(ids)):
        top = complete(
            client, [ids[:place]], temperature=0, max_tokens=1, logprobs=20
        ).choices[0].logprobs
        best = max(top.top_logprobs[0].values())
        assert choice.logprobs.token_logprobs[place] <= best
        if choice.logprobs.tokens[place] == top.tokens[0]:
            assert choice.logprobs.token_logprobs[place] == top.token_logprobs[0]


def test_usage_counts_cached_tokens(client):
    messages = [{"role": "user", "content": "Tell me of the sea, and of the ships upon it. " * 12}]
    ask = dict(model=MODEL, messages=messages, temperature=0, max_tokens=2)
    client.chat.completions.create(**ask)
    usage = client.chat.completions.create(**ask).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


def test_errors(client):
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="x")
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, temperature=-1)
    assert error.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as error:
        complete(client, "word " * 20000)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": "I begin"}]
        )


def mixed_requests():
    """64 requests: chats and completions, greedy and seeded, short and long, streamed or not."""
    for index in range(64):
        fields = {
            "temperature": [0, 0.8, 1.0][index % 3],
            "seed": index,
            "max_tokens": [4, 12, 40, 7][index % 4],
            "stream": index % 5 == 0,
        }
        words = ["king", "queen", "fool", "ghost", "sea"][index % 5]
        yield index % 2 == 0, f"What of the {words}? " * (1 + index % 7), fields


async def answer_one(client, is_chat, prompt, fields):
    if is_chat:
        answer = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt}], **fields
        )
        if not fields["stream"]:
            return answer.choices[0].message.content
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
    answer = await client.completions.create(model=MODEL, prompt=prompt, **fields)
    if not fields["stream"]:
        return answer.choices[0].text
    return "".join([chunk.choices[0].text async for chunk in answer])


def test_concurrent_requests_answer_as_if_alone(async_client):
    requests = list(mixed_requests())

    async def run():
        alone = [await answer_one(async_client, *request) for request in requests]
        together = await asyncio.gather(
            *(answer_one(async_client, *request) for request in requests)
        )
        return alone, list(together)

    alone, together = asyncio.run(run())
    assert together == alone

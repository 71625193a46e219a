"""The gateway's gRPC API, by grpcio, against a real server with the demo model."""

import importlib
import math
import socket
import sys
import time

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

from tests.support import switchyard

KEY = "the-key"
METADATA = [("authorization", f"Bearer {KEY}")]


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    """The messages and the stub, generated as a user would."""
    out = tmp_path_factory.mktemp("generated")
    include = importlib.resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", "-I.", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}"]
    assert protoc.main([*arguments, "proto/inference.proto"]) == 0
    sys.path.insert(0, str(out))
    return importlib.import_module("proto.inference_pb2"), importlib.import_module(
        "proto.inference_pb2_grpc"
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    port = free_port()
    layout = ["--expert-hosts", 1, "--dtype", "fp32", "--served-model-name", "demo"]
    with switchyard.Server(
        switchyard.DEMO, *layout, "--api-key-file", keys, "--grpc-port", port
    ) as running:
        running.grpc_address = f"127.0.0.1:{port}"
        yield running


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(pb, channel):
    return pb[1].InferenceStub(channel)


def post(server, path, body):
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{server.url}{path}", json=body, headers=headers, timeout=60).json()


def running_requests(server):
    headers = {"Authorization": f"Bearer {KEY}"}
    for line in httpx.get(f"{server.url}/metrics", headers=headers).text.splitlines():
        if line.startswith("switchyard_requests_running "):
            return float(line.split()[-1])
    raise AssertionError("no metric")


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def completion(pb, *texts, **fields):
    own = {name: fields.pop(name) for name in ("logprobs", "echo") if name in fields}
    return pb[0].CompletionRequest(
        prompt=[pb[0].Prompt(text=text) for text in texts],
        parameters=pb[0].Parameters(**fields),
        **own,
    )


def chat(pb, **fields):
    message = pb[0].Message(role="user", content="Who goes there?")
    return pb[0].ChatRequest(messages=[message], parameters=pb[0].Parameters(**fields))


def test_health_is_open_to_all(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "switchyard.inference.v1.Inference"):
        request = health_pb2.HealthCheckRequest(service=service)
        serving = health_pb2.HealthCheckResponse.SERVING
        wait_for(lambda: health.Check(request).status == serving, 10)


def test_models(pb, stub):
    models = stub.ListModels(pb[0].ListModelsRequest(), metadata=METADATA).data
    assert [model.id for model in models] == ["demo"]
    assert models[0].max_model_len > 0


def test_tokenize_and_back(pb, stub, server):
    text = "Now is the winter of our discontent — née 😀"
    request = pb[0].TokenizeRequest(prompt=text, add_special_tokens=False)
    answer = stub.Tokenize(request, metadata=METADATA)
    body = {"prompt": text, "add_special_tokens": False}
    assert list(answer.tokens) == post(server, "/tokenize", body)["tokens"]
    back = stub.Detokenize(pb[0].DetokenizeRequest(tokens=answer.tokens), metadata=METADATA)
    assert back.prompt == text


def test_it_says_what_http_says(pb, stub, server):
    fields = {"max_tokens": 12, "seed": 2**53 + 1, "temperature": 0.9, "n": 2}
    over_http = post(server, "/v1/completions", {"prompt": ["Hark", "My lord"], **fields})
    answer = stub.Complete(completion(pb, "Hark", "My lord", **fields), metadata=METADATA)
    assert [choice.text for choice in answer.choices] == [
        choice["text"] for choice in over_http["choices"]
    ]
    assert answer.usage.completion_tokens == over_http["usage"]["completion_tokens"]
    assert answer.choices[0].finish_reason == over_http["choices"][0]["finish_reason"]

    message = {"role": "user", "content": "Who goes there?"}
    over_http = post(server, "/v1/chat/completions", {"messages": [message], "temperature": 0})
    answer = stub.Chat(chat(pb, temperature=0), metadata=METADATA)
    assert answer.choices[0].message.content == over_http["choices"][0]["message"]["content"]


def test_fields_of_sampling_arrive(pb, stub, server):
    fields = {"max_tokens": 12, "temperature": 0, "logit_bias": {"400": 3.5}, "min_p": 0.1,
              "presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2,
              "bad_words": ["lord"], "allowed_token_ids": list(range(100, 900))}
    over_http = post(server, "/v1/completions", {"prompt": "Hark", **fields})
    answer = stub.Complete(completion(pb, "Hark", **fields), metadata=METADATA)
    assert answer.choices[0].text == over_http["choices"][0]["text"]
    plain = stub.Complete(completion(pb, "Hark", max_tokens=12, temperature=0), metadata=METADATA)
    assert answer.choices[0].text != plain.choices[0].text


def test_a_stream_says_the_same(pb, stub):
    whole = stub.Chat(chat(pb, temperature=0, max_tokens=20), metadata=METADATA)
    parts = list(stub.ChatStream(chat(pb, temperature=0, max_tokens=20), metadata=METADATA))
    text = "".join(choice.delta.content for part in parts for choice in part.choices)
    assert text == whole.choices[0].message.content
    assert parts[-1].usage == whole.usage or (
        parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    )
    assert len({part.id for part in parts}) == 1


def test_logprobs_and_token_ids(pb, stub):
    request = completion(
        pb, "Hark", temperature=0, max_tokens=4, logprobs=2, echo=True, return_token_ids=True
    )
    choice = stub.Complete(request, metadata=METADATA).choices[0]
    chosen = choice.logprobs.token_logprobs
    assert math.isnan(chosen[0]) and all(number <= 0 for number in chosen[1:])
    assert len(choice.logprobs.top_logprobs) == len(chosen)
    assert len(chosen) == len(choice.prompt_token_ids) + len(choice.token_ids)
    request = chat(pb, temperature=0, max_tokens=4)
    request.logprobs, request.top_logprobs = True, 2
    content = stub.Chat(request, metadata=METADATA).choices[0].logprobs.content
    assert all(len(token.top_logprobs) == 2 and token.bytes for token in content)


def test_prompt_logprobs_are_those_of_http(pb, stub, server):
    fields = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 2}
    body = {"prompt": "Who goes there?", **fields}
    wanted = post(server, "/v1/completions", body)["choices"][0]["prompt_logprobs"]
    assert len(wanted) > 2 and wanted[0] is None
    request = completion(pb, "Who goes there?", **fields)
    whole = stub.Complete(request, metadata=METADATA).choices[0]
    parts = stub.CompleteStream(request, metadata=METADATA)
    streamed = [position for part in parts for choice in part.choices
                for position in choice.prompt_logprobs]
    for positions in (whole.prompt_logprobs, streamed):
        assert [MessageToDict(position) or None for position in positions] == wanted

    answer = stub.Chat(chat(pb, **fields), metadata=METADATA).choices[0]
    assert len(answer.prompt_logprobs) > 2 and len(answer.prompt_logprobs[1].fields) >= 2


def refused(call, request, code, word="", metadata=METADATA):
    with pytest.raises(grpc.RpcError) as error:
        answer = call(request, metadata=metadata)
        list(answer)  # of a stream
    assert error.value.code() == code, error.value
    assert word in error.value.details()


def test_errors(pb, stub):
    invalid, denied = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED
    for call in (stub.Complete, stub.CompleteStream):
        refused(call, completion(pb, "x", temperature=-1), invalid, "temperature")
        refused(call, completion(pb), invalid, "prompt")
        refused(call, completion(pb, "word " * 9000), invalid)
        refused(call, completion(pb, "x", model="other"), grpc.StatusCode.NOT_FOUND)
        for metadata in ([], [("authorization", "Bearer the-ke")]):
            refused(call, completion(pb, "x"), denied, metadata=metadata)
    refused(stub.ListModels, pb[0].ListModelsRequest(), denied, metadata=[])
    refused(stub.Complete, completion(pb, "x" * (9 << 20)), grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_the_request_id_comes_back(pb, stub):
    metadata = [*METADATA, ("x-request-id", "mine-1")]
    _, call = stub.ListModels.with_call(pb[0].ListModelsRequest(), metadata=metadata)
    assert ("x-request-id", "mine-1") in [tuple(entry) for entry in call.initial_metadata()]


def test_a_cancelled_call_frees_what_it_held(pb, stub, server):
    long = {"max_tokens": 1900, "ignore_eos": True}
    stream = stub.CompleteStream(completion(pb, "Hark", **long), metadata=METADATA)
    next(stream)
    wait_for(lambda: running_requests(server) == 1, 20)
    stream.cancel()
    # One second, and what a poll of the worker may be late.
    wait_for(lambda: running_requests(server) == 0, 1.5)
    future = stub.Complete.future(completion(pb, "Hark", **long), metadata=METADATA)
    wait_for(lambda: running_requests(server) == 1, 20)
    future.cancel()
    wait_for(lambda: running_requests(server) == 0, 1.5)


def test_a_deadline_ends_the_work(pb, stub, server):
    request = completion(pb, "Hark", max_tokens=1900, ignore_eos=True)
    for call in (stub.Complete, stub.CompleteStream):
        with pytest.raises(grpc.RpcError) as error:
            list(call(request, metadata=METADATA, timeout=0.5))
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_for(lambda: running_requests(server) == 0, 1.5)

"""What no client library shows: tokenization routes, metrics, disconnects, refusals."""

import json
import socket
import time
import urllib.parse

import httpx


def metric(url, name):
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    raise AssertionError(f"no metric {name}")


def test_health_and_version(url):
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.get(f"{url}/version").json()["version"]


def test_tokenize_and_back(url):
    text = "Now is the winter of our discontent\n  — née 😀"
    answer = httpx.post(f"{url}/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
    assert answer["count"] == len(answer["tokens"])
    back = httpx.post(f"{url}/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back["prompt"] == text


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def leave_in_the_middle(url, stream):
    """Sends a long request and closes the connection once it runs."""
    body = json.dumps(
        {"prompt": "Hark", "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    ).encode()
    address = urllib.parse.urlparse(url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    wait_for(lambda: metric(url, "switchyard_requests_running") >= 1, 20)
    connection.close()


def test_a_disconnect_stops_the_work(url):
    for stream in (True, False):
        wait_for(lambda: metric(url, "switchyard_requests_running") == 0, 60)
        leave_in_the_middle(url, stream)
        # One second, and what a poll of the worker may be late.
        wait_for(lambda: metric(url, "switchyard_requests_running") == 0, 1.5)


def test_bad_values_are_refused_and_named(url):
    for field, value in {
        "n": 2**31,
        "max_tokens": -1,
        "temperature": float("nan"),
        "top_p": 2,
        "stop": [1],
        "logprobs": 1000,
        "presence_penalty": 2.5,
        "repetition_penalty": 0,
        "min_p": -0.1,
        "logit_bias": {"x": 1},
        "allowed_token_ids": [-1],
        "bad_words": [""],
    }.items():
        body = json.dumps({"prompt": "x", field: value})  # writes NaN as Python does
        response = httpx.post(f"{url}/v1/completions", content=body)
        assert response.status_code == 400, (field, response.text)
        assert response.json()["error"]["param"] == field


def test_a_stream_is_server_sent_events(url):
    body = {"prompt": "Hark", "max_tokens": 3, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream"
        events = [event for event in response.read().decode().split("\n\n") if event]
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"

"""Streams of tokens from a gateway, watched for their text and for the longest pause."""

import json
import threading
import time

import httpx


class Stream(threading.Thread):
    """One streamed completion of token ids, greedy or seeded; join() it, then look at the results."""

    def __init__(self, url, prompt_ids, max_tokens, **fields):
        super().__init__(daemon=True)
        self._url = url
        self._body = {
            "prompt": prompt_ids,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "return_token_ids": True,
            **fields,
        }
        self.ids = []
        self.error = None
        self.longest_pause = 0.0
        self.first = threading.Event()

    def run(self):
        try:
            self._read()
        except Exception as error:  # shown by the test that joins
            self.error = error
        self.first.set()

    def _read(self):
        last = None
        with httpx.stream(
            "POST", f"{self._url}/v1/completions", json=self._body, timeout=120
        ) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code}: {response.read()}")
            for line in response.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line[len("data: "):])
                if "error" in event:
                    raise AssertionError(event["error"])
                for choice in event["choices"]:
                    self.ids += choice.get("token_ids") or []
                now = time.monotonic()
                if last is not None:
                    self.longest_pause = max(self.longest_pause, now - last)
                last = now
                self.first.set()


def run_streams(url, prompts, max_tokens, during=None, **fields):
    """Runs one stream for each prompt at once, calls `during` once all have begun. Their ids."""
    streams = [Stream(url, prompt, max_tokens, **fields) for prompt in prompts]
    for stream in streams:
        stream.start()
    for stream in streams:
        assert stream.first.wait(120)
    if during is not None:
        during(streams)
    for stream in streams:
        stream.join(300)
        assert not stream.is_alive(), "a stream hangs"
        if stream.error is not None:
            raise stream.error
    return streams

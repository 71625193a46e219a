"""A server for the tests of this folder: the one that SWITCHYARD_URL names, or one of their own."""

import os

import openai
import pytest

from tests.support import switchyard

# What the demo model is called when a server does not say otherwise.
MODEL = "demo"


@pytest.fixture(scope="session")
def url():
    if os.environ.get("SWITCHYARD_URL"):
        yield os.environ["SWITCHYARD_URL"].rstrip("/")
        return
    layout = ["--expert-hosts", 2, "--dtype", "fp32", "--served-model-name", MODEL]
    with switchyard.Server(switchyard.DEMO, *layout) as server:
        yield server.url


@pytest.fixture(scope="session")
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture
def async_client(url):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120)

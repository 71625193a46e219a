"""The demo model's loss on a play that it was not trained on, as its README gives it."""

import json
import re

import pytest

from tests.support import switchyard


@pytest.mark.parametrize("dtype, tolerance", [("fp32", 1e-4), ("bf16", 1e-2)])
def test_loss_of_the_demo_model(dtype, tolerance):
    path = f"{switchyard.DEMO}/evaluation.json"
    with open(path, encoding="utf-8") as file:
        expected = json.load(file)
    output = switchyard.run(
        "eval", switchyard.DEMO, "--tokens", path, "--dtype", dtype, "--in-process",
        "--transport", "loopback", timeout=900,
    )
    tokens, loss = re.search(r"tokens (\d+), negative log-likelihood ([\d.]+)", output).groups()
    assert int(tokens) == expected["tokens"]
    assert abs(float(loss) - expected["nll_per_reply_token"]) <= tolerance

"""Every family gives the same output, bit by bit, for any number of hosts and any prefill chunk."""

import pytest
from safetensors.numpy import load_file

from tests.golden.cases import CASES, EVERY_LAYOUT, LOOPBACK, arguments_for, output_bytes
from tests.support.fixtures import fixture_or_skip

FAMILY_CASES = [case for case in CASES if case not in EVERY_LAYOUT]

LAYOUTS = {
    "three hosts": ["--expert-hosts", 3],
    "chunks of 7, two stages": ["--prefill-chunk", 7, "--stages", 2],
    "chunks of 16, two threads": ["--prefill-chunk", 16, "--threads", 2],
}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("case", FAMILY_CASES)
def test_every_layout_gives_the_same_file(case, dtype, tmp_path):
    folder = fixture_or_skip(case)
    arguments = arguments_for(folder, tmp_path, dtype)
    out = tmp_path / "out.safetensors"
    alone = output_bytes(arguments, out, *LOOPBACK, "--expert-hosts", 1)
    assert load_file(out)["logits"].any()
    for name, layout in LAYOUTS.items():
        assert output_bytes(arguments, out, *LOOPBACK, *layout) == alone, name

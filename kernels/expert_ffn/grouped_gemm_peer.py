#!/usr/bin/env python3
"""The grouped GEMM beside PyTorch on one GPU, in one run: prints the benchmark's table with a last column,
PyTorch's time over ours (above 1: ours is faster). Needs a Python with a PyTorch that has CUDA.

    grouped_gemm_peer.py PATH-TO-grouped_gemm_cuda_benchmark

PyTorch computes the same expert FFN, SwiGLU in bf16, by its own grouped product (`torch._grouped_mm`) where it
has one, else by one product an expert; the faster of both counts.
"""

import subprocess
import sys


def arguments_error(message):
    print(message, file=sys.stderr)
    return 2


def seconds_of(torch, run):
    """Of one call: the least of several rounds, after one that is not counted."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    calls, best = 1, None
    while True:
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        milliseconds = start.elapsed_time(end)
        if milliseconds < 20:
            calls *= 2
            continue
        if best is not None and len(best) == 5:
            return min(best)
        best = [] if best is None else best + [milliseconds / calls / 1e3]


def peer_seconds(torch, hidden, inner, experts, rows):
    def values(*shape):
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * 0.02

    x = values(experts * rows, hidden)
    gate, up = values(experts, hidden, inner), values(experts, hidden, inner)
    down = values(experts, inner, hidden)
    silu = torch.nn.functional.silu

    def one_by_one():
        for e in range(experts):
            part = x[e * rows:(e + 1) * rows]
            (silu(part @ gate[e]) * (part @ up[e])) @ down[e]

    ways = [one_by_one]
    if hasattr(torch, "_grouped_mm"):
        ends = torch.arange(1, experts + 1, device="cuda", dtype=torch.int32) * rows

        def product(rows_of, weights):
            return torch._grouped_mm(rows_of, weights, offs=ends)

        ways.append(lambda: product(silu(product(x, gate)) * product(x, up), down))
    return min(seconds_of(torch, way) for way in ways)


def main(arguments):
    if len(arguments) != 2:
        return arguments_error(__doc__)
    ours = subprocess.run([arguments[1]], stdout=subprocess.PIPE, text=True, check=False)
    if ours.returncode != 0:
        return ours.returncode
    try:
        import torch
    except ImportError:
        print(ours.stdout, end="")
        return arguments_error("there is no PyTorch here: no ratio to it")
    print(torch.__version__, torch.cuda.get_device_name(0))
    for line in ours.stdout.splitlines():
        fields = line.split()
        if len(fields) < 10 or not fields[-6].replace(".", "").isdigit() or fields[0] == "layer":
            print(line + ("   PyTorch/ours" if line.startswith("layer") else ""))
            continue
        # The name may have blanks; the columns are counted from the end.
        hidden, inner, experts, rows = (int(field) for field in fields[-9:-5])
        microseconds = float(fields[-5])
        peer = peer_seconds(torch, hidden, inner, experts, rows) * 1e6
        print(f"{line} {peer / microseconds:13.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

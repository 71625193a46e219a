"""The CUDA toolkit, NCCL and UCX that `scripts/setup --cuda` installs, as the repository @cuda.

Without them the repository loads all the same: its libraries then fit no platform, so Bazel skips
them and every target that depends on them, and says so. As soon as they are installed, the next build
finds them. With --config=cuda it is an error when they are missing.
"""

_DEFS = """\
# Written by bazel/cuda.bzl.
CUDA_TOOLKIT = "{folder}"
"""

_BUILD = """\
# Written by bazel/cuda.bzl.
package(default_visibility = ["//visibility:public"])

_INSTALLED = glob(["toolkit/nvidia/cu13/bin/nvcc"]) != []

_PLATFORMS = [] if _INSTALLED else ["@platforms//:incompatible"]

[] if _INSTALLED else print("CUDA targets are skipped; `scripts/setup --cuda` installs what they need")

# The runtime's headers for a C++ compiler, and its static library. nvcc has its own way to the headers.
cc_library(
    name = "runtime",
    srcs = glob(["toolkit/nvidia/cu13/lib/libcudart_static.a"]),
    hdrs = glob([
        "toolkit/nvidia/cu13/include/*.h",
        "toolkit/nvidia/cu13/include/*.hpp",
        "toolkit/nvidia/cu13/include/crt/*",
        "toolkit/nvidia/cu13/include/nv/**",
    ]),
    includes = ["toolkit/nvidia/cu13/include"],
    linkopts = ["-ldl", "-lpthread", "-lrt"],
    target_compatible_with = _PLATFORMS,
)

# Headers only: the library is 340 MB and a machine with GPUs mostly has one, so it is loaded when used.
cc_library(
    name = "nccl",
    hdrs = glob(["toolkit/nvidia/nccl/include/nccl.h"]),
    includes = ["toolkit/nvidia/nccl/include"],
    target_compatible_with = _PLATFORMS,
    deps = [":runtime"],
)

# UCX with CUDA, for tests on it; nothing where it is not installed.
filegroup(
    name = "ucx",
    srcs = glob(["toolkit/libucx/lib/libucp.so.0"]),
)

# What programs load when a GPU is asked for; nothing where it cannot be built.
filegroup(
    name = "shared_object",
    srcs = ["@switchyard//kernels/cuda:libswitchyard_cuda.so"] if _INSTALLED else [],
)
"""

def _folder(repository_ctx):
    """Where scripts/setup installs the present list of versions."""
    listed = repository_ctx.path(Label("//scripts:cuda-requirements.txt"))
    result = repository_ctx.execute(["sha256sum", listed])
    if result.return_code != 0:
        fail("sha256sum %s: %s" % (listed, result.stderr.strip()))
    return repository_ctx.path("%s/.cache/switchyard/cuda/%s" % (
        repository_ctx.os.environ["HOME"],
        result.stdout[:16],
    ))

def _cuda_toolkit_impl(repository_ctx):
    folder = _folder(repository_ctx)
    if repository_ctx.os.environ.get("SWITCHYARD_CUDA") == "required" and not folder.exists:
        fail("the CUDA toolkit in scripts/cuda-requirements.txt is not installed: " +
             "run scripts/setup --cuda")
    repository_ctx.symlink(folder, "toolkit")
    repository_ctx.file("defs.bzl", _DEFS.format(folder = folder), executable = False)
    repository_ctx.file("BUILD", _BUILD, executable = False)

cuda_toolkit = repository_rule(
    implementation = _cuda_toolkit_impl,
    local = True,
    environ = ["HOME", "SWITCHYARD_CUDA"],
)

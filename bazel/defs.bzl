"""The project's C++ and protobuf rules: every BUILD file uses these instead of the native ones."""

load("@system//:versions.bzl", "SYSTEM_VERSIONS")
load("//bazel:cuda_objects.bzl", "cuda_objects")

_COMMON = [
    "-std=c++20",
    # A fused multiply-add changes the last bit; where one is meant the code calls it.
    "-ffp-contract=off",
    # Code is compiled as position-independent once, for every use; this keeps inlining.
    "-fno-semantic-interposition",
    # Rebuilds everything after an upgrade of the system's libraries, which are no inputs for Bazel.
    "-DSWITCHYARD_SYSTEM_VERSIONS=" + SYSTEM_VERSIONS,
]

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    # Designated initialisers leave the rest at their defaults on purpose.
    "-Wno-missing-field-initializers",
    # Only notes that the vector ABI changed in gcc 4.
    "-Wno-psabi",
    # gcc 12 reports these inside the standard library's own inline code.
    "-Wno-array-bounds",
    "-Wno-maybe-uninitialized",
    "-Wno-restrict",
    "-Wno-stringop-overflow",
    "-Wno-stringop-overread",
    # The list above serves clang too.
    "-Wno-unknown-warning-option",
]

def _copts(extra):
    return _COMMON + _WARNINGS + extra

def switchyard_cc_library(name, srcs = [], hdrs = [], copts = [], file_copts = {}, deps = [], **kwargs):
    """A C++ library.

    Args:
      name: the target.
      srcs: sources compiled with the common options.
      hdrs: public headers, included by their path from the root of the tree.
      copts: options for all of its sources.
      file_copts: {source: options} for sources that need more, such as a kernel for one instruction
          set: {"matmul_avx2.cc": ["-mavx2", "-mfma"]}. Not to be listed in srcs. Code in such a file
          may run only after a check of the processor, so it must not define inline functions that
          the linker could pick for other files: keep its helpers in an unnamed namespace.
      deps: as for cc_library.
      **kwargs: as for cc_library.
    """
    testonly = kwargs.get("testonly", False)
    parts = []
    if file_copts:
        internal = name + "_headers"
        native.cc_library(
            name = internal,
            hdrs = hdrs + [src for src in srcs if src.endswith(".h")],
            copts = _copts(copts),
            linkstatic = True,
            testonly = testonly,
            deps = deps,
            visibility = ["//visibility:private"],
        )
        for index, (src, options) in enumerate(sorted(file_copts.items())):
            part = "%s_%s" % (name, src.replace("/", "_").rpartition(".")[0])
            native.cc_library(
                name = part,
                srcs = [src],
                copts = _copts(copts + options),
                linkstatic = True,
                testonly = testonly,
                deps = [":" + internal],
                visibility = ["//visibility:private"],
            )
            parts.append(":" + part)
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = _copts(copts),
        linkstatic = True,
        deps = deps + parts,
        **kwargs
    )

def switchyard_cuda_library(name, srcs, hdrs = [], deps = [], **kwargs):
    """A library of CUDA code; skipped where the toolkit is not installed (see //bazel:cuda.bzl).

    Args:
      name: the target.
      srcs: .cu files, and .h and .cuh files that only they include.
      hdrs: public headers, included by their path from the root of the tree.
      deps: as for cc_library. The CUDA runtime comes with it.
      **kwargs: as for cc_library.
    """
    objects = name + "_objects"
    all_deps = deps + ["@cuda//:runtime"]
    cuda_objects(
        name = objects,
        testonly = kwargs.get("testonly", False),
        srcs = srcs,
        hdrs = hdrs,
        host_copts = _copts([]),
        deps = all_deps,
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [":" + objects],
        hdrs = hdrs,
        linkstatic = True,
        deps = all_deps,
        **kwargs
    )

def switchyard_cc_binary(name, copts = [], **kwargs):
    """A C++ program."""
    native.cc_binary(
        name = name,
        copts = _copts(copts),
        **kwargs
    )

def switchyard_cc_test(name, copts = [], deps = [], size = "small", **kwargs):
    """A GoogleTest test; main() comes with it.

    Tags that scripts/test knows: `tsan` (run under ThreadSanitizer too), `no-asan` (do not run under
    AddressSanitizer), `exclusive` (Bazel's: nothing runs beside it).
    """
    native.cc_test(
        name = name,
        size = size,
        copts = _copts(copts),
        linkstatic = True,
        deps = deps + ["@system//:gtest_main"],
        **kwargs
    )

def switchyard_cc_benchmark(name, copts = [], deps = [], **kwargs):
    """A Google Benchmark program; run it with `bazel run`. main() comes with it."""
    native.cc_binary(
        name = name,
        testonly = True,
        copts = _copts(copts),
        deps = deps + ["@system//:benchmark_main"],
        **kwargs
    )

def switchyard_fuzz_test(name, srcs, deps = [], corpus = [], copts = [], seconds = 15, **kwargs):
    """A libFuzzer target, run for some seconds by `bazel test --config=fuzz`.

    Args:
      name: the test; it exists only under --config=fuzz (tag `fuzz`).
      srcs: holds LLVMFuzzerTestOneInput.
      deps: as for cc_test.
      corpus: files to start from.
      copts: options for its sources.
      seconds: how long one run fuzzes.
      **kwargs: as for cc_test.
    """
    seeds = ",".join(["$(location %s)" % file for file in corpus])
    native.cc_test(
        name = name,
        size = "small",
        srcs = srcs,
        args = ["-max_total_time=%d" % seconds, "-timeout=10", "-rss_limit_mb=2048"] +
               (["-seed_inputs=" + seeds] if corpus else []),
        copts = _copts(copts),
        data = corpus,
        linkopts = ["-fsanitize=fuzzer"],
        linkstatic = True,
        tags = ["fuzz", "manual"],
        deps = deps,
        **kwargs
    )

def switchyard_python_test(name, srcs, data = [], size = "medium", **kwargs):
    """A pytest test, run with the packages of scripts/requirements.txt.

    It runs in the root of its runfiles: a program in `data` is found by its path in the tree.
    """
    python = "@python_environment//:python"
    native.sh_test(
        name = name,
        size = size,
        srcs = ["//bazel:python_test.sh"],
        args = ["$(location %s)" % python] + ["$(location %s)" % src for src in srcs],
        data = data + srcs + [python],
        **kwargs
    )

def switchyard_proto_library(name, srcs, deps = [], grpc = False, visibility = None):
    """C++ for .proto files: an import of "proto/x.proto" gives "proto/x.pb.h".

    Args:
      name: the C++ library.
      srcs: .proto files of this package.
      deps: other switchyard_proto_library targets that they import.
      grpc: whether they define services ("proto/x.grpc.pb.h").
      visibility: as for cc_library.
    """
    sources = name + "_sources"
    native.filegroup(
        name = sources,
        srcs = srcs + [dep + "_sources" for dep in deps],
        visibility = visibility,
    )
    suffixes = [".pb"] + ([".grpc.pb"] if grpc else [])
    stems = [src[:-len(".proto")] for src in srcs]
    generated_hdrs = [stem + suffix + ".h" for stem in stems for suffix in suffixes]
    generated_srcs = [stem + suffix + ".cc" for stem in stems for suffix in suffixes]
    plugin = ""
    if grpc:
        plugin = "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin --grpc_out=$(GENDIR)"
    native.genrule(
        name = name + "_generate",
        srcs = srcs + [":" + sources],
        outs = generated_hdrs + generated_srcs,
        cmd = ": system versions %s; /usr/bin/protoc -I. -I/usr/include --cpp_out=$(GENDIR) %s %s" % (
            SYSTEM_VERSIONS,
            plugin,
            " ".join(["$(location %s)" % src for src in srcs]),
        ),
        message = "Generating C++ for protobuf",
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = generated_srcs,
        hdrs = generated_hdrs,
        copts = _COMMON + ["-w"],
        linkstatic = True,
        visibility = visibility,
        deps = deps + (["@system//:grpc++"] if grpc else ["@system//:protobuf"]),
    )

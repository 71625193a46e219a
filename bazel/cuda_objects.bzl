"""Compiles .cu files with nvcc. Used through switchyard_cuda_library of //bazel:defs.bzl."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load("@cuda//:defs.bzl", "CUDA_TOOLKIT")

_NVCC = CUDA_TOOLKIT + "/nvidia/cu13/bin/nvcc"

_OPTIONS = [
    "-std=c++20",
    # Hopper's own instruction set (TMA, WGMMA), as machine code only.
    "-gencode=arch=compute_90a,code=sm_90a",
    # As on the CPU (docs/arithmetic.md): fma only where it is written, subnormals flushed, IEEE
    # division and square root.
    "--fmad=false",
    "-ftz=true",
    "-prec-div=true",
    "-prec-sqrt=true",
    # Kernels may call constexpr functions of the host's headers.
    "--expt-relaxed-constexpr",
    # Source lines for the profiler and the sanitizer; changes no code.
    "-lineinfo",
    "--Werror=all-warnings",
]

def _flags(ctx, context):
    """Include paths, defines and the host compiler's options."""
    args = ctx.actions.args()
    args.add_all(_OPTIONS)
    args.add_all(ctx.attr.host_copts, format_each = "-Xcompiler=%s")
    args.add("-Xcompiler=-fPIC")

    # Those of the configuration: -O2, sanitizers.
    args.add_all(ctx.fragments.cpp.copts, format_each = "-Xcompiler=%s")
    if ctx.var["COMPILATION_MODE"] == "opt":
        args.add("-DNDEBUG")
    args.add("-I.")
    args.add_all(context.defines, format_each = "-D%s")
    args.add_all(context.quote_includes, before_each = "-I")
    args.add_all(context.includes, before_each = "-I")
    args.add_all(context.system_includes, before_each = "-isystem")
    return args

def _cuda_objects_impl(ctx):
    context = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    ).compilation_context
    toolchain = find_cpp_toolchain(ctx)
    flags = _flags(ctx, context)
    headers = depset(
        ctx.files.hdrs + [src for src in ctx.files.srcs if src.extension != "cu"],
        transitive = [context.headers],
    )
    objects = []
    for src in ctx.files.srcs:
        if src.extension != "cu":
            continue
        object = ctx.actions.declare_file("%s/%s.pic.o" % (ctx.label.name, src.basename))
        objects.append(object)
        ctx.actions.run(
            executable = _NVCC,
            arguments = [flags, "-ccbin", toolchain.compiler_executable, "-c", src.path, "-o", object.path],
            inputs = depset([src], transitive = [headers]),
            outputs = [object],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s" % src.short_path,
            use_default_shell_env = True,
        )
    return [DefaultInfo(files = depset(objects))]

cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu", ".cuh", ".h"]),
        "hdrs": attr.label_list(allow_files = [".cuh", ".h"]),
        "deps": attr.label_list(providers = [CcInfo]),
        "host_copts": attr.string_list(),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

"""Debian's C++ libraries as targets of one repository, @system.

Headers stay in /usr/include (a search path of the compiler); a target adds what the linker needs.
Link flags come from pkg-config where the library has a .pc file, so that a target also names the
libraries that its headers' inline code calls.

Bazel does not see those files, so it would not notice an upgrade: SYSTEM_VERSIONS in versions.bzl stands
for them, and //bazel:defs.bzl passes it to every compilation.
"""

# Target -> (pkg-config modules, a header that must exist).
_PACKAGED = {
    "benchmark": (["benchmark"], "benchmark/benchmark.h"),
    "cli11": (["CLI11"], "CLI/CLI.hpp"),
    "crypto": (["libcrypto"], "openssl/sha.h"),
    "curl": (["libcurl"], "x86_64-linux-gnu/curl/curl.h"),
    "gmock": (["gmock"], "gmock/gmock.h"),
    "gtest": (["gtest"], "gtest/gtest.h"),
    "gtest_main": (["gmock_main"], "gmock/gmock.h"),
    "grpc++": (["grpc++"], "grpcpp/grpcpp.h"),
    "json": (["nlohmann_json"], "nlohmann/json.hpp"),
    "prometheus": (["prometheus-cpp-core"], "prometheus/registry.h"),
    "protobuf": (["protobuf"], "google/protobuf/message.h"),
    "sentencepiece": (["sentencepiece"], "sentencepiece_processor.h"),
    "ucx": (["ucx"], "ucp/api/ucp.h"),
    "xxhash": (["libxxhash"], "xxhash.h"),
    "yaml": (["yaml-cpp"], "yaml-cpp/yaml.h"),
}

# Target -> (link flags, targets it needs, a header that must exist), for those without a .pc file.
_UNPACKAGED = {
    "benchmark_main": (["-lbenchmark_main"], ["benchmark"], "benchmark/benchmark.h"),
    "boost": (["-lpthread"], [], "boost/asio.hpp"),
    "grpc++_reflection": (
        ["-l:libgrpc++_reflection.a"],  # the shared one would bring libprotobuf.so along
        ["grpc++"],
        "grpcpp/ext/proto_server_reflection_plugin.h",
    ),
}

# Abseil libraries, each as @system//:absl_NAME.
_ABSEIL = [
    "algorithm_container",
    "any_invocable",
    "base",
    "bind_front",
    "bits",
    "btree",
    "cleanup",
    "cord",
    "core_headers",
    "debugging",
    "failure_signal_handler",
    "fixed_array",
    "flags",
    "flags_config",
    "flags_parse",
    "flags_reflection",
    "flags_usage",
    "flat_hash_map",
    "flat_hash_set",
    "function_ref",
    "hash",
    "inlined_vector",
    "int128",
    "memory",
    "node_hash_map",
    "node_hash_set",
    "random_random",
    "raw_logging_internal",
    "span",
    "stacktrace",
    "status",
    "statusor",
    "str_format",
    "strings",
    "symbolize",
    "time",
    "type_traits",
    "utility",
]

_HEADER = """\
# Written by bazel/system.bzl.
package(default_visibility = ["//visibility:public"])
"""

_LIBRARY = """
cc_library(
    name = "{name}",
    linkopts = {linkopts},
    deps = {deps},
)
"""

# Asio and Beast are compiled once here instead of once in every file that includes them.
_BEAST = """
cc_library(
    name = "beast",
    srcs = ["beast.cc"],
    copts = ["-std=c++20", "-w"],
    defines = [
        "BOOST_ASIO_SEPARATE_COMPILATION",
        "BOOST_BEAST_SEPARATE_COMPILATION",
    ],
    deps = [":boost"],
)
"""

_BEAST_SOURCE = """\
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
"""

def _require_header(repository_ctx, header):
    for folder in ["/usr/include/", "/usr/include/x86_64-linux-gnu/"]:
        if repository_ctx.path(folder + header).exists:
            return
    fail("/usr/include/%s is missing: run scripts/setup" % header)

def _pkg_config(repository_ctx, modules):
    result = repository_ctx.execute(["pkg-config", "--libs"] + modules)
    if result.return_code != 0:
        fail("pkg-config --libs %s failed (%s): run scripts/setup" %
             (" ".join(modules), result.stderr.strip()))
    flags = [flag for flag in result.stdout.strip().split(" ") if flag]
    return _with_static_protobuf(["-Wl,--as-needed"] + flags) if flags else []

# Debian's libsentencepiece.so exports a protobuf of its own, of another version. Beside libprotobuf.so in
# one process the loader would bind each library's calls to whichever came first, and the program dies
# at its start. So our protobuf is the static one, hidden inside the program; and all of it, so that the
# linker finds no part of it in libsentencepiece.so: what stands in the program itself comes first.
_HIDDEN_PROTOBUF = [
    "-Wl,--whole-archive",
    "-l:libprotobuf.a",
    "-Wl,--no-whole-archive",
    "-Wl,--exclude-libs,libprotobuf.a",
    "-lz",
]

def _with_static_protobuf(flags):
    linked = []
    for flag in flags:
        linked += _HIDDEN_PROTOBUF if flag == "-lprotobuf" else [flag]
    return linked

def _versions(repository_ctx):
    """A string that changes when one of the packages in scripts/packages.txt is upgraded."""
    listed = repository_ctx.read(repository_ctx.path(Label("//scripts:packages.txt")))
    names = [line.split(" ")[0] for line in listed.split("\n") if line and not line.startswith("#")]
    result = repository_ctx.execute(["dpkg-query", "-W", "-f=${Package} ${Version}\n"] + names)
    if result.return_code != 0:
        fail("%s: run scripts/setup" % result.stderr.strip())
    return str(hash(result.stdout) & 0xffffffff)

def _library(name, linkopts, deps = []):
    return _LIBRARY.format(
        name = name,
        linkopts = repr(linkopts),
        deps = repr([":" + dep for dep in deps]),
    )

def _system_libraries_impl(repository_ctx):
    build = [_HEADER]
    for name, (modules, header) in sorted(_PACKAGED.items()):
        _require_header(repository_ctx, header)
        # Once in a program: whole archives cannot be linked twice.
        deps = ["protobuf"] if name == "grpc++" else []
        build.append(_library(name, _pkg_config(repository_ctx, modules), deps))
    for name, (linkopts, deps, header) in sorted(_UNPACKAGED.items()):
        _require_header(repository_ctx, header)
        build.append(_library(name, linkopts, deps))
    for name in _ABSEIL:
        build.append(_library("absl_" + name, _pkg_config(repository_ctx, ["absl_" + name])))
    build.append(_BEAST)
    repository_ctx.file(
        "versions.bzl",
        "SYSTEM_VERSIONS = \"%s\"\n" % _versions(repository_ctx),
        executable = False,
    )
    repository_ctx.file("beast.cc", _BEAST_SOURCE, executable = False)
    repository_ctx.file("BUILD", "".join(build), executable = False)

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    local = True,
    doc = "Wraps the libraries that scripts/setup installs.",
)

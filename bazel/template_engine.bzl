"""The chat template engine (a Rust crate behind a C header) as the repository @template_engine.

scripts/build-rust builds it once into a cache keyed by its sources; no Bazel configuration ever
compiles Rust.
"""

_CRATE = "services/tokenizer/template_engine"

_BUILD = """\
# Written by bazel/template_engine.bzl.
cc_library(
    name = "template_engine",
    srcs = ["libtemplate_engine.a"],
    hdrs = ["services/tokenizer/template_engine/template_engine.h"],
    includes = ["."],
    linkopts = ["-ldl", "-lpthread", "-lm"],
    visibility = ["@switchyard//services/tokenizer:__subpackages__"],
)
"""

def _run(repository_ctx, arguments):
    script = repository_ctx.path(Label("//scripts:build-rust"))
    result = repository_ctx.execute([str(script)] + arguments)
    if result.return_code != 0:
        fail("scripts/build-rust %s: %s" % (" ".join(arguments), result.stderr.strip()))
    return result.stdout.strip().split("\n")

def _template_engine_impl(repository_ctx):
    # Naming each source by label makes Bazel evaluate this rule again when one changes.
    for source in _run(repository_ctx, ["--list"]):
        repository_ctx.path(Label("//%s:%s" % (_CRATE, source)))
    library = repository_ctx.path(_run(repository_ctx, ["--output"])[0])
    if not library.exists:
        fail("the template engine is not built for the sources in %s: run scripts/setup" % _CRATE)
    repository_ctx.symlink(library, "libtemplate_engine.a")
    header = repository_ctx.path(Label("//%s:template_engine.h" % _CRATE))
    repository_ctx.symlink(header, _CRATE + "/template_engine.h")
    repository_ctx.file("BUILD", _BUILD, executable = False)

template_engine_repository = repository_rule(
    implementation = _template_engine_impl,
    local = True,
    environ = ["HOME"],
)

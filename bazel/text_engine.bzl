"""The text engine (a Rust crate behind C headers) as the repository @text_engine.

scripts/build-rust builds it once into a cache keyed by its sources; no Bazel configuration ever
compiles Rust.
"""

_CRATE = "services/tokenizer/text_engine"
_HEADERS = ["template_engine.h", "text_engine.h", "token_engine.h"]

_BUILD = """\
# Written by bazel/text_engine.bzl.
cc_library(
    name = "text_engine",
    srcs = ["libtext_engine.a"],
    hdrs = glob(["services/tokenizer/text_engine/*.h"]),
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

def _text_engine_impl(repository_ctx):
    # Naming each source by label makes Bazel evaluate this rule again when one changes.
    for source in _run(repository_ctx, ["--list"]):
        repository_ctx.path(Label("//%s:%s" % (_CRATE, source)))
    library = repository_ctx.path(_run(repository_ctx, ["--output"])[0])
    if not library.exists:
        fail("the text engine is not built for the sources in %s: run scripts/setup" % _CRATE)
    repository_ctx.symlink(library, "libtext_engine.a")
    for header in _HEADERS:
        repository_ctx.symlink(Label("//%s:%s" % (_CRATE, header)), "%s/%s" % (_CRATE, header))
    repository_ctx.file("BUILD", _BUILD, executable = False)

text_engine_repository = repository_rule(
    implementation = _text_engine_impl,
    local = True,
    environ = ["HOME"],
)

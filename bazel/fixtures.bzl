"""The test data beside the checkout as the repository @fixtures.

It stands at ../shared/fixtures (or where SWITCHYARD_FIXTURES says). Where there is none, every group
is empty and the tests that need it skip, saying so: see //bazel/fixtures.
"""

# Each folder F is the filegroup @fixtures//:F.
_FOLDERS = [
    "chat_templates",
    "demo",
    "generate",
    "models",
    "own_models",
    "rope",
    "routers",
    "sampling",
    "tokenizers",
]

_GROUP = """
filegroup(
    name = "{name}",
    testonly = True,
    srcs = glob(["{name}/**"]),
)
"""

def _fixtures_impl(repository_ctx):
    workspace = repository_ctx.path(Label("//:WORKSPACE")).dirname
    named = repository_ctx.os.environ.get("SWITCHYARD_FIXTURES", "")
    if named:
        source = repository_ctx.path(named)
        if not source.exists:
            fail("SWITCHYARD_FIXTURES names %s, which does not exist" % named)
    else:
        source = workspace.dirname.get_child("shared").get_child("fixtures")
    build = ["# Written by bazel/fixtures.bzl.\n" +
             "package(default_visibility = [\"//visibility:public\"])\n"]
    for folder in _FOLDERS:
        if source.get_child(folder).exists:
            repository_ctx.symlink(source.get_child(folder), folder)
        build.append(_GROUP.format(name = folder))
    repository_ctx.file("BUILD", "".join(build), executable = False)

fixtures_repository = repository_rule(
    implementation = _fixtures_impl,
    local = True,
    environ = ["SWITCHYARD_FIXTURES"],
)

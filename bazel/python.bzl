"""The Python environment of scripts/setup as the repository @python_environment."""

_LAUNCHER = """\
#!/bin/sh
# Packages: {digest}
exec {python} "$@"
"""

_BUILD = """\
# Written by bazel/python.bzl.
exports_files(
    ["python"],
    visibility = ["//visibility:public"],
)
"""

def _python_environment_impl(repository_ctx):
    wanted = repository_ctx.read(repository_ctx.path(Label("//scripts:requirements.txt")))
    environment = repository_ctx.path(
        repository_ctx.os.environ["HOME"] + "/.cache/switchyard/venv",
    )
    installed = environment.get_child("requirements.txt")
    if not installed.exists or repository_ctx.read(installed) != wanted:
        fail("the Python packages in scripts/requirements.txt are not installed: run scripts/setup")

    # A launcher and not a link: Python finds its packages by the path that it was started with. The
    # digest runs the tests again when a version changes.
    repository_ctx.file("python", _LAUNCHER.format(
        digest = hash(wanted),
        python = environment.get_child("bin").get_child("python3"),
    ))
    repository_ctx.file("BUILD", _BUILD, executable = False)

python_environment = repository_rule(
    implementation = _python_environment_impl,
    local = True,
    environ = ["HOME"],
)

"""A number for all sources behind some libraries, for two files that are built apart and meet at run time."""

load("@system//:versions.bzl", "SYSTEM_VERSIONS")

_COMMAND = """\
digest=$({{ echo {versions}; cat "$@"; }} | sha256sum | cut -c 1-16)
{{
  echo "#pragma once"
  echo "// Of what both sides of an interface are compiled from, and the system's libraries:"
  printf '//   %s\\n' "$@"
  echo "inline constexpr char {name}[] = \\"$digest\\";"
}} > {output}
"""

_Sources = provider(
    doc = "The project's own files that a library and those it stands on are compiled from.",
    fields = {"files": "depset of File"},
)

def _sources_impl(_target, ctx):
    direct = [
        file
        for name in ["srcs", "hdrs"]
        for file in getattr(ctx.rule.files, name, [])
        if file.is_source and not file.owner.workspace_name
    ]
    behind = [dep[_Sources].files for dep in getattr(ctx.rule.attr, "deps", []) if _Sources in dep]
    return [_Sources(files = depset(direct, transitive = behind))]

_sources = aspect(implementation = _sources_impl, attr_aspects = ["deps"])

def _interface_digest_impl(ctx):
    sources = depset(transitive = [dep[_Sources].files for dep in ctx.attr.deps])
    ctx.actions.run_shell(
        command = _COMMAND.format(
            name = ctx.attr.constant,
            output = ctx.outputs.out.path,
            versions = SYSTEM_VERSIONS,
        ),
        arguments = sorted([source.path for source in sources.to_list()]),
        inputs = sources,
        outputs = [ctx.outputs.out],
        mnemonic = "InterfaceDigest",
    )

interface_digest = rule(
    implementation = _interface_digest_impl,
    attrs = {
        "constant": attr.string(mandatory = True),
        "out": attr.output(mandatory = True),
        "deps": attr.label_list(providers = [CcInfo], aspects = [_sources]),
    },
    doc = "Writes a C++ header with a string constant that changes with any source of the project " +
          "that the libraries in deps bring along, and with the system's libraries. Sources that " +
          "are no headers count too: a class may keep its members there, and each side has its " +
          "own copy of the code that uses them.",
)

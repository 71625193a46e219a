"""A number for all headers behind some libraries, for two files that are built apart and meet at run time."""

load("@system//:versions.bzl", "SYSTEM_VERSIONS")

_COMMAND = """\
digest=$({{ echo {versions}; cat "$@"; }} | sha256sum | cut -c 1-16)
echo "#pragma once
// Of the headers that both sides of an interface are compiled with, and the system's libraries.
inline constexpr char {name}[] = \\"$digest\\";" > {output}
"""

def _interface_digest_impl(ctx):
    context = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    ).compilation_context
    headers = [
        header
        for header in context.headers.to_list()
        if header.is_source and not header.owner.workspace_name
    ]
    ctx.actions.run_shell(
        command = _COMMAND.format(
            name = ctx.attr.constant,
            output = ctx.outputs.out.path,
            versions = SYSTEM_VERSIONS,
        ),
        arguments = sorted([header.path for header in headers]),
        inputs = headers,
        outputs = [ctx.outputs.out],
        mnemonic = "InterfaceDigest",
    )

interface_digest = rule(
    implementation = _interface_digest_impl,
    attrs = {
        "constant": attr.string(mandatory = True),
        "out": attr.output(mandatory = True),
        "deps": attr.label_list(providers = [CcInfo]),
    },
    doc = "Writes a C++ header with a string constant that changes with any header of the project " +
          "that the libraries in deps bring along, and with the system's libraries.",
)

"""clang-tidy as a Bazel aspect: `bazel build --config=tidy //...`.

A file is checked again only when it, a header that it includes or .clang-tidy has changed: Bazel's cache
remembers the rest. Tests are left out: they misuse things on purpose, and cost as much as the rest.
"""

def _is_checked(source):
    return source.is_source and not source.owner.workspace_name and source.extension == "cc"

def _flags(target, ctx):
    context = target[CcInfo].compilation_context
    flags = [flag for flag in ctx.rule.attr.copts if flag != "-Werror"]
    flags += ["-D" + define for define in context.defines.to_list() + context.local_defines.to_list()]
    for option, folders in [
        ("-iquote", context.quote_includes),
        ("-isystem", context.system_includes),
        ("-I", context.includes),
    ]:
        for folder in folders.to_list():
            flags += [option, folder]
    return flags

def _tidy_aspect_impl(target, ctx):
    if (CcInfo not in target or target.label.workspace_name or
        getattr(ctx.rule.attr, "testonly", False) or not hasattr(ctx.rule.files, "srcs")):
        return [OutputGroupInfo(tidy = depset())]
    reports = []
    for source in ctx.rule.files.srcs:
        if not _is_checked(source):
            continue
        report = ctx.actions.declare_file("%s.%s.tidy" % (source.basename, target.label.name))
        ctx.actions.run(
            executable = ctx.executable._run_tidy,
            arguments = [report.path, ctx.file._config.path, source.path] + _flags(target, ctx),
            inputs = depset(
                [source, ctx.file._config],
                transitive = [target[CcInfo].compilation_context.headers],
            ),
            outputs = [report],
            mnemonic = "ClangTidy",
            progress_message = "Checking %s with clang-tidy" % source.short_path,
            use_default_shell_env = True,
        )
        reports.append(report)
    return [OutputGroupInfo(tidy = depset(reports))]

tidy_aspect = aspect(
    implementation = _tidy_aspect_impl,
    attrs = {
        "_config": attr.label(
            default = "//:.clang-tidy",
            allow_single_file = True,
        ),
        "_run_tidy": attr.label(
            default = "//bazel:run_tidy",
            executable = True,
            cfg = "exec",
        ),
    },
)

#!/usr/bin/env bash
# python_test PYTHON FILE...: runs pytest on the files; results go where Bazel expects them.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$PWD"
exec "$1" -m pytest -p no:cacheprovider -rs --junitxml="${XML_OUTPUT_FILE:-/dev/null}" "${@:2}"

#!/usr/bin/env bash
# run_tidy REPORT CONFIG SOURCE FLAG...: checks one file; the report is what clang-tidy said.
set -euo pipefail
report="$1"
config="$2"
source="$3"
shift 3
if ! clang-tidy-14 --quiet --config-file="$config" "$source" -- "$@" >"$report" 2>"$report.errors"; then
  cat "$report" >&2
  # The other stream holds counts of suppressed warnings, and the reason when nothing was checked.
  grep -v 'warnings\? generated' "$report.errors" >&2 || true
  exit 1
fi

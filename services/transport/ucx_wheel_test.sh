#!/bin/sh
# Runs a test against the UCX that scripts/setup --cuda installs, which stands in for the system's.
# Skipped where it is not installed.
set -eu
test="$1"
library="${2:-}"

if [ -z "$library" ]; then
  echo "SKIPPED: scripts/setup --cuda has not installed its UCX"
  cat > "$XML_OUTPUT_FILE" <<XML
<testsuites><testsuite name="ucx_wheel"><testcase name="$test"><skipped
message="scripts/setup --cuda has not installed its UCX"/></testcase></testsuite></testsuites>
XML
  exit 0
fi
# Not the link: UCX looks for its modules beside its libraries.
LD_LIBRARY_PATH=$(dirname "$(readlink -f "$library")")
export LD_LIBRARY_PATH
exec "$test"

#!/bin/sh
# The shared object exports its entry alone and needs no library of CUDA: cudart is inside, and the
# driver is loaded by it.
set -eu
library="$1"

# gold lets an inline function of the standard library through, which is the same everywhere.
exported=$(nm --dynamic --defined-only --extern-only "$library" | cut -d ' ' -f 3 | grep -v '^_ZNK\?St')
if [ "$exported" != SwitchyardCuda ]; then
  printf 'exported by %s:\n%s\nexpected: SwitchyardCuda\n' "$library" "$exported"
  exit 1
fi
if readelf --dynamic "$library" | grep NEEDED | grep -i -E 'cuda|nccl'; then
  echo "$library must not need these"
  exit 1
fi

#!/usr/bin/env bash
# The end-to-end suite (test/e2e) inside a throw-away real node. Arguments go to the test binary, such as -test.run=...
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/demo.sh" -suite -- "$@"

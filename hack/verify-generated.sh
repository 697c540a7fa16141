#!/usr/bin/env bash
# Regenerates everything that is generated, in place, and fails when anything was not what the generators write.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
hack/gen/generate.sh
paths=(api/v1alpha1/zz_generated.deepcopy.go api/v1alpha1/applyconfiguration config/crd/bases config/rbac
  charts/syncline/templates/crds charts/syncline/templates/rbac charts/syncline/README.md docs/api.md)
changed=$(git status --porcelain -- "${paths[@]}")
if [ -n "$changed" ]; then
  git --no-pager diff --stat -- "${paths[@]}" >&2
  printf '%s\n%s\n' "$changed" "Generated files are not up to date: run make generate and commit what it changes." >&2
  exit 1
fi

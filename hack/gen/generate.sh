#!/usr/bin/env bash
# Regenerates everything that is derived from the Go types and the controllers' markers:
# deep copies, apply configurations, CRDs, roles, the copies in the Helm chart, and the reference in docs/.
# The tools are built once into the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
cd "$here"
key=$( (cat go.mod go.sum ./*.go; go version) | sha256sum | cut -c1-12)
bin=$cache/gen/$key
if [ ! -f "$bin/.built" ]; then
  echo "building the generators into $bin (once)" >&2
  mkdir -p "$bin"
  go build -o "$bin/" . sigs.k8s.io/controller-tools/cmd/controller-gen \
    github.com/norwoodj/helm-docs/cmd/helm-docs
  touch "$bin/.built"
fi

cd "$root"
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
touch "$raw/.begun"
"$bin/controller-gen" object applyconfiguration crd:generateEmbeddedObjectMeta=true paths=./api/v1alpha1 \
  output:crd:dir="$raw"
# What no type asks for any more.
find api/v1alpha1/applyconfiguration -name '*.go' ! -newer "$raw/.begun" -delete
"$bin/controller-gen" rbac:roleName=syncline-manager paths=./internal/controller/... output:rbac:dir=config/rbac
"$bin/gen" "$raw" "$root"
"$bin/helm-docs" --chart-search-root=charts --log-level=warning

#!/usr/bin/env bash
# Lints the Helm chart, renders it under several values and applies what comes out to a real API server.
# Helm and the API server come from the tools module; the first time they are built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$(hack/tools.sh test)}
export KUBEBUILDER_ASSETS
if [ -z "${HELM:-}" ]; then
  HELM=$(hack/tools.sh e2e)/helm
fi
export HELM
go test -tags chart -count=1 -timeout 10m ./charts/ "$@"

#!/bin/sh
# Builds the control plane and, beside it, Helm:  build.sh OUTPUT
# Go rebuilds only what changed, so calling this every time costs some seconds.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTPUT" >&2; exit 2; }
command -v go >/dev/null || { echo "$0: needs Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }

mkdir -p "$(dirname "$1")"
output=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
helm=$(dirname "$output")/helm
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOWORK=off # no C compiler, no workspace of somebody else

[ -e "$output" ] || echo "building etcd, kube-apiserver, kube-controller-manager and kubectl: 5 to 6 minutes on 2 cores the first time" >&2

# Clients read the version that the server reports, and refuse the placeholder it has otherwise.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
minor=${minor%%.*}
pkg=k8s.io/component-base/version
go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X $pkg.gitVersion=$version -X $pkg.gitMajor=1 -X $pkg.gitMinor=$minor" \
	-o "$output" .

# Helm renders charts for the version of the client-go that it was built with unless it asks a server.
[ -e "$helm" ] || echo "building helm: less than a minute on 2 cores the first time" >&2
pkg=helm.sh/helm/v3
go build -trimpath -buildvcs=false \
	-ldflags "-s -w -X $pkg/internal/version.version=$(go list -m -f '{{.Version}}' $pkg) -X $pkg/pkg/lint/rules.k8sVersionMajor=1 -X $pkg/pkg/lint/rules.k8sVersionMinor=$minor -X $pkg/pkg/chartutil.k8sVersionMajor=1 -X $pkg/pkg/chartutil.k8sVersionMinor=$minor" \
	-o "$helm" $pkg/cmd/helm

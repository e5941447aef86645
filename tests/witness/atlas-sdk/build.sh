#!/bin/sh
# Builds the client:  build.sh OUTPUT
# Go rebuilds only what changed, so calling this every time costs a second.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUTPUT" >&2; exit 2; }
command -v go >/dev/null || { echo "$0: needs Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; }

mkdir -p "$(dirname "$1")"
output=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOWORK=off # no C compiler, no workspace of somebody else

[ -e "$output" ] || echo "building the client of Atlas's Go SDK: some minutes on 2 cores the first time" >&2
# The SDK is 190,000 lines of generated code: not optimised, it is built in a fraction of the time.
go build -trimpath -buildvcs=false -gcflags='go.mongodb.org/atlas-sdk/...=-N -l' -ldflags '-s -w' -o "$output" .

# The released operator: without the sandbox, on a base that has CA certificates and the C library, and nothing to run.
#
#   docker build --build-arg CMK_REVISION="$(git rev-parse HEAD)" -t registry.example.com/cmk-operator:0.1.0 .
#
# Both bases are the same Debian, or the binary would not find the C library that it was linked to. To pin the second one
# to its last bit, give it with its digest: --build-arg BASE=gcr.io/distroless/cc-debian12@sha256:...
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM rust:1.95.0-bookworm AS build
# aws-lc, the TLS library, is built with it; its version is the one of Debian 12.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The dependencies first: they take minutes and change seldom.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs && cargo build --locked --release && rm -r src
COPY src src
# Shown in the metrics (cmk_build).
ARG CMK_REVISION=unknown
# The files may be older than those that were just built in their place.
RUN touch src/main.rs src/lib.rs && CMK_REVISION=$CMK_REVISION cargo build --locked --release

# hadolint ignore=DL3006
FROM ${BASE}
COPY --from=build /src/target/release/cmk-operator /cmk-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/cmk-operator"]
CMD ["run"]

# The released operator: without the sandbox, on a base that has CA certificates and nothing else to run.
FROM rust:1.95-bookworm AS build
# aws-lc, the TLS library, is built with these.
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --locked --release

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/cmk-operator /cmk-operator
USER 65532:65532
ENTRYPOINT ["/cmk-operator"]
CMD ["run"]

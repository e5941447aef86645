# Two commands matter: `make demo` shows it, `make test` proves it. Both need Rust and Go, nothing else.

CONTROLPLANE := target/controlplane/controlplane

.PHONY: demo test model controlplane crds docs lint deny

demo: controlplane
	@echo "Building the operator with its sandbox (about 4 minutes the first time on 2 cores, seconds after that)."
	cargo build --locked --features sandbox
	target/debug/cmk-operator demo $(DEMO_FLAGS)

test: controlplane lint
	cargo test --locked --features sandbox

# The long explorations of the model, optimised (a build of its own, about 5 minutes the first time on 2 cores).
model:
	cargo test --locked --profile model --features model --test model -- --nocapture --test-threads 1

controlplane:
	tests/controlplane/build.sh $(CONTROLPLANE)

# The CRDs are generated from src/api; a test fails when the files are stale.
crds:
	cargo run --locked --quiet -- crds --dir crds

# The table of reasons is generated from src/domain/condition.rs; a test fails when the file is stale.
docs:
	cargo run --locked --quiet -- reasons > docs/conditions.md

lint:
	cargo fmt --check
	cargo clippy --locked --features sandbox --lib --bins -- -D warnings

# Needs cargo-deny: cargo install --locked cargo-deny
deny:
	cargo deny check

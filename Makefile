# Two commands matter: `make demo` shows it, `make test` proves it. Both need Rust and Go, `make test` also Python 3.10.

CONTROLPLANE := target/controlplane/controlplane
WITNESS := target/witness/venv
# The vendor's own spec of Astra's API; it is not part of this project.
ASTRA_SPEC ?= ../shared/specs/astra.yaml

.PHONY: demo test model mutants controlplane crds docs lint deny witness witness-venv witness-pins spec-check

demo: controlplane
	@echo "Building the operator with its sandbox (about 4 minutes the first time on 2 cores, seconds after that)."
	cargo build --locked --features sandbox
	target/debug/cmk-operator demo $(DEMO_FLAGS)

test: controlplane lint witness-venv
	cargo test --locked --features sandbox

# The long explorations of the model, optimised (a build of its own, about 5 minutes the first time on 2 cores).
model:
	cargo test --locked --profile model --features model --test model -- --nocapture --test-threads 1

# Plants each mutant of tests/mutants/list.yaml and sees it killed: a build for each, half an hour on 2 cores.
mutants: witness-venv
	$(WITNESS)/bin/python tests/mutants/run.py

controlplane:
	tests/controlplane/build.sh $(CONTROLPLANE)

# The simulated clouds against simulators of AWS that others wrote, and against the vendor's own client. About a minute.
witness: witness-venv
	cargo test --locked --features sandbox --test witness -- --nocapture

# Needs Python 3.10 and a package index; does nothing when the pinned versions are there.
witness-venv:
	@tests/witness/install.sh $(WITNESS)

# Needs uv: renews the hashes of the pinned versions after a change of requirements.in.
witness-pins:
	cd tests/witness && uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url requirements.in -o requirements.txt

# For those who have the vendor's spec: compares tests/witness/astra-contract.yaml with it.
spec-check: witness-venv
	$(WITNESS)/bin/python tests/witness/spec_check.py $(ASTRA_SPEC)

# The CRDs are generated from src/api, and copied into the chart; a test fails when the files are stale.
crds:
	cargo run --locked --quiet -- crds --dir crds
	cp crds/*.yaml charts/cmk-operator/files/crds/

# The table of reasons is generated from src/domain/condition.rs; a test fails when the file is stale.
docs:
	cargo run --locked --quiet -- reasons > docs/conditions.md

lint:
	cargo fmt --check
	cargo clippy --locked --features sandbox --all-targets -- -D warnings

# Needs cargo-deny: cargo install --locked cargo-deny
deny:
	cargo deny check

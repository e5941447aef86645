# Two commands matter: `make demo` shows it, `make test` proves it. Both need Rust and Go, `make test` also Python 3.10.

CONTROLPLANE := target/controlplane/controlplane
WITNESS := target/witness/venv
ATLAS_SDK := target/witness/atlas-sdk
# The vendors' own specs of their APIs; they are not part of this project.
ASTRA_SPEC ?= ../shared/specs/astra.yaml
ATLAS_SPEC ?= ../shared/specs/atlas.yaml
SINGLESTORE_SPEC ?= ../shared/specs/singlestore.yaml
# Pairs of a table in tests/witness and the spec that it is compared with.
SPEC_CHECKS ?= astra-contract.yaml=$(ASTRA_SPEC) atlas-contract.yaml=$(ATLAS_SPEC) \
  singlestore-contract.yaml=$(SINGLESTORE_SPEC)

.PHONY: demo test model pairs mutants controlplane crds docs lint deny witness witness-venv witness-sdk witness-pins spec-check

demo: controlplane
	@echo "Building the operator with its sandbox (about 4 minutes the first time on 2 cores, seconds after that)."
	cargo build --locked --features sandbox
	target/debug/cmk-operator demo $(DEMO_FLAGS)

# Eight at once on 2 cores: most of them wait for a cluster more than they compute.
test: controlplane lint witness-venv witness-sdk
	cargo test --locked --features sandbox -- --test-threads 8

# The long explorations of the model, optimised, until there are a million states: up to 2 GB of memory (a build of its own,
# about 5 minutes the first time on 2 cores).
model:
	cargo test --locked --profile model --features model --test model -- --nocapture --test-threads 1

# Every ordered pair of faults, and from every generated spec to every other; on the build of `make model`.
pairs:
	cargo test --locked --profile model --features model --test pairs --test transitions -- --nocapture --test-threads 1

# Plants each mutant of tests/mutants/list.yaml and sees it killed: a build for each, half an hour on 2 cores.
mutants: witness-venv
	$(WITNESS)/bin/python tests/mutants/run.py

controlplane:
	tests/controlplane/build.sh $(CONTROLPLANE)

# The simulated clouds against simulators of AWS that others wrote, and against the vendors' own clients. About a minute.
witness: witness-venv witness-sdk
	cargo test --locked --features sandbox --test witness -- --nocapture

# Needs Python 3.10 and a package index; does nothing when the pinned versions are there.
witness-venv:
	@tests/witness/install.sh $(WITNESS)

# Needs Go and its module proxy; a second when it is built.
witness-sdk:
	@tests/witness/atlas-sdk/build.sh $(ATLAS_SDK)

# Needs uv: renews the hashes of the pinned versions after a change of requirements.in.
witness-pins:
	cd tests/witness && uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url requirements.in -o requirements.txt

# For those who have the vendors' specs: compares the contract tables in tests/witness with them.
spec-check: witness-venv
	@for pair in $(SPEC_CHECKS); do \
	  $(WITNESS)/bin/python tests/witness/spec_check.py "tests/witness/$${pair%%=*}" "$${pair#*=}" || exit 1; \
	done

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

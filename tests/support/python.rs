//! The programs of `tests/witness`, and the Python that has what they need.

#![allow(missing_docs, unreachable_pub, reason = "tests fail loudly")]

use std::path::{Path, PathBuf};

pub fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/witness/venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make witness-venv` (needs Python 3.10)", python.display());
    python
}

pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness").join(name)
}

//! Who may import whom, who reads the clock and the environment, and how long a file may grow.
//!
//! The source is read as text: comments, literals and tests are taken out, then every path is resolved, whether it stands
//! in a `use` or in the middle of an expression. The second test breaks each rule once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test should stop at the place")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the files of a layer may name. The first layer that a file belongs to counts.
struct Layer {
    /// The file, or the directory with its slash.
    files: &'static str,
    /// Modules of this crate, or single items of them.
    modules: &'static [&'static str],
    crates: Crates,
}

enum Crates {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

const SDKS: &[&str] = &["aws_", "reqwest"];

const LAYERS: &[Layer] = &[
    // Policies are JSON, and their Sids carry a hash.
    Layer {
        files: "domain/policy/",
        modules: &["domain"],
        crates: Crates::Only(&["std", "serde", "serde_json", "sha2", "thiserror"]),
    },
    // A token is a hash.
    Layer { files: "domain/confirmation.rs", modules: &["domain"], crates: Crates::Only(&["std", "sha2"]) },
    Layer { files: "domain/", modules: &["domain"], crates: Crates::Only(&["std", "serde", "thiserror"]) },
    Layer { files: "plan/", modules: &["domain", "plan"], crates: Crates::Only(&["std", "serde", "thiserror"]) },
    // What became of a plan, and what was written down of it, are values; nothing else of those modules is known here.
    Layer {
        files: "status/",
        modules: &["domain", "plan", "api", "status", "execute::Outcome", "ports::Record"],
        crates: Crates::Only(&["std"]),
    },
    Layer { files: "ports.rs", modules: &["domain"], crates: Crates::Only(&["std"]) },
    Layer { files: "observe.rs", modules: &["domain", "plan", "ports"], crates: Crates::Only(&["std", "futures"]) },
    Layer { files: "observe/", modules: &["domain", "plan", "ports"], crates: Crates::Only(&["std", "futures"]) },
    // The sessions and the place of the calls are those that the look was made with.
    Layer {
        files: "execute.rs",
        modules: &["domain", "plan", "ports", "clock::Clock", "observe::Credentials", "observe::place"],
        crates: Crates::Only(&["std", "futures"]),
    },
    Layer { files: "clock.rs", modules: &["domain"], crates: Crates::Only(&["std", "rustix"]) },
    Layer {
        files: "adapters/",
        modules: &["domain", "ports", "clock", "adapters"],
        crates: Crates::AllBut(&["kube", "k8s_openapi", "schemars", "clap", "prometheus_client"]),
    },
    Layer { files: "api/", modules: &["domain", "api"], crates: Crates::AllBut(SDKS) },
    // In process, what AWS's codes mean is read in the table that the real adapter reads.
    Layer {
        files: "sandbox/ports/faults.rs",
        modules: &["domain", "ports", "sandbox", "adapters::aws::codes", "adapters::aws::Operation"],
        crates: Crates::Only(&["std"]),
    },
    // The simulated clouds are seen by nobody but the subcommands and the tests that run them.
    Layer {
        files: "sandbox/",
        modules: &["domain", "ports", "clock", "sandbox"],
        crates: Crates::AllBut(&["aws_", "kube"]),
    },
    // What explains decides nothing of its own, and reaches the outside by the ports alone.
    Layer {
        files: "commands/",
        modules: &["api", "clock", "commands", "controller", "domain", "execute", "observe", "plan", "ports"],
        crates: Crates::AllBut(SDKS),
    },
    Layer { files: "demo/", modules: &["domain", "api", "cli", "sandbox", "demo"], crates: Crates::AllBut(SDKS) },
    // Adapters are named here and nowhere else.
    Layer {
        files: "main.rs",
        modules: &[
            "adapters",
            "api",
            "cli",
            "clock",
            "commands",
            "controller",
            "demo",
            "domain",
            "execute",
            "leader",
            "plan",
            "sandbox",
            "telemetry",
        ],
        crates: Crates::AllBut(SDKS),
    },
    Layer {
        files: "",
        modules: &[
            "api",
            "cli",
            "clock",
            "commands",
            "controller",
            "domain",
            "execute",
            "leader",
            "observe",
            "plan",
            "ports",
            "status",
            "telemetry",
        ],
        crates: Crates::AllBut(SDKS),
    },
];

/// Words that do not stand in some files, or stand only in some.
struct Ban {
    words: &'static [&'static str],
    within: &'static [&'static str],
    but: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        words: &[
            "async",
            "await",
            "SystemTime",
            "Instant",
            "Timestamp",
            "Clock",
            "env",
            "option_env",
            "println",
            "eprintln",
        ],
        within: &["domain/", "plan/", "status/"],
        but: &[],
        why: "decisions are values: no waiting, no clock, no environment, no output",
    },
    Ban {
        words: &["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"],
        within: &[""],
        // The sandbox follows real time; the demo tells a human how long it takes.
        but: &["clock.rs", "sandbox/", "demo/"],
        why: "clock.rs alone calls now",
    },
    Ban {
        words: &["std::env", "env::var", "env::vars", "env::var_os"],
        within: &[""],
        // The demo starts the binary that it is.
        but: &["cli.rs", "demo/mod.rs"],
        why: "cli.rs alone reads the environment",
    },
];

const LONGEST: usize = 500;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[];

#[test]
fn the_source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let all: Vec<String> = files.iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
    for (path, _) in LONG {
        let long = files.iter().any(|(p, text)| p == path && text.lines().count() > LONGEST);
        assert!(long, "{path} need not be excused any more");
    }
}

#[test]
fn each_rule_catches_who_breaks_it() {
    for (path, text, expected) in [
        ("domain/id.rs", "use crate::plan::Plan;", "names crate::plan::Plan"),
        ("domain/id.rs", "use crate::{domain::reading::Reading, ports::{Fault, Record}};", "names crate::ports::Fault"),
        ("domain/id.rs", "use serde_json::Value;", "names serde_json"),
        ("domain/policy/json.rs", "use tokio::time;", "names tokio"),
        ("domain/id.rs", "fn f() { let now = std::time::SystemTime::now(); }", "SystemTime"),
        ("plan/key.rs", "fn f() { let x = crate::observe::observe(); }", "names crate::observe::observe"),
        ("plan/key.rs", "use super::super::ports::Place;", "names crate::ports::Place"),
        ("plan/key.rs", "async fn f() {}", "async"),
        ("plan/key.rs", "fn f(client: &kube::Client) {}", "names kube"),
        ("plan/mod.rs", "fn f() -> Option<String> { std::env::var(\"X\").ok() }", "env"),
        ("status/key.rs", "use crate::execute::{Outcome, Hands};", "names crate::execute::Hands"),
        ("status/key.rs", "use crate::ports::Ledger;", "names crate::ports::Ledger"),
        ("status/mod.rs", "use k8s_openapi::jiff::Timestamp;", "names k8s_openapi"),
        ("ports.rs", "use crate::plan::step::Step;", "names crate::plan::step::Step"),
        ("ports.rs", "use async_trait::async_trait;", "names async_trait"),
        ("observe.rs", "use crate::clock::Clock;", "names crate::clock::Clock"),
        ("observe/patience.rs", "use tokio::time;", "names tokio"),
        ("execute.rs", "use crate::adapters::aws::Kms;", "names crate::adapters::aws::Kms"),
        ("execute.rs", "use crate::clock::SystemClock;", "names crate::clock::SystemClock"),
        ("adapters/aws/kms.rs", "use crate::api::CustomerKey;", "names crate::api::CustomerKey"),
        ("adapters/aws/kms.rs", "use crate::plan::step::Step;", "names crate::plan::step::Step"),
        ("adapters/aws/kms.rs", "use crate::controller::context::Note;", "names crate::controller::context::Note"),
        ("adapters/upstream/astra.rs", "use kube::Client;", "names kube"),
        ("controller/pass.rs", "use crate::adapters::aws;", "names crate::adapters::aws"),
        ("commands/why.rs", "use crate::adapters::aws;", "names crate::adapters::aws"),
        ("commands/why.rs", "use crate::status::key;", "names crate::status::key"),
        ("commands/plan/live.rs", "use crate::cli::Plan;", "names crate::cli::Plan"),
        ("commands/plan/live.rs", "use crate::sandbox::World;", "names crate::sandbox::World"),
        ("commands/plan/text.rs", "let home = std::env::var(name);", "cli.rs alone reads the environment"),
        ("controller/pass.rs", "fn f(e: aws_sdk_kms::Error) {}", "names aws_sdk_kms"),
        ("controller/pass.rs", "use reqwest::Client;", "names reqwest"),
        ("controller/pass.rs", "use crate::sandbox::World;", "names crate::sandbox::World"),
        ("controller/pass.rs", "let started = Instant::now();", "clock.rs alone calls now"),
        ("telemetry/http.rs", "let home = std::env::var(name);", "cli.rs alone reads the environment"),
        ("leader/mod.rs", "use crate::adapters::limits::Limits;", "names crate::adapters::limits::Limits"),
        ("main.rs", "use aws_config::BehaviorVersion;", "names aws_config"),
        ("lib.rs", &"\n".repeat(LONGEST + 1), "lines"),
    ] {
        let found = violations(path, text);
        assert!(found.iter().any(|line| line.contains(expected)), "{path}: {text:?}: {found:?}");
    }
    for (path, text) in [
        (
            "domain/id.rs",
            "//! See [`Plan`](crate::plan::Plan).\n/* crate::ports::Fault */ const X: &str = \"crate::plan::Plan\";",
        ),
        ("domain/id.rs", "#[cfg(test)]\nmod tests {\n use serde_json::json;\n}"),
        ("domain/id.rs", "const C: char = '\"'; use serde::Serialize; const D: char = '\"';"),
        ("plan/key.rs", "use super::{draft::Draft, policy};\nfn f() { policy::plan_region(); self.now(); }"),
        ("status/key.rs", "use crate::execute::Outcome;"),
        ("main.rs", "use cmk_operator::adapters::aws;"),
    ] {
        assert_eq!(violations(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

fn collect(root: &Path, directory: &Path, into: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            into.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every rule that a file breaks.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST && !LONG.iter().any(|(long, _)| *long == path) {
        all.push(format!("{path} has {lines} lines, and {LONGEST} are enough"));
    }
    if path.ends_with("tests.rs") {
        return all;
    }
    let code = bare(text);
    let layer = LAYERS.iter().find(|layer| path.starts_with(layer.files)).unwrap();
    let module = module_of(path);
    let known = dependencies();
    for found in paths(&code) {
        match resolve(&found, &module, &known) {
            Some(Named::Module(name)) => {
                let allowed = layer.modules.iter().any(|m| name == *m || name.starts_with(&format!("{m}::")));
                // The crate's root holds nothing but modules; a bare name in it is a macro or the name of a module itself.
                if !allowed {
                    all.push(format!("{path} names crate::{name}"));
                }
            }
            Some(Named::Crate(name)) => {
                let listed = |list: &[&str]| {
                    list.iter().any(|entry| name == *entry || (entry.ends_with('_') && name.starts_with(entry)))
                };
                let allowed = match layer.crates {
                    Crates::Only(list) => listed(list),
                    Crates::AllBut(list) => !listed(list),
                };
                if !allowed {
                    all.push(format!("{path} names {name}"));
                }
            }
            None => {}
        }
    }
    for Ban { words, within, but, why } in BANS {
        if !within.iter().any(|w| path.starts_with(w)) || but.iter().any(|b| path.starts_with(b)) {
            continue;
        }
        for word in words.iter().filter(|word| has_word(&code, word)) {
            all.push(format!("{path} says {word}: {why}"));
        }
    }
    all.dedup();
    all
}

enum Named {
    /// A path inside the crate, without `crate::`.
    Module(String),
    /// Another crate.
    Crate(String),
}

fn module_of(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap();
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    if ["lib", "main"].contains(&stem) { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
}

fn resolve(path: &[String], module: &[String], known: &BTreeSet<String>) -> Option<Named> {
    let first = path.first()?.as_str();
    let inside = |base: &[String], rest: &[String]| Some(Named::Module([base, rest].concat().join("::")));
    match first {
        "crate" | "cmk_operator" => inside(&[], &path[1..]),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            inside(module.get(..module.len().saturating_sub(up))?, &path[up..])
        }
        _ if known.contains(first) => Some(Named::Crate(first.to_owned())),
        _ => None,
    }
}

/// Every crate that could be named: those of the manifest, and what comes with the compiler.
fn dependencies() -> BTreeSet<String> {
    let manifest = include_str!("../Cargo.toml");
    let mut all: BTreeSet<String> = ["std", "core", "alloc", "async_trait"].map(str::to_owned).into();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            all.insert(name.trim().replace('-', "_"));
        }
    }
    all
}

/// The code without comments, literals and tests.
fn bare(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let text = text.split("#[cfg(test)]\n#[allow").next().unwrap_or_default();
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            ('/', '*') => {
                i += 2;
                while i < chars.len() && (at(i), at(i + 1)) != ('*', '/') {
                    i += 1;
                }
                i += 2;
            }
            ('r', '"' | '#') if !word_char(at(i.wrapping_sub(1))) && raw_string(&chars, i).is_some() => {
                i = raw_string(&chars, i).unwrap_or(chars.len());
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (other, _) => {
                out.push(other);
                i += 1;
            }
        }
    }
    out
}

/// The end of a raw string that begins here.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    (open + 1..chars.len())
        .find(|i| chars[*i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes)
        .map(|i| i + 1 + hashes)
}

fn word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a word, or a path, stands in the code by itself.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(word_char) && !after.is_some_and(word_char)
    })
}

/// Every path in the code, with the braces of `use` written out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let chars: Vec<char> = code.chars().collect();
    let mut all = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let begins = word_char(chars[i])
            && !chars[i].is_numeric()
            && (i == 0 || (!word_char(chars[i - 1]) && chars[i - 1] != ':'));
        if begins {
            i = path(&chars, i, &[], &mut all);
        } else {
            i += 1;
        }
    }
    all
}

/// Reads a path that begins here, and everything in its braces. Yields where it ends.
fn path(chars: &[char], start: usize, prefix: &[String], all: &mut Vec<Vec<String>>) -> usize {
    let mut parts = prefix.to_vec();
    let mut i = start;
    loop {
        let word: String = chars[i..].iter().take_while(|c| word_char(**c)).collect();
        i += word.chars().count();
        parts.push(word);
        if chars.get(i) != Some(&':') || chars.get(i + 1) != Some(&':') {
            break;
        }
        match chars.get(i + 2) {
            Some('{') => return braces(chars, i + 3, &parts, all),
            Some(c) if word_char(*c) => i += 2,
            _ => break,
        }
    }
    if parts.len() > 1 {
        all.push(parts);
    }
    i
}

fn braces(chars: &[char], start: usize, prefix: &[String], all: &mut Vec<Vec<String>>) -> usize {
    let mut i = start;
    while i < chars.len() && chars[i] != '}' {
        if word_char(chars[i]) {
            i = path(chars, i, prefix, all);
            // `a as b` names a only.
            let rest: String = chars[i..].iter().take(4).collect();
            if rest == " as " {
                i += 4;
                while i < chars.len() && word_char(chars[i]) {
                    i += 1;
                }
            }
        } else {
            i += 1;
        }
    }
    i + 1
}

//! `cmk-operator plan -f` against nothing, on the real binary: manifests in, text out, with no cluster and no cloud at
//! hand. Each file of `tests/plan_command/` and of `examples/` has its golden answer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test should stop at the place")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cmk_operator::commands::plan::{Verdict, manifests, rehearsal};
use cmk_operator::domain::id::Name;
use cmk_operator::plan::Settings;
use serde_json::Value;

#[path = "support/crd_cases.rs"]
#[allow(dead_code, reason = "only the cases of creations are used here")]
mod crd_cases;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the binary from the root of the project, without anything that could lead it to a cluster or a cloud.
fn plan(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cmk-operator"))
        .arg("plan")
        .args(arguments)
        .current_dir(root())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit {}\n{out}{err}", output.status.code().unwrap())
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// The examples of every cloud.
fn examples() -> Vec<PathBuf> {
    let mut clouds: Vec<_> =
        fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    clouds.sort();
    clouds.iter().flat_map(|cloud| yaml_files(&format!("examples/{}", cloud.to_str().unwrap()))).collect()
}

/// The name of a manifest's golden answer: `astra-simplest.txt` of an example, `stuck.txt` of a case.
fn golden(file: &Path) -> String {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let folder = file.parent().unwrap();
    let is_example = folder.parent().unwrap().ends_with("examples");
    let cloud = folder.file_name().unwrap().to_str().unwrap();
    if is_example { format!("{cloud}-{stem}.txt") } else { format!("{stem}.txt") }
}

#[test]
fn every_example_and_every_case_is_told_as_its_golden_file_says() {
    let (examples, cases) = (examples(), yaml_files("tests/plan_command"));
    assert!(!examples.is_empty() && cases.len() > 5, "{} examples, {} cases", examples.len(), cases.len());
    let mut wrong = Vec::new();
    for file in examples.iter().chain(&cases) {
        let relative = file.strip_prefix(root()).unwrap().to_str().unwrap();
        let actual = told(&plan(&["-f", relative], ""));
        let golden = root().join("tests/plan_command").join(golden(file));
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{relative} differs from {}:\n{actual}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_golden_file_is_of_a_manifest() {
    let known: Vec<_> = examples().iter().chain(&yaml_files("tests/plan_command")).map(|file| golden(file)).collect();
    for entry in fs::read_dir(root().join("tests/plan_command")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(path.extension().is_some_and(|e| e == "yaml") || known.contains(&name), "{name}");
    }
}

#[test]
fn standard_input_several_files_and_directories_come_to_the_same() {
    let example = "examples/astra/several-regions.yaml";
    let text = fs::read_to_string(root().join(example)).unwrap();
    let from_file = told(&plan(&["-f", example], ""));
    assert_eq!(told(&plan(&["-f", "-"], &text)), from_file);
    let each: Vec<PathBuf> = yaml_files("examples/astra");
    let each: Vec<&str> = each.iter().flat_map(|file| ["-f", file.to_str().unwrap()]).collect();
    assert_eq!(told(&plan(&["-f", "examples/astra"], "")), told(&plan(&each, "")));
    let both = told(&plan(&["-f", example, "-f", "tests/plan_command/gate-only.yaml"], ""));
    assert!(both.contains("CustomerKey payments/payments") && both.contains("EncryptedCluster shop/"), "{both}");
    let twice = told(&plan(&["-f", example, example], ""));
    assert!(twice.starts_with("exit 1\n") && twice.contains("it is there twice"), "{twice}");
}

#[test]
fn a_file_that_is_missing_or_no_yaml_is_said_so() {
    let missing = told(&plan(&["-f", "no/such/file.yaml"], ""));
    assert!(missing.starts_with("exit 1\n") && missing.contains("no/such/file.yaml cannot be read"), "{missing}");
    let no_yaml = told(&plan(&["-f", "examples"], ""));
    assert!(no_yaml.starts_with("exit 1\n") && no_yaml.contains("no YAML file in this directory"), "{no_yaml}");
    let broken = told(&plan(&["-f", "-"], "kind: [unclosed"));
    assert!(broken.starts_with("exit 1\n") && broken.contains("standard input: it is not YAML"), "{broken}");
}

#[test]
fn the_json_says_the_same_as_the_text() {
    let example = "examples/astra/several-regions.yaml";
    let text = told(&plan(&["-f", example], ""));
    let output = plan(&["-f", example, "--output", "json"], "");
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["verdict"], "changes");
    let steps: Vec<&Value> =
        json["objects"].as_array().unwrap().iter().flat_map(|o| o["steps"].as_array().unwrap()).collect();
    for (number, step) in steps.iter().enumerate() {
        assert_eq!(step["number"], number + 1);
        let line = format!("{}. {}\n", step["number"], step["text"].as_str().unwrap());
        assert!(text.contains(&line), "{line}");
        for detail in step["details"].as_array().into_iter().flatten() {
            assert!(text.contains(detail.as_str().unwrap()), "{detail}");
        }
    }
    assert!(json.to_string().contains("<from Astra at apply>"), "{json:#}");
    for invented in ["000000000000", "from-AWS-at-apply", "the-operators-principal", "the-id-of-the-database", "2000-"]
    {
        assert!(!json.to_string().contains(invented), "{invented} is not said for what it is: {json:#}");
    }
}

#[test]
fn the_name_of_the_installation_is_part_of_what_is_planned() {
    let text = told(&plan(&["-f", "examples/astra", "--installation", "production"], ""));
    assert!(text.contains("alias/cmk-operator/production/payments/payments"), "{text}");
}

/// Whatever the CRDs accept can be planned to an end, and what they refuse is refused in the same words.
#[tokio::test]
async fn every_case_of_the_schemas_is_refused_or_planned_to_its_end() {
    let installation: Name = "test".parse().unwrap();
    let mut wrong = Vec::new();
    let (mut planned, mut refused) = (0, 0);
    for case in crd_cases::cases().into_iter().filter(|case| case.old.is_none()) {
        let text = case.object.to_string();
        let read = manifests::parse_all(&[("case".to_owned(), text)], "default", &installation);
        match &case.refused {
            Some(refusal) => {
                refused += 1;
                let said = |r: &manifests::Refusal| r.field == refusal.field && r.message.contains(&refusal.says);
                if !read.refused.iter().any(said) {
                    wrong.push(format!("{}: expected {refusal:?}, got {:?}", case.name, read.refused));
                }
            }
            None if !read.refused.is_empty() => wrong.push(format!("{}: refused: {:?}", case.name, read.refused)),
            None => {
                planned += 1;
                match rehearsal::rehearse(&read, &installation, &Settings::default()).await {
                    Ok(report) if report.verdict() == Verdict::Nothing => {
                        wrong.push(format!("{}: nothing to do against nothing", case.name));
                    }
                    Ok(report) => {
                        let refused = report.json().to_string().contains("PlanRefused");
                        if refused {
                            wrong.push(format!("{}: the operator's own check: {:#}", case.name, report.json()));
                        }
                    }
                    Err(error) => wrong.push(format!("{}: {error}", case.name)),
                }
            }
        }
    }
    assert!(planned > 30 && refused > 100, "{planned} planned, {refused} refused");
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

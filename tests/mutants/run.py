"""Plants each mutant of list.yaml in a copy of the sources, and sees it killed by the tests that it names.

    python tests/mutants/run.py [--only TEXT]

Everything is under target/mutants. First the named tests run on the sources as they are: what fails there kills nothing.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "mutants"
TREE = PLACE / "tree"


def copy():
    """The tracked files as they are now. What is the same already keeps its time: only what changed is built anew."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        target = TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (ROOT / name).read_bytes():
            shutil.copy(ROOT / name, target)


def cargo(test, *arguments):
    name, *names = test.split()
    which = ["--lib"] if name == "lib" else ["--test", name]
    command = ["cargo", "test", "--locked", "--features", "sandbox", "--target-dir", str(PLACE / "target"), *which]
    return subprocess.run([*command, *arguments, *names], cwd=TREE, capture_output=True, text=True)


def passes(test):
    """Whether a test passes; a copy that does not compile is no mutant."""
    built = cargo(test, "--no-run")
    if built.returncode != 0:
        sys.exit(f"does not compile:\n{built.stderr[-4000:]}")
    ran = cargo(test)
    if "0 passed; 0 failed" in ran.stdout:
        sys.exit(f"{test}: there is no such test")
    return ran.returncode == 0


def survives(mutant):
    path = TREE / mutant["file"]
    text = path.read_text()
    if text.count(mutant["find"]) != 1:
        sys.exit(f"{mutant['what']}: its text is {text.count(mutant['find'])} times in {mutant['file']}")
    path.write_text(text.replace(mutant["find"], mutant["replace"]))
    try:
        return [test for test in mutant["killed_by"] if passes(test)]
    finally:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    mutants = [m for m in yaml.safe_load((ROOT / "tests/mutants/list.yaml").read_text()) if only in m["what"] + m["file"]]
    copy()
    began = time.monotonic()
    for test in sorted({test for mutant in mutants for test in mutant["killed_by"]}):
        if not passes(test):
            sys.exit(f"{test} fails on the sources as they are")
    alive = 0
    for mutant in mutants:
        surviving = survives(mutant)
        alive += bool(surviving)
        fate = f"SURVIVES {surviving}" if surviving else "killed by " + ", ".join(mutant["killed_by"])
        print(f"{mutant['file']}: {mutant['what']}: {fate}", flush=True)
    print(f"{len(mutants) - alive} of {len(mutants)} mutants killed in {time.monotonic() - began:.0f} s")
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()

"""What the sandbox and a witness disagree on, and the table of the disagreements that are known."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sequence import READS

# Who is right, by the vendor's documentation.
SIDES = {"sandbox", "witness", "both", "silent"}
KNOWN = {"witness", "call", "at", "sandbox", "answers", "says", "aws", "reason", "source"}


@dataclass
class Difference:
    witness: str
    call: str
    at: str
    ours: str
    theirs: str
    message: str
    where: str


@dataclass
class Entry:
    """A line of the table."""

    number: int
    witnesses: list
    calls: list
    at: str
    ours: str
    theirs: str
    says: str
    aws: str
    reason: str
    source: str
    seen: dict = field(default_factory=dict)

    def fits(self, d):
        return (
            d.witness in self.witnesses
            and any(like(d.call, c) for c in self.calls)
            and like(d.at, self.at)
            and like(d.ours, self.ours)
            and like(d.theirs, self.theirs)
            and self.says in d.message
        )

    def __str__(self):
        return (
            f"entry {self.number} ({'/'.join(self.calls)}, {self.at}: sandbox {self.ours}, "
            f"{'/'.join(self.witnesses)} {self.theirs})"
        )


def load(path):
    entries = []
    for number, raw in enumerate(yaml.safe_load(Path(path).read_text()), 1):
        unknown = set(raw) - KNOWN
        missing = {"witness", "call", "sandbox", "answers", "aws", "reason", "source"} - set(raw)
        if unknown or missing or raw["aws"] not in SIDES:
            raise SystemExit(f"{path}, entry {number}: unknown {unknown}, missing {missing}, aws one of {SIDES}")
        entries.append(
            Entry(
                number,
                listed(raw["witness"]),
                listed(raw["call"]),
                raw.get("at", "outcome"),
                str(raw["sandbox"]),
                str(raw["answers"]),
                raw.get("says", ""),
                raw["aws"],
                raw["reason"],
                raw["source"],
            )
        )
    return entries


def like(text, pattern):
    """Whether a text is as a pattern, where `*` stands for anything."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None


def listed(value):
    return value if isinstance(value, list) else [value]


def word(outcome):
    """`ok`, or the code; with the status when it is not what the protocol says."""
    usual = 200 if outcome["code"] == "ok" else 400
    return outcome["code"] if outcome["status"] == usual else f"{outcome['code']} ({outcome['status']})"


def sequence(witness, steps, ours, theirs, name):
    """The differences in one sequence, and how many calls could be compared.

    Once a write took effect on one side only, the two hold different things: what comes after says nothing.
    """
    found = []
    for n, (step, a, b) in enumerate(zip(steps, ours, theirs)):
        if a is None or b is None:
            return found, n
        where = f"{name}, step {n + 1}"
        call = step["call"]
        if word(a) != word(b):
            message = a.get("message", "")
            found.append(Difference(witness, call, "outcome", word(a), word(b), message, where))
            if (a["code"] == "ok") != (b["code"] == "ok") and not READS.search(f".{call}"):
                return found, n + 1
        elif a["code"] == "ok":
            for at, x, y in leaves("", a["answer"], b["answer"]):
                found.append(Difference(witness, call, at, x, y, "", where))
    return found, len(steps)


ABSENT = "absent"


def leaves(at, a, b):
    """Where two answers differ: path, ours, theirs."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in sorted(set(a) | set(b)):
            yield from leaves(f"{at}.{name}".lstrip("."), a.get(name, ABSENT), b.get(name, ABSENT))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for x, y in zip(a, b):
            yield from leaves(f"{at}[]", x, y)
    elif a != b:
        yield at, shown(a), shown(b)


def shown(value):
    if isinstance(value, list):
        return f"{len(value)} items"
    if isinstance(value, dict):
        return "an object"
    return str(value)

"""The contract table of a cloud's API, and the check of recorded traffic against it.

Usage: contract.py [--whole] [--table TABLE] FILE...      FILE: what record.py wrote; TABLE: Astra's if absent
--whole: every call that the table says our client sends has to be there.
"""

import argparse
import json
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import yaml

TABLE = Path(__file__).with_name("astra-contract.yaml")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[0-9a-z-]+")


def is_time(text):
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
    except ValueError:
        return False


SCALARS = {
    "string": lambda v: isinstance(v, str),
    "uuid": lambda v: isinstance(v, str) and UUID.fullmatch(v) is not None,
    "arn": lambda v: isinstance(v, str) and ARN.fullmatch(v) is not None,
    "account": lambda v: isinstance(v, str) and re.fullmatch(r"\d{12}", v) is not None,
    "time": lambda v: isinstance(v, str) and is_time(v),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
}
IN_A_FIELD = {
    *("type", "required", "values", "at_least", "at_most", "may_be_null"),
    *("not_in_spec", "not_in_spec_values"),
}
IN_A_CALL = {
    *("method", "path", "source", "sent", "query", "body", "answers", "headers", "errors"),
    *("not_in_spec", "left_out", "left_out_of_answers", "body_not_in_spec"),
}


class Table:
    """The contract: calls by name, and types."""

    def __init__(self, path=TABLE):
        raw = yaml.safe_load(Path(path).read_text())
        self.path, self.types, self.calls = Path(path), raw["types"], {}
        # Without a body that anybody describes, an error is whatever it is.
        self.errors_are_text = raw.get("errors_are") == "text"
        for name, call in raw["calls"].items():
            if "like" in call:
                call = {**raw["calls"][call.pop("like")], **call}
            if unknown := set(call) - IN_A_CALL:
                raise SystemExit(f"{path}: {name}: unknown {unknown}")
            self.calls[name] = call

    def resolved(self, kind):
        """(shape, what it is made of, options): shape is a scalar's name, `list` or `object`."""
        if isinstance(kind, str):
            if kind in SCALARS:
                return kind, None, {}
            named = self.types[kind]
            # A type is a field with a type that is no field itself, or the fields of an object.
            if "type" in named and set(named) <= IN_A_FIELD:
                return self.resolved(named)
            return "object", named, {}
        if "list" in kind:
            return "list", kind["list"], {}
        if "object" in kind:
            return "object", kind["object"], {}
        if unknown := set(kind) - IN_A_FIELD:
            raise SystemExit(f"{TABLE}: unknown {unknown} in {kind}")
        shape, inner, options = self.resolved(kind["type"])
        return shape, inner, {**options, **{k: v for k, v in kind.items() if k != "type"}}

    def check(self, value, kind, at):
        """What is wrong with a value."""
        shape, inner, options = self.resolved(kind)
        if value is None and options.get("may_be_null"):
            return []
        if shape == "list":
            if not isinstance(value, list):
                return [f"{at} is not a list: {value!r}"]
            return [p for n, item in enumerate(value) for p in self.check(item, inner, f"{at}[{n}]")]
        if shape == "object":
            if not isinstance(value, dict):
                return [f"{at} is not an object: {value!r}"]
            return self.check_fields(value, inner, at)
        if not SCALARS[shape](value):
            return [f"{at} is not of type {shape}: {value!r}"]
        if value not in options.get("values", [value]):
            return [f"{at} is {value!r} and not one of {options['values']}"]
        if not options.get("at_least", value) <= value <= options.get("at_most", value):
            return [f"{at} is out of bounds: {value!r}"]
        return []

    def check_fields(self, value, fields, at):
        problems = [f"{at} has a field {name} that nobody knows" for name in value if name not in fields]
        for name, kind in fields.items():
            if name in value:
                problems += self.check(value[name], kind, f"{at}.{name}")
            elif self.resolved(kind)[2].get("required", True):
                problems.append(f"{at} lacks {name}")
        return problems

    def call(self, method, path):
        """The name of the call; a fixed segment goes before a variable one."""
        fitting = []
        for name, call in self.calls.items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(call["path"]))
            if call["method"] == method and re.fullmatch(pattern, path):
                fitting.append((call["path"].count("{"), name))
        return min(fitting)[1] if fitting else None

    def exchange(self, one):
        """What is wrong with one request and its answer: the call's name and the problems."""
        url = urlsplit(one["path"])
        name = self.call(one["method"], url.path)
        if name is None:
            return None, [f"{one['method']} {url.path}: no such call"]
        call = self.calls[name]
        problems = self.request(call, one, url.query) + self.answer(call, one)
        return name, [f"{name} ({one['method']} {one['path']}): {p}" for p in problems]

    def request(self, call, one, query):
        if not one["bearer"]:
            return ["no bearer token is sent"]
        problems = []
        sent, known = dict(parse_qsl(query, keep_blank_values=True)), call.get("query", {})
        for key, text in sent.items():
            if key not in known:
                problems.append(f"the query has {key}, which nobody knows")
                continue
            shape = self.resolved(known[key])[0]
            value = json.loads(text) if shape in ("integer", "boolean") and re.fullmatch(r"\d+|true|false", text) else text
            problems += self.check(value, known[key], f"query {key}")
        if "body" not in call:
            return problems + ([f"a body is sent: {one['sent']!r}"] if one["sent"] else [])
        if not (one["sent_type"] or "").startswith("application/json"):
            problems.append(f"the body is sent as {one['sent_type']}")
        return problems + self.check(json.loads(one["sent"] or "null"), call["body"], "what is sent")

    def answer(self, call, one):
        status, text = one["status"], one["answered"]
        if status in call["errors"]:
            if self.errors_are_text:
                return [] if text else [f"answer {status} says nothing"]
            return self.check(json.loads(text or "null"), "error", f"answer {status}")
        if status not in call["answers"]:
            return [f"the status {status} is not one of {[*call['answers'], *call['errors']]}"]
        problems = []
        for header, kind in call.get("headers", {}).get(status, {}).items():
            problems += self.check(one["headers"].get(header), kind, f"header {header}")
        kind = call["answers"][status]
        if kind == "none":
            return problems + ([f"answer {status} has a body: {text!r}"] if text else [])
        return problems + self.check(json.loads(text or "null"), kind, f"answer {status}")


def judge(exchanges, whole, path=TABLE):
    """The number of calls seen by name, and everything that is wrong."""
    table, seen, problems = Table(path), {}, []
    for one in exchanges:
        name, wrong = table.exchange(one)
        seen[name] = seen.get(name, 0) + 1
        problems += wrong
    if whole:
        missing = [n for n, call in table.calls.items() if call["sent"] and n not in seen]
        problems += [f"our client is said to send this, and did not: {name}" for name in missing]
        more = [n for n in seen if n and not table.calls[n]["sent"]]
        problems += [f"our client is said not to send this, and did: {name}" for name in more]
    return seen, problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    lines = [line for file in options.files for line in file.read_text().splitlines()]
    seen, problems = judge([json.loads(line) for line in lines], options.whole, options.table)
    for name, count in sorted(seen.items(), key=str):
        print(f"{count:5} {name}")
    if problems:
        raise SystemExit("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    main()

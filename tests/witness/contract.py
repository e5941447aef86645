"""The contract tables of the database clouds, and the check of recorded traffic against them.

Usage: contract.py [--whole] [--table TABLE] FILE...      FILE: what record.py wrote; TABLE: Astra's if absent
--whole: every call that the table says our client sends has to be there.
"""

import argparse
import ipaddress
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


def is_address(text):
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


SCALARS = {
    "any": lambda _: True,
    "object_id": lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{24}", v) is not None,
    "address": lambda v: isinstance(v, str) and is_address(v),
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
    *("not_in_spec", "left_out", "left_out_of_answers", "body_not_in_spec", "version", "open", "form"),
}


class Table:
    """The contract: calls by name, and types."""

    def __init__(self, path=TABLE):
        raw = yaml.safe_load(Path(path).read_text())
        self.path, self.types, self.calls = Path(path), raw["types"], {}
        # The version of the vendor's spec that it was written from.
        self.spec_version = raw["spec"]["version"]
        # Without a body that anybody describes, an error is whatever it is.
        self.errors_are_text = raw.get("errors_are") == "text"
        for name, call in raw["calls"].items():
            if "like" in call:
                call = {**raw["calls"][call.pop("like")], **call}
            if unknown := set(call) - IN_A_CALL:
                raise SystemExit(f"{path}: {name}: unknown {unknown}")
            # YAML reads what looks like a date as one.
            if "version" in call:
                call = {**call, "version": str(call["version"])}
            self.calls[name] = call

    def resolved(self, kind):
        """(shape, what it is made of, options): shape is a scalar's name, `list`, `map` or `object`."""
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
        if "map" in kind:
            return "map", kind["map"], {}
        if unknown := set(kind) - IN_A_FIELD:
            raise SystemExit(f"{self.path}: unknown {unknown} in {kind}")
        shape, inner, options = self.resolved(kind["type"])
        return shape, inner, {**options, **{k: v for k, v in kind.items() if k != "type"}}

    def check(self, value, kind, at):
        """What is wrong with a value."""
        shape, inner, options = self.resolved(kind)
        if value is None and options.get("may_be_null"):
            return []
        if shape == "map":
            if not isinstance(value, dict):
                return [f"{at} is not an object: {value!r}"]
            return [p for name, item in value.items() for p in self.check(item, inner, f"{at}.{name}")]
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
        if not one["bearer"] and not call.get("open"):
            return ["no bearer token is sent"]
        problems = []
        if "version" in call and "application/vnd.atlas." not in (one.get("accepted") or ""):
            problems.append(f"no version is asked for: {one.get('accepted')}")
        if "form" in call:
            return problems + self.form(call, one)
        sent, known = dict(parse_qsl(query, keep_blank_values=True)), call.get("query", {})
        for key, text in sent.items():
            if key not in known:
                problems.append(f"the query has {key}, which nobody knows")
                continue
            shape, inner, _ = self.resolved(known[key])
            if shape == "list":
                problems += self.check(text, inner, f"query {key}")
                continue
            value = json.loads(text) if shape in ("integer", "boolean") and re.fullmatch(r"\d+|true|false", text) else text
            problems += self.check(value, known[key], f"query {key}")
        if "body" not in call:
            return problems + ([f"a body is sent: {one['sent']!r}"] if one["sent"] else [])
        media = "application/vnd.atlas." if "version" in call else "application/json"
        if not (one["sent_type"] or "").startswith(media):
            problems.append(f"the body is sent as {one['sent_type']}")
        return problems + self.check(json.loads(one["sent"] or "null"), call["body"], "what is sent")

    def form(self, call, one):
        if not (one["sent_type"] or "").startswith("application/x-www-form-urlencoded"):
            return [f"the form is sent as {one['sent_type']}"]
        return self.check_fields(dict(parse_qsl(one["sent"])), call["form"], "the form")

    def answer(self, call, one):
        status, text = one["status"], one["answered"]
        if status in call["errors"]:
            if self.errors_are_text:
                return [] if text else [f"answer {status} says nothing"]
            return self.check(json.loads(text or "null"), "error", f"answer {status}")
        if status not in call["answers"]:
            return [f"the status {status} is not one of {[*call['answers'], *call['errors']]}"]
        problems = []
        media = one["headers"].get("content-type", "")
        if "version" in call and not media.startswith(f"application/vnd.atlas.{call['version']}+json"):
            problems.append(f"answer {status} is {media} and not of version {call['version']}")
        for header, kind in call.get("headers", {}).get(status, {}).items():
            problems += self.check(one["headers"].get(header), kind, f"header {header}")
        kind = call["answers"][status]
        if kind == "none":
            return problems + ([f"answer {status} has a body: {text!r}"] if text else [])
        return problems + self.check(json.loads(text or "null"), kind, f"answer {status}")


def judge(exchanges, whole, table=None):
    """The number of calls seen by name, and everything that is wrong."""
    table = table or Table()
    seen, problems = {}, []
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
    seen, problems = judge([json.loads(line) for line in lines], options.whole, Table(options.table))
    for name, count in sorted(seen.items(), key=str):
        print(f"{count:5} {name}")
    if problems:
        raise SystemExit("\n".join(dict.fromkeys(problems)))


if __name__ == "__main__":
    main()

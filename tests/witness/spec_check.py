"""Compares a contract table with the vendor's own spec, which is not part of this project.

Usage: spec_check.py SPEC [TABLE]      TABLE: Astra's if absent
"""

import sys
from pathlib import Path

import yaml

from contract import SCALARS, TABLE, Table

# The version that each table was written from.
VERSIONS = {"astra-contract.yaml": "2.3.0", "singlestore-contract.yaml": "1.1.33"}
# What our types are in a spec.
PLAIN = {"uuid": "string", "arn": "string", "account": "string", "time": "string"}


class Check:
    def __init__(self, spec, table):
        self.spec, self.table, self.problems, self.compared = spec, table, [], 0

    def wrong(self, at, text):
        self.problems.append(f"{at}: {text}")

    def deref(self, node):
        while "$ref" in node:
            target = self.spec
            for part in node["$ref"].lstrip("#/").split("/"):
                target = target[part]
            node = target
        return node

    def kind(self, kind, schema, at, left_out=()):
        """Our type against a schema: names, types, values, and what is required."""
        schema = self.deref(schema)
        shape, inner, options = self.table.resolved(kind)
        self.compared += 1
        if shape == "list":
            if schema.get("type") != "array":
                return self.wrong(at, "a list with us and not in the spec")
            return self.kind(inner, schema["items"], f"{at}[]", left_out)
        if shape == "object":
            return self.fields(inner, schema, at, left_out)
        if schema.get("type") not in (PLAIN.get(shape, shape), None):
            self.wrong(at, f"{shape} with us, {schema.get('type')} in the spec")
        if "enum" in schema and "values" in options and "not_in_spec_values" not in options:
            for more in set(options["values"]) - set(schema["enum"]):
                self.wrong(at, f"the value {more} is not in the spec")
        for ours, theirs in (("at_least", "minimum"), ("at_most", "maximum")):
            if ours in options and schema.get(theirs, options[ours]) != options[ours]:
                self.wrong(at, f"{ours} {options[ours]} with us, {schema[theirs]} in the spec")
        return None

    def fields(self, fields, schema, at, left_out):
        properties = schema.get("properties", {})
        for name, kind in fields.items():
            options = self.table.resolved(kind)[2]
            if name not in properties:
                if "not_in_spec" not in options:
                    self.wrong(f"{at}.{name}", "there is no such field in the spec")
            elif "not_in_spec" in options:
                self.wrong(f"{at}.{name}", "it is in the spec, although the table says that it is not")
            else:
                self.kind(kind, properties[name], f"{at}.{name}", left_out)
        for name in schema.get("required", []):
            ours = fields.get(name)
            # The spec's Error has the property ID and requires id.
            if ours is None and name == "id" and "ID" in fields:
                continue
            if ours is None or not self.table.resolved(ours)[2].get("required", True):
                if name not in left_out:
                    self.wrong(f"{at}.{name}", "the spec requires it")
            elif name in left_out:
                self.wrong(f"{at}.{name}", "it is not left out, although the table says so")

    def call(self, name, call):
        operation = self.spec["paths"].get(call["path"], {}).get(call["method"].lower())
        if call["source"] != "spec":
            if operation:
                self.wrong(name, "it is in the spec now: say so in the table, and compare it")
            return
        if operation is None:
            self.wrong(name, f"{call['method']} {call['path']} is not in the spec")
            return
        self.query(name, call, operation)
        content = self.deref(operation.get("requestBody", {})).get("content", {}).get("application/json")
        ours = "body" in call and "body_not_in_spec" not in call
        if "body_not_in_spec" in call and content:
            self.wrong(name, "the spec has a body, although the table says that it has none")
        elif bool(content) != ours:
            self.wrong(name, "one has a body and the other has none")
        elif content:
            self.kind(call["body"], content["schema"], f"{name}: body", call.get("left_out", ()))
        self.statuses(name, call, operation["responses"])

    def query(self, name, call, operation):
        parameters = [self.deref(p) for p in operation.get("parameters", [])]
        known = {p["name"]: p for p in parameters if p["in"] == "query"}
        for key, kind in call.get("query", {}).items():
            if key not in known:
                if "not_in_spec" not in self.table.resolved(kind)[2]:
                    self.wrong(name, f"the query has {key}, which is not in the spec")
            else:
                self.kind(kind, known[key]["schema"], f"{name}: query {key}")
        for key, parameter in known.items():
            if parameter.get("required") and key not in call.get("query", {}):
                self.wrong(name, f"the spec requires {key} in the query")

    def statuses(self, name, call, responses):
        known = {str(status): self.deref(r) for status, r in responses.items()}
        excused = {str(status) for status in call.get("not_in_spec", {})}
        for status in [*call["answers"], *call["errors"]]:
            found = known.get(str(status)) or known.get(f"{str(status)[0]}XX")
            if found is None:
                if str(status) not in excused:
                    self.wrong(name, f"the spec has no answer {status}")
                continue
            if str(status) in excused:
                self.wrong(name, f"the spec has an answer {status}, although the table says that it has not")
            schema = found.get("content", {}).get("application/json", {}).get("schema")
            kind = call["answers"].get(status, "none" if self.table.errors_are_text else "error")
            if (kind == "none") == bool(schema):
                self.wrong(name, f"answer {status}: one has a body and the other has none")
            elif schema:
                self.kind(kind, schema, f"{name}: answer {status}", call.get("left_out_of_answers", ()))
            for header in call.get("headers", {}).get(status, {}):
                if header not in {h.lower() for h in found.get("headers", {})}:
                    self.wrong(name, f"answer {status} has no header {header} in the spec")


def main():
    path = Path(sys.argv[1])
    table = Table(sys.argv[2] if len(sys.argv) > 2 else TABLE)
    version = VERSIONS[table.path.name]
    spec = yaml.safe_load(path.read_text())
    if spec["info"]["version"] != version:
        raise SystemExit(f"the spec is {spec['info']['version']}; the table was written from {version}: read it again")
    check = Check(spec, table)
    for name, call in table.calls.items():
        check.call(name, call)
    if check.problems:
        raise SystemExit("\n".join(check.problems))
    from_spec = sum(call["source"] == "spec" for call in table.calls.values())
    print(
        f"{table.path.name}: {len(table.calls)} calls, {from_spec} of them in the vendor's spec {version}: "
        f"{check.compared} fields, parameters and bodies agree"
    )


assert SCALARS.keys() >= PLAIN.keys()

if __name__ == "__main__":
    main()

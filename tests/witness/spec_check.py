"""Compares a contract table with the vendor's own spec, which is not part of this project.

Usage: spec_check.py TABLE SPEC
"""

import sys
from pathlib import Path

import yaml

from contract import SCALARS, Table

# What our types are in a spec.
PLAIN = {name: "string" for name in ("uuid", "arn", "account", "time", "object_id", "address")}
# Where a schema is one of several, ours are these.
OURS = ("AWS", "ENCRYPTION_AT_REST")


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

    def chosen(self, schema):
        """The schema that is about us, if it is one of several."""
        schema = self.deref(schema)
        mapping = schema.get("discriminator", {}).get("mapping", {})
        for name in OURS:
            if name in mapping:
                return self.deref({"$ref": mapping[name]})
        for one in schema.get("oneOf", []):
            # The vendor names AWS first where the options have no names.
            if "$ref" not in one or OURS[0] in one["$ref"]:
                return self.deref(one)
        return schema

    def flat(self, schema):
        """A schema with what it is composed of put into it."""
        parts = [self.flat(self.deref(part)) for part in schema.get("allOf", [])]
        properties, required = {}, []
        for part in [*parts, schema]:
            properties.update(part.get("properties", {}))
            required += part.get("required", [])
        return {**schema, "properties": properties, "required": sorted(set(required))}

    def kind(self, kind, schema, at, left_out=()):
        """Our type against a schema: names, types, values, and what is required."""
        schema = self.chosen(schema)
        shape, inner, options = self.table.resolved(kind)
        self.compared += 1
        if shape == "any":
            return None
        if shape == "map":
            if "additionalProperties" not in schema:
                return self.wrong(at, "names of its own with us and not in the spec")
            return self.kind(inner, schema["additionalProperties"], f"{at}.*", left_out)
        if shape == "list":
            if schema.get("type") != "array":
                return self.wrong(at, "a list with us and not in the spec")
            return self.kind(inner, schema["items"], f"{at}[]", left_out)
        if shape == "object":
            return self.fields(inner, self.flat(schema), at, left_out)
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
        content = self.content(call, self.deref(operation.get("requestBody", {})))
        ours = "body" in call and "body_not_in_spec" not in call
        if "body_not_in_spec" in call and content:
            self.wrong(name, "the spec has a body, although the table says that it has none")
        elif bool(content) != ours:
            self.wrong(name, "one has a body and the other has none")
        elif content:
            self.kind(call["body"], content["schema"], f"{name}: body", call.get("left_out", ()))
        self.statuses(name, call, operation["responses"])

    @staticmethod
    def content(call, holder):
        """What is there in the version of the call, or in plain JSON."""
        content = holder.get("content", {})
        versioned = f"application/vnd.atlas.{call.get('version')}+json"
        return content.get(versioned) or content.get("application/json")

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
            content = self.content(call, found)
            if content is None and "version" in call:
                self.wrong(name, f"answer {status} has no version {call['version']} in the spec")
                continue
            schema = (content or {}).get("schema")
            kind = call["answers"].get(status, "none" if self.table.errors_are_text else "error")
            if (kind == "none") == bool(schema):
                self.wrong(name, f"answer {status}: one has a body and the other has none")
            elif schema:
                self.kind(kind, schema, f"{name}: answer {status}", call.get("left_out_of_answers", ()))
            for header in call.get("headers", {}).get(status, {}):
                if header not in {h.lower() for h in found.get("headers", {})}:
                    self.wrong(name, f"answer {status} has no header {header} in the spec")


def main():
    table = Table(sys.argv[1])
    spec = yaml.load(Path(sys.argv[2]).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    version = spec["info"]["version"]
    if version != table.spec_version:
        raise SystemExit(f"the spec is {version}; the table was written from {table.spec_version}: read it again")
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

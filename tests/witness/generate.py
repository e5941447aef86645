"""Sequences that nobody wrote one by one: every operation in every key state, and random lives of keys.

The random ones come from fixed seeds, so every run sends the same calls.
"""

import random

STATES = {
    "Enabled": [],
    "Disabled": [{"call": "kms.disable_key", "args": {"KeyId": "$key"}}],
    "PendingDeletion": [{"call": "kms.schedule_key_deletion", "args": {"KeyId": "$key", "PendingWindowInDays": 7}}],
    "Gone": None,
}
NOBODY = "00000000-0000-4000-8000-000000000000"

ROOT = {
    "Sid": "root",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::$account:root"},
    "Action": "kms:*",
    "Resource": "*",
}
# Each operation on a key with arguments that are good in themselves.
OPERATIONS = {
    "describe_key": {},
    "get_key_policy": {"PolicyName": "default"},
    "put_key_policy": {"PolicyName": "default", "Policy": {"Version": "2012-10-17", "Statement": [ROOT]}},
    "list_key_policies": {},
    "list_aliases": {},
    "list_resource_tags": {},
    "get_key_rotation_status": {},
    "enable_key": {},
    "disable_key": {},
    "enable_key_rotation": {"RotationPeriodInDays": 200},
    "disable_key_rotation": {},
    "update_key_description": {"Description": "new"},
    "tag_resource": {"Tags": [{"TagKey": "new", "TagValue": "1"}]},
    "untag_resource": {"TagKeys": ["old"]},
    "schedule_key_deletion": {"PendingWindowInDays": 10},
    "cancel_key_deletion": {},
}
MADE = {
    "call": "kms.create_key",
    "args": {"Description": "d", "Tags": [{"TagKey": "old", "TagValue": "1"}]},
    "save": {"key": "KeyMetadata.KeyId", "arn": "KeyMetadata.Arn"},
    # One known difference of a field is enough; see sequences/keys.yaml.
    "ignore": ["KeyMetadata"],
}


def matrix():
    """Every operation in every state, and what the key is like afterwards."""
    for state, way in STATES.items():
        for operation, args in OPERATIONS.items():
            key = "$key" if way is not None else NOBODY
            steps = [MADE, *(way or []), {"call": f"kms.{operation}", "args": {"KeyId": key, **args}}]
            steps.append({"call": "kms.describe_key", "args": {"KeyId": "$key"}, "ignore": []})
            yield {"name": f"matrix: {operation} of a key that is {state}", "steps": steps}
        for operation in ("create_alias", "update_alias"):
            key = "$key" if way is not None else NOBODY
            steps = [MADE]
            if operation == "update_alias":
                steps += [
                    {"call": "kms.create_key", "save": {"other": "KeyMetadata.KeyId"}, "ignore": ["KeyMetadata"]},
                    {"call": "kms.create_alias", "args": {"AliasName": "alias/a", "TargetKeyId": "$other"}},
                ]
            steps += way or []
            steps.append({"call": f"kms.{operation}", "args": {"AliasName": "alias/a", "TargetKeyId": key}})
            steps.append({"call": "kms.list_aliases", "args": {"KeyId": "$key"}})
            yield {"name": f"matrix: {operation} to a key that is {state}", "steps": steps}


class Life:
    """Random calls on a few keys; mostly such as AWS accepts, so that both sides stay together for long."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.states = []
        self.aliases = {}
        self.steps = []

    def call(self, operation, **args):
        self.steps.append({"call": f"kms.{operation}", "args": args})

    def create(self):
        n = len(self.states)
        tags = [{"TagKey": f"t{i}", "TagValue": str(self.random.randrange(3))} for i in range(self.random.randrange(3))]
        args = {"Description": self.random.choice(["", "d", "\u00e4\u00f6 long " * 20])}
        if tags:
            args["Tags"] = tags
        self.steps.append(
            {
                "call": "kms.create_key",
                "args": args,
                "save": {f"key{n}": "KeyMetadata.KeyId", f"arn{n}": "KeyMetadata.Arn"},
                "ignore": ["KeyMetadata"],
            }
        )
        self.states.append("Enabled")

    def write(self):
        n = self.random.randrange(len(self.states))
        key = f"${{{self.random.choice(['key', 'arn'])}{n}}}"
        state = self.states[n]
        tag = f"t{self.random.randrange(6)}"
        possible = ["put_key_policy"]
        if state == "PendingDeletion":
            possible += ["cancel_key_deletion"]
        else:
            possible += ["disable_key", "enable_key", "tag_resource", "untag_resource", "update_key_description"]
            possible += ["schedule_key_deletion"] * (self.random.random() < 0.4)
            possible += ["create_alias", "update_alias"]
        if state == "Enabled":
            possible += ["enable_key_rotation", "disable_key_rotation"]
        if self.aliases:
            possible += ["delete_alias"]
        if len(self.states) < 3:
            possible += ["create"]
        operation = self.random.choice(possible)
        match operation:
            case "create":
                self.create()
            case "put_key_policy":
                more = {**ROOT, "Sid": tag, "Action": ["kms:DescribeKey", "kms:ListAliases"]}
                statements = [ROOT, more] if self.random.random() < 0.5 else [ROOT]
                document = {"Version": "2012-10-17", "Statement": statements}
                self.call(operation, KeyId=key, PolicyName="default", Policy=document)
            case "tag_resource":
                tags = [{"TagKey": tag, "TagValue": self.random.choice(["", "x", "a b+c=d.e:/f@g_h-i"])}]
                self.call(operation, KeyId=key, Tags=tags)
            case "untag_resource":
                self.call(operation, KeyId=key, TagKeys=[tag, "never"])
            case "update_key_description":
                self.call(operation, KeyId=key, Description=self.random.choice(["", "other"]))
            case "create_alias" | "update_alias" | "delete_alias":
                self.alias(operation, n)
            case "enable_key_rotation":
                period = self.random.choice([None, 90, 365, 2560])
                self.call(operation, KeyId=key, **({"RotationPeriodInDays": period} if period else {}))
            case "schedule_key_deletion":
                self.call(operation, KeyId=key, PendingWindowInDays=self.random.choice([7, 30]))
                self.states[n] = "PendingDeletion"
            case _:
                self.call(operation, KeyId=key)
                self.states[n] = {"enable_key": "Enabled", "disable_key": "Disabled"}.get(operation, state)
                if operation == "cancel_key_deletion":
                    self.states[n] = "Disabled"

    def alias(self, operation, n):
        if operation == "create_alias":
            name = f"alias/{self.random.choice(['a', 'b/c', 'D-_1'])}{len(self.steps)}"
            self.aliases[name] = n
            self.call(operation, AliasName=name, TargetKeyId=f"$key{n}")
        elif operation == "update_alias" and self.aliases:
            name = self.random.choice(sorted(self.aliases))
            self.aliases[name] = n
            self.call(operation, AliasName=name, TargetKeyId=f"$key{n}")
        elif self.aliases:
            name = self.random.choice(sorted(self.aliases))
            del self.aliases[name]
            self.call("delete_alias", AliasName=name)

    def read(self):
        n = self.random.randrange(len(self.states))
        key = f"${{{self.random.choice(['key', 'arn'])}{n}}}"
        operation = self.random.choice(
            ["describe_key", "describe_key", "get_key_policy", "list_aliases", "list_resource_tags"]
            + ["get_key_rotation_status", "list_keys", "list_key_policies", "get_resources", "by_alias"]
        )
        match operation:
            case "list_keys":
                self.call(operation)
            case "get_key_policy":
                self.call(operation, KeyId=key, PolicyName="default")
            case "get_resources":
                filters = [{"Key": f"t{self.random.randrange(3)}", "Values": []}]
                args = {"TagFilters": filters, "ResourceTypeFilters": ["kms:key"]}
                self.steps.append({"call": "tagging.get_resources", "args": args})
            case "by_alias":
                self.call("describe_key", KeyId=self.random.choice(sorted(self.aliases) or ["alias/none"]))
            case _:
                self.call(operation, KeyId=key)


def lives(count=60, length=14):
    for seed in range(count):
        life = Life(seed)
        life.create()
        while len(life.steps) < length:
            if life.random.random() < 0.55:
                life.write()
            else:
                life.read()
        yield {"name": f"life {seed}", "steps": life.steps}


def sequences():
    return [*matrix(), *lives()]

"""Sequences of calls: reading them, sending them to a cloud, and what came out of each call."""

import json
import re
from datetime import datetime, timezone
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers
import botocore.session
import yaml

from clouds import SECRET

REGION = "us-east-1"
SERVICES = {"kms": "kms", "sts": "sts", "tagging": "resourcegroupstaggingapi", "iam": "iam"}
# Calls that change nothing: whatever they answer, the clouds hold the same afterwards.
READS = re.compile(r"\.(describe|get|list)_|\.assume_role$")
UUID = re.compile(r"(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
MATERIAL = re.compile(r"\b[0-9a-f]{64}\b")
UNIQUE_ID = re.compile(r"\b(AROA|AIDA|ASIA|AKIA)[A-Z0-9]{12,}\b")


class UnsavedError(Exception):
    """A call needs what an earlier one did not yield."""


def load(directory):
    """The sequences written by hand, in order of file and position."""
    sequences = []
    for path in sorted(Path(directory).glob("*.yaml")):
        for sequence in yaml.safe_load(path.read_text()):
            sequence["name"] = f"{path.stem}: {sequence['name']}"
            sequence["steps"] = [one for step in sequence["steps"] for one in repeated(step)]
            sequences.append(sequence)
    return sequences


def repeated(step):
    """`times: n` stands for n steps; `#` in them is the number."""
    times = step.pop("times", None)
    if times is None:
        return [step]
    return [json.loads(json.dumps(step).replace("#", str(n))) for n in range(times)]


def expanded(value):
    """Large arguments written small: `{repeat: n, of: item}` and `{before: w, text: x, times: n}`."""
    if isinstance(value, dict):
        if set(value) == {"repeat", "of"}:
            item = json.dumps(value["of"])
            return [json.loads(item.replace("#", str(n))) for n in range(value["repeat"])]
        if {"text", "times"} <= set(value) <= {"text", "times", "before"}:
            return value.get("before", "") + value["text"] * value["times"]
        return {k: expanded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [expanded(v) for v in value]
    return value


class Caller:
    """Clients of one cloud; one for each service and region, with credentials that change."""

    def __init__(self, cloud):
        self.cloud = cloud
        session = botocore.session.get_session()
        session.set_credentials("none", SECRET)
        self.credentials = session.get_credentials()
        self.session = boto3.Session(botocore_session=session)
        self.clients = {}

    def become(self, key, secret=SECRET, token=None):
        self.credentials.access_key, self.credentials.secret_key, self.credentials.token = key, secret, token

    def client(self, service, region):
        if (service, region) not in self.clients:
            # One attempt, and what we send is what we wrote: the clouds have to refuse it, not the client.
            config = botocore.config.Config(
                retries={"total_max_attempts": 1}, parameter_validation=False, connect_timeout=10, read_timeout=30
            )
            self.clients[service, region] = self.session.client(
                SERVICES[service], region_name=region, endpoint_url=self.cloud.aws, config=config
            )
        return self.clients[service, region]


class Run:
    """One sequence on one cloud."""

    def __init__(self, caller, number):
        self.caller = caller
        self.account = caller.cloud.fresh(number)
        self.caller.become(self.account)
        self.saved = {"account": self.account}
        self.keys = {}

    def prepare(self, given):
        for role in given.get("roles", []):
            arn = f"arn:aws:iam::{self.account}:role/{role['name']}"
            principals = [self.filled(p) for p in role["principals"]]
            iam = self.caller.client("iam", REGION)
            self.caller.cloud.add_role(iam, arn, principals, role.get("external_id"))

    def filled(self, value):
        """The arguments with what earlier calls yielded."""
        if isinstance(value, dict):
            return {k: self.filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.filled(v) for v in value]
        if not isinstance(value, str):
            return value

        def known(match):
            if match[1] not in self.saved:
                raise UnsavedError(match[1])
            return str(self.saved[match[1]])

        return VARIABLE.sub(known, value)

    def step(self, step):
        """Sends one call; what came out, in words that every cloud would use."""
        service, operation = step["call"].split(".")
        arguments = self.filled(expanded(step.get("args", {})))
        if isinstance(arguments.get("Policy"), dict):
            arguments["Policy"] = json.dumps(arguments["Policy"])
        if "as" in step:
            credentials = self.saved.get(step["as"]) or {}
            if not credentials:
                raise UnsavedError(step["as"])
            self.caller.become(
                credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials.get("SessionToken")
            )
        elif "access_key" in step:
            self.caller.become(step["access_key"])
        try:
            client = self.caller.client(service, step.get("region", REGION))
            answer = getattr(client, operation)(**arguments)
        except botocore.exceptions.ClientError as error:
            return self.refused(error)
        except botocore.parsers.ResponseParserError as error:
            # A page of HTML where the protocol has JSON or XML: something broke in there.
            return {"status": 400, "code": "unreadable", "message": str(error)}
        finally:
            self.caller.become(self.account)
        status = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        if operation in ("create_key", "replicate_key"):
            made = answer.get("KeyMetadata") or answer.get("ReplicaKeyMetadata") or {}
            if key := made.get("KeyId"):
                odd = "" if UUID.fullmatch(key) else ", odd id"
                self.keys.setdefault(key, f"<key {len(self.keys) + 1}{odd}>")
        for name, path in step.get("save", {}).items():
            value = answer
            for part in path.split("."):
                value = value[int(part)] if isinstance(value, list) else (value or {}).get(part)
            if value is not None:
                self.saved[name] = value
        for name in step.get("count", []):
            answer[name] = len(answer.get(name, []))
        for name in step.get("ignore", []):
            answer.pop(name, None)
        return {"status": status, "code": "ok", "answer": self.plain(answer)}

    def refused(self, error):
        body = error.response
        return {
            "status": body["ResponseMetadata"]["HTTPStatusCode"],
            "code": body["Error"].get("Code") or "no code",
            "message": body["Error"].get("Message", ""),
        }

    def plain(self, value, name=""):
        """An answer without what differs from run to run."""
        if isinstance(value, dict):
            return {k: self.plain(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return sorted((self.plain(v, name) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
        if isinstance(value, datetime):
            days = round((value - datetime.now(timezone.utc)).total_seconds() / 86_400, 1)
            hours = round((value - datetime.now(timezone.utc)).total_seconds() / 3_600, 1)
            return f"<in {days:g} days>" if abs(days) >= 1 else f"<in {abs(hours):g} hours>"
        if not isinstance(value, str):
            return value
        if name in ("Policy", "ReplicaPolicy"):
            try:
                return self.plain(policy(json.loads(value)))
            except ValueError:
                return value
        if name in ("SecretAccessKey", "SessionToken", "AccessKeyId"):
            return "<secret>"
        if name in ("NextMarker", "PaginationToken"):
            return "<token>" if value else ""
        for key, number in self.keys.items():
            value = value.replace(key, number)
        text = MATERIAL.sub("<material>", UUID.sub("<uuid>", value))
        return UNIQUE_ID.sub(lambda m: f"<{m[1]}>", text).replace(self.account, "<account>")


def policy(document):
    """A policy with lists of one item as that item: they mean the same."""
    if isinstance(document, dict):
        return {k: policy(v) for k, v in document.items()}
    if isinstance(document, list):
        items = [policy(v) for v in document]
        return items[0] if len(items) == 1 and isinstance(items[0], str) else items
    return document


def outcomes(caller, sequence, number):
    """What came out of each call of a sequence; None from where one could not be sent any more."""
    if sequence.get("without") == caller.cloud.name:
        return [None] * len(sequence["steps"])
    run = Run(caller, number)
    run.prepare(sequence.get("given", {}))
    results = []
    for step in sequence["steps"]:
        try:
            results.append(run.step(step))
        except UnsavedError:
            return results + [None] * (len(sequence["steps"]) - len(results))
    return results

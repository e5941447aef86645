"""The vendor's own Go SDK against the sandbox's Atlas, and boto3 against its IAM: from a role to a cluster and back.

Usage: atlas_client.py --binary PATH --client PATH     CLIENT: what atlas-sdk/build.sh made
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

import clouds  # noqa: E402
import contract  # noqa: E402
import record  # noqa: E402

PROJECT = "5a9db0c500000000000000b1"
LOGIN = {
    "ATLAS_CLIENT_ID": "mdb_sa_id_sandbox",
    "ATLAS_CLIENT_SECRET": "mdb_sa_sk_sandbox",
    "ATLAS_PUBLIC_KEY": "sandboxk",
    "ATLAS_PRIVATE_KEY": "00000000-0000-4000-8000-0000000000a1",
}
ACCOUNT = "111111111111"
LONGEST_S = 240
# What the SDK is expected to have said; a call that it stopped making would go unseen otherwise.
CALLS = {
    "access token",
    "roles",
    "create a role",
    "one role",
    "authorize a role",
    "deauthorize a role",
    "read the key",
    "register a key",
    "clusters",
    "create a cluster",
    "read a cluster",
    "change a cluster",
    "end a cluster",
    "regions",
    "addresses of a project",
    "addresses of the control plane",
}


def equal(what, found, wanted):
    if found != wanted:
        raise SystemExit(f"{what}: {found!r} instead of {wanted!r}")


def run(client, step, address, **more):
    env = {**os.environ, **LOGIN, "ATLAS_ADDRESS": address, "ATLAS_PROJECT": PROJECT, **more}
    done = subprocess.run([client, step], env=env, capture_output=True, text=True, timeout=LONGEST_S)
    if done.returncode:
        raise SystemExit(f"{step}: {done.stderr}")
    return json.loads(done.stdout)


def aws(sandbox, service):
    return boto3.client(
        service,
        endpoint_url=sandbox.aws,
        region_name="us-east-1",
        aws_access_key_id="AKIASANDBOX",
        aws_secret_access_key=clouds.SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )


def refused(call, code, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        equal("the code of a refusal", error.response["Error"]["Code"], code)
        return
    raise SystemExit(f"not refused with {code}")


def role_for(sandbox, iam, made, key):
    """The role in AWS that Atlas is to assume, made and read back."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": made["principal"]},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": made["externalId"]}},
            }
        ],
    }
    policy = clouds.policy({"Effect": "Allow", "Action": ["kms:DescribeKey", "kms:Encrypt", "kms:Decrypt"], "Resource": key})
    name = {"RoleName": "atlas"}
    tags = [{"Key": "owner", "Value": "a & b"}]
    new = {**name, "Path": "/cmk-operator/w/", "AssumeRolePolicyDocument": json.dumps(trust), "Tags": tags}
    role = iam.create_role(**new)["Role"]
    refused(iam.create_role, "EntityAlreadyExists", **new)
    read = iam.get_role(**name)["Role"]
    equal("the trust policy", read["AssumeRolePolicyDocument"], trust)
    equal("the id", read["RoleId"], role["RoleId"])
    equal("the tags", iam.list_role_tags(**name)["Tags"], tags)
    refused(iam.get_role_policy, "NoSuchEntity", **name, PolicyName="keys")
    iam.put_role_policy(**name, PolicyName="keys", PolicyDocument=policy)
    equal("the policy", iam.get_role_policy(**name, PolicyName="keys")["PolicyDocument"], json.loads(policy))
    equal("the names", iam.list_role_policies(**name)["PolicyNames"], ["keys"])
    refused(iam.delete_role, "DeleteConflict", **name)
    refused(iam.update_assume_role_policy, "MalformedPolicyDocument", **name, PolicyDocument="{}")
    iam.tag_role(**name, Tags=[{"Key": "more", "Value": ""}])
    return role["Arn"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--client", required=True, type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    table = contract.Table(Path(__file__).with_name("atlas-contract.yaml"))
    with tempfile.TemporaryDirectory() as directory, clouds.Sandbox(directory, options.binary, "atlas") as sandbox:
        file = Path(directory) / "atlas.jsonl"
        with record.Recorder(sandbox.atlas, file) as recorder:
            key = aws(sandbox, "kms").create_key()["KeyMetadata"]["Arn"]
            iam = aws(sandbox, "iam")
            made = run(options.client, "role", recorder.address)
            role = role_for(sandbox, iam, made, key)
            more = {"IAM_ROLE": role, "ATLAS_ROLE": made["roleId"], "KMS_KEY": key}
            steps = run(options.client, "chain", recorder.address, **more)["steps"]
        iam.delete_role_policy(RoleName="atlas", PolicyName="keys")
        iam.delete_role(RoleName="atlas")
        refused(iam.get_role, "NoSuchEntity", RoleName="atlas")
        # A challenge is no answer of the contract, so this goes past the recorder.
        equal("by digest", run(options.client, "digest", sandbox.atlas), {"project": "sandbox", "projects": 1})
        exchanges = [json.loads(line) for line in file.read_text().splitlines()]
    seen, problems = contract.judge(exchanges, whole=False, table=table)
    problems += [f"the SDK did not make the call: {name}" for name in sorted(CALLS - set(seen))]
    if problems:
        raise SystemExit("\n".join(["what the SDK and the sandbox say is not in the contract:", *dict.fromkeys(problems)]))
    print(
        f"atlas-sdk-go: {steps} steps, {len(exchanges)} exchanges of {len(seen)} calls, all in the contract; "
        f"{time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()

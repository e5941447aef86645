"""Serves ministack on loopback, with one user that may do what a policy says.

Usage: serve.py --account ID --user NAME [--policy FILE]
Prints one JSON line: the address and the user's access key. Ends when standard input does.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import clouds
import sequence


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--account", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--policy", type=Path, help="absent: the user may do everything")
    options = parser.parse_args()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    everything = clouds.policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
    document = options.policy.read_text() if options.policy else everything
    with tempfile.TemporaryDirectory() as directory, clouds.Ministack(directory) as cloud:
        caller = sequence.Caller(cloud)
        caller.become(options.account)
        iam = caller.client("iam", sequence.REGION)
        iam.create_user(UserName=options.user)
        iam.put_user_policy(UserName=options.user, PolicyName="all", PolicyDocument=document)
        key = iam.create_access_key(UserName=options.user)["AccessKey"]
        answer = {"address": cloud.aws, "access_key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        print(json.dumps(answer), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

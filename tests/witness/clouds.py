"""The three clouds that are compared: our sandbox, and two simulators of AWS that others wrote."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60


# The secret of every access key: ministack checks signatures.
SECRET = "test"


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, body=None, timeout=10):
    """A GET, or a POST of JSON; the answer as JSON, or None if it is empty."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def end_with_parent():
    """Lets the child get SIGTERM when we die, however we do. Linux only; elsewhere it ends when we end in order."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Cloud:
    """A process that serves AWS at one address. Use it with `with`: it ends then, and with us in any case."""

    def __init__(self, name, directory):
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        self.process = None
        self.aws = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def spawn(self, command, env=None, **pipes):
        output = open(self.log, "w")  # noqa: SIM115 - the child keeps it
        pipes.setdefault("stdout", output)
        self.process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stderr=output, **pipes)
        output.close()

    def wait_until_served(self, url):
        end = time.monotonic() + PATIENCE_S
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                urllib.request.urlopen(url, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError as problem:
                if time.monotonic() > end:
                    raise SystemExit(f"{self.name} does not answer at {url}: {problem}") from problem
                time.sleep(0.05)


class Sandbox(Cloud):
    """Ours. Each sequence has an AWS account of its own, named by the access key id."""

    def __init__(self, directory, binary, name="sandbox"):
        super().__init__(name, directory)
        self.binary = binary

    def start(self):
        command = [str(self.binary), "sandbox", "--stop-with-stdin", "--deploy-time", "300ms"]
        self.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the sandbox did not start:\n{self.log.read_text()}")
        addresses = json.loads(line)
        self.aws, self.astra, self.control = (addresses[n] for n in ("aws", "astra", "control"))
        self.singlestore = addresses["singlestore"]
        self.atlas = addresses["atlas"]
        # Quotas are ours alone, and the sequences run as fast as they can.
        ask(f"{self.control}/world", {"patch_settings": {"quotas": "off"}})

    def fresh(self, number):
        return f"{700_000_000_000 + number}"

    def add_role(self, _iam, arn, principals, external_id):
        trust = {"principals": principals, "external_ids": [external_id] if external_id else []}
        ask(f"{self.control}/world", {"create_principal": {"arn": arn, "trust": trust}})


class Witness(Cloud):
    def spawn(self, command, env=None, **pipes):
        super().spawn(command, env, preexec_fn=end_with_parent, **pipes)

    def add_role(self, iam, arn, principals, external_id):
        """A role by the IAM API of the witness; the account is that of the caller."""
        statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principals}}
        if external_id:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
        name = arn.rsplit("/", 1)[1]
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(statement))
        # As in the sandbox, where who is not denied anything may do everything.
        everything = policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
        iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=everything)


class Ministack(Witness):
    """MIT. Each sequence has an account of its own, as in the sandbox."""

    def __init__(self, directory):
        super().__init__("ministack", directory)

    def start(self):
        port = free_port()
        # On loopback only, and none of the listeners that nobody asked for.
        env = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "ERROR",
            # It checks signatures, trust and identity policies then.
            "AUTH": "true",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "DOCKER_HOST": "unix:///nonexistent",
        }
        self.spawn([str(Path(sys.executable).with_name("ministack"))], env, stdin=subprocess.DEVNULL)
        self.aws = f"http://127.0.0.1:{port}"
        self.wait_until_served(f"{self.aws}/_ministack/health")

    def fresh(self, number):
        return f"{700_000_000_000 + number}"


class Moto(Witness):
    """Apache-2.0. It knows one account for plain credentials, so it is emptied before each sequence."""

    ACCOUNT = "123456789012"

    def __init__(self, directory):
        super().__init__("moto", directory)

    def start(self):
        port = free_port()
        command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
        self.spawn(command, {"MOTO_ACCOUNT_ID": self.ACCOUNT}, stdin=subprocess.DEVNULL)
        self.aws = f"http://127.0.0.1:{port}"
        self.wait_until_served(f"{self.aws}/moto-api/data.json")

    def fresh(self, _number):
        ask(f"{self.aws}/moto-api/reset", {})
        return self.ACCOUNT

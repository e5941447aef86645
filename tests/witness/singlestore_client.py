"""The vendor's own Python client, singlestoredb, against the sandbox: it makes, finds, lists, changes and ends workspace
groups and workspaces.

Only its documented classes are used. `manage_workspaces` takes the address as `base_url`:
https://singlestoredb-python.labs.singlestore.com/api.html
"""

import os
import time
import warnings

import boto3
import singlestoredb
from singlestoredb.exceptions import ManagementError

from clouds import ask, policy

ORGANIZATION = "51e5704e-0000-4000-8000-000000000001"
API_KEY = "singlestore-sandbox-api-key"
NOBODY = "11111111-2222-4333-8444-555555555555"
# Seconds between two looks, and until it gives up.
PATIENCE = {"wait_interval": 1, "wait_timeout": 60}


def manager_of(address, key=API_KEY):
    with warnings.catch_warnings():
        # The client would rather have v2, which knows no customer-managed keys.
        warnings.simplefilter("ignore", DeprecationWarning)
        return singlestoredb.manage_workspaces(access_token=key, base_url=address)


def equal(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"singlestoredb, {what}: {found!r} instead of {wanted!r}")


def refused(what, call, status, words=""):
    """The error of a call that has to be refused."""
    try:
        call()
    except ManagementError as error:
        equal(f"{what}: status", error.errno, status)
        equal(f"{what}: {words!r} in {error.msg!r}", words in error.msg, True)
        return
    raise AssertionError(f"singlestoredb, {what}: it was not refused")


def until(what, look, wanted):
    """Waits for a state of something that the client has no wait for."""
    end = time.monotonic() + 60
    while look() != wanted:
        if time.monotonic() > end:
            raise AssertionError(f"singlestoredb, {what}: {look()!r} instead of {wanted!r}")
        time.sleep(0.1)


def ireland_of(manager):
    """The id of a region, by what is shown to people: the name is that of another cloud's region too."""
    found = [r for r in manager.regions if r.provider == "AWS" and r.name == "Europe West 1 (Ireland)"]
    equal("regions of that name on AWS", len(found), 1)
    return found[0]


def life_of_a_group(manager, key):
    equal("organization", manager.organization.id, ORGANIZATION)
    equal("groups at first", list(manager.workspace_groups), [])
    region = ireland_of(manager)
    group = manager.create_workspace_group(
        "witness",
        region=region,
        firewall_ranges=["10.0.0.0/8"],
        admin_password="Witness-1234",
        data_bucket_kms_key_id=key,
        backup_bucket_kms_key_id=key,
        update_window={"day": 3, "hour": 4},
    )
    equal("name, region", (group.name, group.region.id, group.region_name), ("witness", region.id, "eu-west-1"))
    equal("ranges", group.firewall_ranges, ["10.0.0.0/8"])
    equal("window", group.update_window, {"day": 3, "hour": 4})
    equal("it is dated", group.created_at is not None and group.terminated_at is None, True)
    until("the state of a group", lambda: group.refresh().state, "ACTIVE")
    equal("the list, by name", manager.workspace_groups["witness"].id, group.id)
    equal("the list, by id", manager.workspace_groups[group.id].name, "witness")
    group.update(name="renamed", firewall_ranges=["10.0.0.0/8", "192.168.0.0/16"])
    equal("after a change", (group.name, len(group.firewall_ranges)), ("renamed", 2))
    # Names are not unique: the vendor makes a second one.
    other = manager.create_workspace_group("renamed", region.id, firewall_ranges=[])
    equal("two of one name", [g.name for g in manager.workspace_groups], ["renamed", "renamed"])
    other.terminate(wait_on_terminated=True, **PATIENCE)
    return group


def life_of_a_workspace(group):
    made = group.create_workspace("one", size="S-00", wait_on_active=True, **PATIENCE)
    equal("workspace", (made.name, made.size, made.state.upper()), ("one", "S-00", "ACTIVE"))
    equal("it has an endpoint", made.endpoint.startswith("svc-"), True)
    equal("the list of workspaces", [w.id for w in group.workspaces], [made.id])
    made.suspend(wait_on_suspended=True, **PATIENCE)
    equal("suspended", made.state.upper(), "SUSPENDED")
    made.resume(wait_on_resumed=True, **PATIENCE)
    equal("resumed", made.state.upper(), "ACTIVE")
    made.update(size="S-1")
    until("the state of a workspace", lambda: made.refresh().state.upper(), "ACTIVE")
    equal("size", made.size, "S-1")
    refused("the end of a group with workspaces", group.terminate, 400)
    second = group.create_workspace("two")
    until("the state of the second workspace", lambda: second.refresh().state.upper(), "ACTIVE")
    second.terminate(wait_on_terminated=True, **PATIENCE)
    equal("the workspaces that are left", [w.name for w in group.workspaces], ["one"])


def end_of_a_group(manager, group):
    group.terminate(force=True, wait_on_terminated=True, **PATIENCE)
    equal("it is over", (group.state, group.terminated_at is not None), ("TERMINATED", True))
    equal("groups at last", list(manager.workspace_groups), [])


def refusals(manager, address):
    region = ireland_of(manager)
    refused("a group that never was", lambda: manager.get_workspace_group(NOBODY), 404)
    # The vendor's own tests look for that word.
    refused("an id that is none", lambda: manager.get_workspace_group("bad id"), 400, "UUID")
    refused("a workspace id that is none", lambda: manager.get_workspace("bad id"), 400, "UUID")
    refused("a region that never was", lambda: manager.create_workspace_group("x", NOBODY, []), 400)
    refused("no name", lambda: manager.create_workspace_group("", region, []), 400)
    refused("an API key of nobody", lambda: manager_of(address, "nobody").workspace_groups, 401, "Unauthorized")


def refusal_for_want_of_a_lock(manager, sandbox):
    """The client knows by the words of the answer that nothing was made, and tries again."""
    words = "error creating workspace group (lock): could not acquire lock within duration [0]"
    rule = {"match": {"operation": "singlestore:CreateWorkspaceGroup", "nth": 1}}
    rule["fault"] = {"error": {"status": 500, "code": "500", "message": words}}
    ask(f"{sandbox.control}/faults", rule)
    made = manager.create_workspace_group("lock", ireland_of(manager), [])
    equal("groups after a second try", [g.id for g in manager.workspace_groups], [made.id])
    made.terminate(wait_on_terminated=True, **PATIENCE)


def usable_key(sandbox):
    """A key of the sandbox that the portal's suggested policy is put into; the client makes no keys."""
    session = boto3.session.Session(aws_access_key_id="AKIASANDBOX", aws_secret_access_key="sandbox")
    kms = session.client("kms", region_name="eu-west-1", endpoint_url=sandbox.aws)
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    form = {"suggested_policy": {"org": ORGANIZATION, "region": "eu-west-1"}}
    suggested = ask(f"{sandbox.control}/singlestore/portal", form)["key"]["Statement"]
    root = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "kms:*", "Resource": "*"}
    kms.put_key_policy(KeyId=arn, Policy=policy(root, *suggested))
    return arn


def what_the_portal_shows(sandbox, group, key):
    look = {"security_tab": {"org": ORGANIZATION, "group": group.id}}
    shown = ask(f"{sandbox.control}/singlestore/portal", look)
    equal("the portal's Security tab", (shown["data"], shown["backup"]), ({"cmek": "ENABLED", "keyArn": key},) * 2)


def check(sandbox, address):
    """Everything, through an address that leads to the sandbox; what the contract table can't hold goes past it."""
    os.environ["SINGLESTOREDB_MANAGEMENT_LOCK_RETRY_INTERVAL"] = "0.1"
    manager, key = manager_of(address), usable_key(sandbox)
    refusals(manager, address)
    group = life_of_a_group(manager, key)
    what_the_portal_shows(sandbox, group, key)
    life_of_a_workspace(group)
    end_of_a_group(manager, group)
    refusal_for_want_of_a_lock(manager_of(sandbox.singlestore), sandbox)

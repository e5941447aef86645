"""The vendor's own Python client, astrapy, against the sandbox: it creates, finds, lists and drops a database.

Only its documented classes are used. The address is set as its documentation says, with `DevOpsAPIURLOptions`:
https://docs.datastax.com/en/astra-api-docs/_attachments/python-client/astrapy/api_options.html
"""

import contextlib
from datetime import datetime, timedelta, timezone

from astrapy import DataAPIClient
from astrapy.admin import AstraDBDatabaseAdmin
from astrapy.api_options import APIOptions, DevOpsAPIURLOptions
from astrapy.exceptions import DevOpsAPIException
from astrapy.info import DatabaseDefinition

from clouds import ask

ORGANIZATION = "5a9db0c5-0000-4000-8000-000000000001"
TOKEN = "AstraCS:sandbox:token"
REGION = "eu-west-1"


def admin_of(address, token=TOKEN):
    urls = DevOpsAPIURLOptions(dev_ops_url=address, dev_ops_api_version="v2")
    return DataAPIClient(token, api_options=APIOptions(dev_ops_api_url_options=urls)).get_admin()


def equal(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"astrapy, {what}: {found!r} instead of {wanted!r}")


def refused(what, call):
    """The error of a call that has to be refused."""
    with contextlib.suppress(DevOpsAPIException):
        call()
        raise AssertionError(f"astrapy, {what}: it was not refused")


def regions(admin, sandbox):
    """What the organization may use; a region that is reserved shows up only when all are asked for."""
    ask(f"{sandbox.control}/world", {"set_locked": {"org": ORGANIZATION, "region": "us-west-2", "locked": True}})
    usable = {region.name for region in admin.find_available_regions()}
    everything = {region.name: region for region in admin.find_available_regions(only_org_enabled_regions=False)}
    equal("a region to use", REGION in usable, True)
    equal("a reserved region among those to use", "us-west-2" in usable, False)
    equal("a reserved region among all", everything["us-west-2"].reserved_for_qualified_users, True)
    equal("the provider of a region", everything[REGION].cloud_provider, "AWS")


def life_of_a_database(admin):
    """From nothing to active, found by id and in the list, and gone. The client waits 15 s before each look."""
    equal("databases at first", admin.list_databases(), [])
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    made = admin.create_database("witness", cloud_provider="AWS", region=REGION, keyspace="ks", wait_until_active=True)
    equal("what a creation yields", isinstance(made, AstraDBDatabaseAdmin), True)
    found = admin.database_info(made.id)
    equal("id", found.id, made.id)
    equal("name", found.name, "witness")
    equal("status", str(getattr(found.status, "value", found.status)), "ACTIVE")
    equal("provider", found.cloud_provider, "AWS")
    equal("organization", found.org_id, ORGANIZATION)
    equal("regions", [region.name for region in found.regions], [REGION])
    equal("it is dated now", before < found.created_at < before + timedelta(minutes=5), True)
    equal("keyspace", found.raw["info"]["keyspace"], "ks")
    equal("type and tier", (found.raw["info"]["dbType"], found.raw["info"]["tier"]), ("vector", "serverless"))
    equal("the list", [one.id for one in admin.list_databases()], [made.id])
    equal("the list of one provider", [one.id for one in admin.list_databases(provider="AWS")], [made.id])
    equal("the list of another provider", admin.list_databases(provider="GCP"), [])
    equal("info by the database's own admin", made.info().id, made.id)
    admin.drop_database(made.id, wait_until_active=True)
    equal("the list after the end", admin.list_databases(), [])
    over = admin.list_databases(include="all")
    equal("the list with what is over", [(one.id, one.status) for one in over], [(made.id, "TERMINATED")])


def pages(admin):
    """More databases than fit on a page: names are not unique, so there are three of one name."""
    made = {
        admin.create_database("same", cloud_provider="AWS", region=REGION, wait_until_active=False).id for _ in range(3)
    }
    equal("three creations", len(made), 3)
    equal("pages of two", {one.id for one in admin.list_databases(page_size=2)}, made)
    for one in made:
        admin.drop_database(one, wait_until_active=False)


def refusals(admin, address):
    create = {"cloud_provider": "AWS", "wait_until_active": False}
    refused("a region that does not exist", lambda: admin.create_database("x", region="nowhere-1", **create))
    refused("a reserved region", lambda: admin.create_database("x", region="us-west-2", **create))
    refused("a database that never was", lambda: admin.database_info("11111111-2222-4333-8444-555555555555"))
    refused(
        "the end of a database that never was",
        lambda: admin.drop_database("11111111-2222-4333-8444-555555555555", wait_until_active=False),
    )
    refused("a token of nobody", lambda: admin_of(address, "AstraCS:nobody:none").list_databases())


def beside_the_contract(admin):
    """What the table has no room for: a tier that is none, and the provider in lower case, as the client's own
    documentation writes it; the vendor's spec has it in upper case."""
    odd = DatabaseDefinition(cloud_provider="AWS", region=REGION, tier="nonsense")
    refused("a tier that is none", lambda: admin.create_database("x", definition=odd, wait_until_active=False))
    made = admin.create_database("lower", cloud_provider="aws", region=REGION, wait_until_active=False)
    equal("the provider of a database on aws", admin.database_info(made.id).cloud_provider, "AWS")
    admin.drop_database(made.id, wait_until_active=False)


def check(sandbox, address):
    """Everything, through an address that leads to the sandbox; what the contract table can't hold goes past it."""
    admin = admin_of(address)
    regions(admin, sandbox)
    refusals(admin, address)
    life_of_a_database(admin)
    pages(admin)
    beside_the_contract(admin_of(sandbox.astra))

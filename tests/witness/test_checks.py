"""The checks themselves: each refuses what it is there to refuse."""

import json
import unittest

import compare
import contract
import run
import sequence
import spec_check

ORG = "5a9db0c5-0000-4000-8000-000000000001"
ARN = "arn:aws:kms:us-east-1:111111111111:key/11111111-2222-4333-8444-555555555555"


def exchange(method="GET", path="/v2/currentOrg", status=200, answered='{"id":"%s"}' % ORG, sent="", **more):
    usual = {"bearer": True, "sent_type": "application/json" if sent else None, "headers": {}}
    one = {"method": method, "path": path, "status": status, "answered": answered, "sent": sent}
    return {**usual, **one, **more}


def created(**changes):
    body = {"name": "db", "cloudProvider": "AWS", "tier": "D10", "capacityUnits": 1, "region": "us-east-1", **changes}
    sent = json.dumps({k: v for k, v in body.items() if v is not None})
    return exchange("POST", "/v2/databases", 201, "", sent, headers={"location": ORG})


class TheContract(unittest.TestCase):
    def setUp(self):
        self.table = contract.Table()

    def test_what_keeps_to_it(self):
        key = json.dumps({"orgId": ORG, "aws": {"keyID": ARN, "region": "us-east-1"}})
        for one in [
            exchange(),
            created(),
            created(keyspace="ks"),
            exchange("POST", "/v2/kms/classic", 201, "", key),
            exchange("GET", "/v2/kms/provider/aws/region/us-east-1", answered=key),
            exchange("GET", "/v2/databases?include=nonterminated&limit=100", answered="[]"),
            exchange("GET", f"/v2/databases/{ORG}", 404, '{"errors":[{"ID":404,"message":"none"}]}'),
        ]:
            self.assertEqual(self.table.exchange(one)[1], [], one)

    def test_what_does_not(self):
        for wrong, one in [
            ("no such call", exchange(path="/v2/nothing")),
            ("no such call", exchange(method="DELETE")),
            ("no bearer token", exchange(bearer=False)),
            ("lacks id", exchange(answered="{}")),
            ("nobody knows", exchange(answered='{"id":"%s","more":1}' % ORG)),
            ("not of type uuid", exchange(answered='{"id":"me"}')),
            ("the status 418", exchange(status=418)),
            ("lacks errors", exchange(status=404, answered="{}")),
            ("a body is sent", exchange(sent="{}")),
            ("lacks name", created(name=None)),
            ("not one of", created(tier="nonsense")),
            ("not of type integer", created(capacityUnits="1")),
            ("out of bounds", created(capacityUnits=101)),
            ("nobody knows", created(key=ARN)),
            ("sent as text/plain", {**created(), "sent_type": "text/plain"}),
            ("header location", {**created(), "headers": {}}),
            ("has a body", {**created(), "answered": "{}"}),
            ("the query has more", exchange(path="/v2/databases?more=1", answered="[]")),
            ("out of bounds", exchange(path="/v2/databases?limit=101", answered="[]")),
        ]:
            problems = self.table.exchange(one)[1]
            self.assertTrue(any(wrong in p for p in problems), (wrong, one, problems))

    def test_a_run_that_is_not_whole(self):
        _, problems = contract.judge([exchange()], whole=True)
        self.assertTrue(any("did not: create a database" in p for p in problems), problems)
        end = exchange("GET", "/v2/kms", answered="[]")
        _, problems = contract.judge([end], whole=True)
        self.assertTrue(any("and did: all keys" in p for p in problems), problems)


GROUP = "7d6b3a5a-0000-4000-8000-d454af4c785b"


class SingleStoresContract(unittest.TestCase):
    def setUp(self):
        self.table = contract.Table(contract.TABLE.with_name("singlestore-contract.yaml"))

    def create(self, **changes):
        body = {"name": "g", "firewallRanges": [], "provider": "AWS", "regionName": "us-east-1", **changes}
        answered = json.dumps({"workspaceGroupID": GROUP, "adminPassword": "secret"})
        return exchange("POST", "/v1/workspaceGroups", 200, answered, json.dumps(body))

    def test_what_keeps_to_it(self):
        group = f"/v1/workspaceGroups/{GROUP}"
        for one in [
            self.create(),
            self.create(regionID=None, dataBucketKMSKeyID=None),
            self.create(dataBucketKMSKeyID=ARN, backupBucketKMSKeyID=ARN),
            exchange("POST", f"{group}/storage/DR/setup", 200, "", json.dumps({"regionID": GROUP, "databaseNames": []})),
            exchange("DELETE", f"{group}?force=true", 200, json.dumps({"workspaceGroupID": GROUP})),
            exchange("GET", group, 404, "no such group"),
            exchange("GET", group, 429, "<html>too many</html>"),
        ]:
            self.assertEqual(self.table.exchange(one)[1], [], one)

    def test_what_does_not(self):
        group = f"/v1/workspaceGroups/{GROUP}"
        key = json.dumps({"dataBucketKMSKeyID": ARN})
        for wrong, one in [
            ("says nothing", exchange("GET", group, 404, "")),
            ("the status 409", exchange("GET", group, 409, "conflict")),
            ("is not of type arn", self.create(dataBucketKMSKeyID="key")),
            ("is not of type string", self.create(name=None)),
            ("nobody knows", exchange("PATCH", group, 200, json.dumps({"workspaceGroupID": GROUP}), key)),
            ("has a body", exchange("PATCH", f"{group}/storage/DR/failover", 200, "{}")),
            ("no such call", exchange("POST", f"{group}/storage/DR/failover", 200, "")),
        ]:
            problems = self.table.exchange(one)[1]
            self.assertTrue(any(wrong in p for p in problems), (wrong, one, problems))


class AtlasContract(unittest.TestCase):
    """What only the table of Atlas has: versions, forms, maps, nulls."""

    PROJECT = "/api/atlas/v2/groups/5a9db0c500000000000000b1"
    MEDIA = "application/vnd.atlas.2025-03-12+json"

    def setUp(self):
        self.table = contract.Table(contract.TABLE.with_name("atlas-contract.yaml"))

    def read(self, answered, path="/encryptionAtRest", version="2023-01-01", **more):
        headers = {"content-type": f"application/vnd.atlas.{version}+json"}
        one = exchange("GET", self.PROJECT + path, 200, json.dumps(answered), headers=headers)
        return {**one, "accepted": self.MEDIA, **more}

    def key(self, **changes):
        aws = {"enabled": False, "valid": False, **changes}
        other = {"enabled": False, "valid": False}
        return {"awsKms": aws, "azureKeyVault": other, "googleCloudKms": other, "enabledForSearchNodes": False}

    def control_plane(self, address):
        clouds = {"aws": {"us-east-1": [address]}, "azure": {}, "gcp": {}}
        return {
            **self.read({"inbound": clouds, "outbound": clouds}, version="2023-11-15"),
            "path": "/api/atlas/v2/unauth/controlPlaneIPAddresses",
            "bearer": False,
        }

    def token(self, sent, **more):
        answered = '{"access_token":"t","expires_in":3600,"token_type":"Bearer"}'
        form = "application/x-www-form-urlencoded"
        return exchange("POST", "/api/oauth/token", 200, answered, sent, bearer=False, sent_type=form, **more)

    def test_what_keeps_to_it(self):
        for one in [
            self.read(self.key()),
            self.read(self.key(enabled=True, customerMasterKeyID=ARN, region="US_EAST_1", valid=True)),
            self.control_plane("192.0.2.0/24"),
            self.token("grant_type=client_credentials"),
        ]:
            self.assertEqual(self.table.exchange(one)[1], [], one)

    def test_what_does_not(self):
        for wrong, one in [
            ("no version is asked for", self.read(self.key(), accepted="application/json")),
            ("not of version", self.read(self.key(), version="2024-08-05")),
            ("no bearer token", self.read(self.key(), bearer=False)),
            ("not one of", self.read(self.key(region="us-east-1"))),
            ("nobody knows", self.read(self.key(colour="red"))),
            ("not of type address", self.control_plane("here")),
            ("not one of", self.token("grant_type=password")),
            ("lacks grant_type", self.token("a=b")),
            ("the form is sent as", {**self.token("grant_type=client_credentials"), "sent_type": "application/json"}),
        ]:
            problems = self.table.exchange(one)[1]
            self.assertTrue(any(wrong in p for p in problems), (wrong, one, problems))


class TheSpec(unittest.TestCase):
    """The comparison with a spec, on a small one."""

    def problems(self, call, operation, path="/x"):
        table = contract.Table()
        check = spec_check.Check({"paths": {path: {"get": operation}}}, table)
        usual = {"method": "GET", "path": "/x", "source": "spec", "errors": [], "answers": {}}
        check.call("x", {**usual, **call})
        return check.problems

    def answer(self, schema):
        return {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}

    def test_agreement_and_disagreement(self):
        ours = {"answers": {200: {"object": {"a": "integer"}}}}
        good = {"properties": {"a": {"type": "integer"}}, "type": "object"}
        self.assertEqual(self.problems(ours, self.answer(good)), [])
        for wrong, call, operation in [
            ("in the spec", ours, self.answer({"properties": {"a": {"type": "string"}}})),
            ("no such field", ours, self.answer({"properties": {}})),
            ("requires it", ours, self.answer({**good, "required": ["b"]})),
            ("no answer 200", ours, {"responses": {}}),
            ("has a body", {**ours, "body": {"object": {}}}, self.answer(good)),
            ("the query has q", {**ours, "query": {"q": "string"}}, self.answer(good)),
            ("although the table says", {**ours, "not_in_spec": {200: "why"}}, self.answer(good)),
            ("is in the spec now", {**ours, "source": "guide"}, self.answer(good)),
        ]:
            problems = self.problems(call, operation)
            self.assertTrue(any(wrong in p for p in problems), (wrong, problems))
        self.assertTrue(self.problems(ours, self.answer(good), path="/y"))

    def test_what_is_excused_has_to_be_so(self):
        answer = self.answer({"properties": {}, "type": "object"})
        body = {**answer, "requestBody": {"content": {"application/json": {"schema": {}}}}}
        enum = self.answer({"type": "string", "enum": ["a"]})
        lacking = self.answer({"properties": {}, "type": "object", "required": ["b"]})
        ours, letter = {"answers": {200: {"object": {}}}}, {"type": "string", "values": ["a", "b"]}
        newer = {**ours, "body": {"object": {}}, "body_not_in_spec": "why"}
        for call, operation in [
            (newer, answer),
            ({**ours, "query": {"q": {"type": "string", "not_in_spec": "why"}}}, answer),
            ({"answers": {200: {**letter, "not_in_spec_values": "why"}}}, enum),
            ({**ours, "left_out_of_answers": ["b"]}, lacking),
        ]:
            self.assertEqual(self.problems(call, operation), [], call)
        for wrong, call, operation in [
            ("the spec has a body, although", newer, body),
            ("the query has q", {**ours, "query": {"q": {"type": "string"}}}, answer),
            ("the value b", {"answers": {200: letter}}, enum),
            ("requires it", ours, lacking),
        ]:
            problems = self.problems(call, operation)
            self.assertTrue(any(wrong in p for p in problems), (wrong, problems))

    def test_schemas_that_are_composed(self):
        ours = {"answers": {200: {"object": {"a": "integer", "b": {"map": "string"}}}}}
        parts = [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"additionalProperties": {"type": "string"}}}},
        ]
        self.assertEqual(self.problems(ours, self.answer({"allOf": parts})), [])
        self.assertTrue(self.problems(ours, self.answer({"allOf": parts[1:]})))
        parts[1]["properties"]["b"] = {"type": "object"}
        self.assertTrue(any("names of its own" in p for p in self.problems(ours, self.answer({"allOf": parts}))))

    def test_versions(self):
        ours = {"version": "2024-08-05", "answers": {200: {"object": {"a": "integer"}}}}
        good = {"properties": {"a": {"type": "integer"}}}
        media = {"application/vnd.atlas.2024-08-05+json": {"schema": good}}
        self.assertEqual(self.problems(ours, {"responses": {"200": {"content": media}}}), [])
        older = {"application/vnd.atlas.2023-01-01+json": {"schema": good}}
        problems = self.problems(ours, {"responses": {"200": {"content": older}}})
        self.assertTrue(any("no version" in p for p in problems), problems)


class TheComparison(unittest.TestCase):
    OK = {"status": 200, "code": "ok", "answer": {}}
    NO = {"status": 400, "code": "NotFoundException", "message": "gone"}

    def found(self, *steps):
        calls = [{"call": call} for call, _, _ in steps]
        return compare.sequence("moto", calls, [a for _, a, _ in steps], [b for _, _, b in steps], "s")

    def test_codes_statuses_and_answers(self):
        equal, count = self.found(("kms.describe_key", self.OK, dict(self.OK)))
        self.assertEqual((equal, count), ([], 1))
        for a, b in [
            (self.OK, self.NO),
            (self.NO, {**self.NO, "code": "Other"}),
            (self.NO, {**self.NO, "status": 403}),
            (self.OK, {**self.OK, "answer": {"a": 1}}),
            ({**self.OK, "answer": {"a": [1]}}, {**self.OK, "answer": {"a": [1, 2]}}),
        ]:
            self.assertEqual(len(self.found(("kms.describe_key", a, b))[0]), 1, (a, b))

    def test_after_a_write_on_one_side_nothing_is_compared(self):
        rest = ("kms.describe_key", self.OK, self.NO)
        self.assertEqual(self.found(("kms.enable_key", self.NO, self.OK), rest)[1], 1)
        self.assertEqual(self.found(("kms.describe_key", self.NO, self.OK), rest)[1], 2)
        self.assertTrue(sequence.READS.search(".sts.assume_role") and not sequence.READS.search(".kms.enable_key"))

    def test_the_table_is_neither_too_short_nor_too_long(self):
        sequences = [{"name": "s", "steps": [{"call": "kms.enable_key"}]}]
        results = {"sandbox": [[self.NO]], "moto": [[self.OK]], "ministack": [[self.NO]]}

        def entry(witness):
            return compare.Entry(
                1, [witness], ["kms.enable_key"], "outcome", "NotFoundException", "ok", "gone", "sandbox", "", ""
            )

        for entries, wrong in [
            ([entry("moto")], []),
            ([], ["not listed"]),
            ([entry("moto"), entry("ministack")], ["does not occur any more with ministack"]),
            ([entry("ministack")], ["not listed", "does not occur any more with ministack"]),
        ]:
            complaints, _ = run.judge(sequences, results, entries, show=False)
            self.assertEqual(len(complaints), len(wrong), complaints)
            for text, complaint in zip(wrong, complaints):
                self.assertIn(text, complaint)

    def test_the_star_is_the_only_sign(self):
        self.assertTrue(compare.like("Aliases[].CreationDate", "Aliases[].*Date"))
        self.assertFalse(compare.like("AliasesX", "Aliases?"))


if __name__ == "__main__":
    unittest.main()

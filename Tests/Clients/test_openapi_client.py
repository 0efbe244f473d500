"""What a Python user does with the OpenAPI document alone: a generic client reads it from the manager, and each call, body and
answer below goes through what the document says. Nothing here knows a path; answers that the document does not describe fail."""

import json

import aiopenapi3
import httpx2

from clientkit.site import SiteTest


class Client:
    """Calls by the names of the document's operations."""

    def __init__(self, site):
        def session(*words, **more) -> httpx2.Client:
            return httpx2.Client(*words, verify=site.manager.context(), trust_env=False, **more)

        self.api = aiopenapi3.OpenAPI.load_sync(f"{site.endpoint}/v1/openapi.json", session_factory=session)

    def call(self, operation, body=None, **parameters):
        """The answer as an object of the document's schema; `body` is checked by the document's schema, too."""
        request = getattr(self.api._, operation)
        data = None
        if body is not None:
            content = request.operation.requestBody.content
            media = content.get("application/json") or next(iter(content.values()))
            checked = media.schema_.get_type().model_validate(body)
            # The library would send members that are not given as null.
            data = body if "application/json" in content else checked
        _, answer, _ = request.request(data=data, parameters=parameters or None)
        return answer

    def sign_in(self, **grant):
        token = self.call("post_oauth_token", grant)
        self.api.authenticate(None, bearer=token.access_token)
        return token

    def pages(self, operation, **parameters):
        items, cursor = [], {}
        while True:
            page = self.call(operation, **parameters, **cursor)
            # Each is the whole resource, or what was asked for of it: pydantic wraps such alternatives.
            items += [getattr(item, "root", item) for item in page.items]
            if page.next is None:
                return items
            cursor = {"after": page.next}


class GenericClient(SiteTest):
    def setUp(self):
        self.client = Client(self.site)
        self.client.sign_in(grant_type="password", username="admin", password=self.site.manager.admin_password)

    def refused(self, operation, body=None, **parameters):
        with self.assertRaises(aiopenapi3.errors.HTTPClientError) as refusal:
            self.client.call(operation, body, **parameters)
        # Problem documents have a media type of their own, which the library hands over as it came.
        return refusal.exception.status_code, json.loads(refusal.exception.data)

    def test_life_of_a_flavor(self):
        made = self.client.call(
            "post_v1_flavors", {"name": "generic", "vcpus": 2, "ram_mib": 512, "disk_gib": 4, "properties": {"a": "b"}})
        self.assertEqual((made.name, made.ram_mib), ("generic", 512))
        seen = self.client.call("get_v1_flavors_ref", ref="generic")
        self.assertEqual(seen.id, made.id)
        changed = self.client.call("patch_v1_flavors_ref", {"name": "renamed"}, ref=str(made.id))
        self.assertEqual(changed.name, "renamed")
        self.client.call("delete_v1_flavors_ref", ref="renamed")
        status, problem = self.refused("get_v1_flavors_ref", ref="renamed")
        self.assertEqual((status, problem["code"]), (404, "not_found"))
        self.assertIn("renamed", problem["detail"])

    def test_pages(self):
        for number in range(5):
            self.client.call("post_v1_flavors", {"name": f"page-{number}", "vcpus": 1, "ram_mib": 64, "disk_gib": 1})
        names = [flavor.name for flavor in self.client.pages("get_v1_flavors", limit=2)]
        self.assertLessEqual({f"page-{number}" for number in range(5)}, set(names))
        self.assertEqual(len(names), len(set(names)))

    def test_people(self):
        self.client.call("post_v1_accounts", {"name": "generic"})
        ann = self.client.call(
            "post_v1_users",
            {"name": "generic-ann", "account": "generic", "password": "correct horse battery", "roles": ["user"]})
        self.assertEqual((ann.account, list(ann.roles)), ("generic", ["user"]))
        group = self.client.call("post_v1_groups", {"name": "generic-group", "account": "generic"})
        self.client.call("put_v1_groups_ref_members_user", ref=str(group.id), user="generic-ann")
        self.assertEqual(list(self.client.call("get_v1_groups_ref", ref=str(group.id)).members), ["generic-ann"])
        hers = Client(self.site)
        hers.sign_in(grant_type="password", username="generic-ann", password="correct horse battery")
        self.assertEqual(hers.call("get_v1_users_me").name, "generic-ann")
        self.assertEqual([user.name for user in hers.pages("get_v1_users")], ["generic-ann"])

    def test_program(self):
        """A program with an API key of few scopes: what these do not cover is refused."""
        key = self.client.call("post_v1_api_keys", {"name": "generic", "scopes": ["flavors:read"]})
        program = Client(self.site)
        program.sign_in(grant_type="client_credentials", client_id=str(key.id), client_secret=key.secret)
        program.pages("get_v1_flavors")
        self.client = program
        status, problem = self.refused("get_v1_users")
        self.assertEqual(status, 403, problem)

    def test_refusals_name_the_member(self):
        with self.assertRaises(ValueError):
            # The document's own schema refuses it before anything is sent.
            self.client.call("post_v1_flavors", {"name": "x", "vcpus": "many", "ram_mib": 64, "disk_gib": 1})
        status, problem = self.refused("post_v1_instances", {"name": "x", "flavor": "none-such", "image": "none-such"})
        self.assertEqual((status, problem["code"]), (404, "not_found"))

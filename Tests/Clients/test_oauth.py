"""Every grant by clients that know nothing of Roost: authlib and requests-oauthlib, as they come from PyPI."""

import re
import threading
import time
import unittest
from urllib.parse import parse_qs, urlsplit

import oauthlib.oauth2
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.integrations.requests_client import OAuthError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from requests_oauthlib import OAuth2Session as OauthlibSession

from clientkit.site import Site, SiteTest, wait

PASSWORD = "correct horse battery"
REDIRECT = "http://127.0.0.1:9/callback"


def trusting(session, site):
    """Trusts the site's authority, whatever the caller's environment says."""
    session.verify, session.trust_env = str(site.authority), False
    return session


def form_fields(page):
    """The hidden fields of a page, as a browser would send them."""
    unescape = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
    fields = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page):
        fields[name] = re.sub("|".join(unescape), lambda found: unescape[found.group()], value)
    return fields


class Grants(SiteTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.site.add_user("ann", PASSWORD)
        cls.url = cls.site.endpoint
        cls.token_url = cls.url + "/oauth/token"

    def session(self, **more):
        session = AuthlibSession(
            "roost", token_endpoint_auth_method="none", revocation_endpoint_auth_method="none", **more)
        trusting(session, self.site)
        return session

    def me(self, session):
        answer = session.get(self.url + "/v1/users/me")
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()["name"]

    def browser(self):
        browser = requests.Session()
        trusting(browser, self.site)
        browser.headers["Sec-Fetch-Site"] = "same-origin"
        return browser

    def test_discovery(self):
        document = self.browser().get(self.url + "/.well-known/oauth-authorization-server").json()
        self.assertEqual(document["issuer"], self.url)
        AuthorizationServerMetadata(document).validate()
        resource = self.browser().get(self.url + "/.well-known/oauth-protected-resource").json()
        self.assertEqual((resource["resource"], resource["authorization_servers"]), (self.url, [self.url]))
        challenge = self.browser().get(self.url + "/v1/users/me").headers["WWW-Authenticate"]
        self.assertIn(f'resource_metadata="{self.url}/.well-known/oauth-protected-resource"', challenge)

    def test_password(self):
        with self.session() as session:
            session.fetch_token(self.token_url, username="ann", password=PASSWORD)
            self.assertEqual(self.me(session), "ann")

    def test_password_by_requests_oauthlib(self):
        session = OauthlibSession(client=oauthlib.oauth2.LegacyApplicationClient("roost"))
        trusting(session, self.site)
        session.fetch_token(self.token_url, username="ann", password=PASSWORD, include_client_id=True)
        self.assertEqual(self.me(session), "ann")
        session.refresh_token(self.token_url, client_id="roost")
        self.assertEqual(self.me(session), "ann")

    def test_wrong_password(self):
        with self.session() as session, self.assertRaises(OAuthError) as caught:
            session.fetch_token(self.token_url, username="ann", password="wrong")
        self.assertEqual(caught.exception.error, "invalid_grant")

    def test_refresh_and_reuse(self):
        with self.session() as session:
            first = dict(session.fetch_token(self.token_url, username="ann", password=PASSWORD))
            second = dict(session.refresh_token(self.token_url))
            self.assertNotEqual(first["refresh_token"], second["refresh_token"])
            self.assertEqual(self.me(session), "ann")
            # Somebody who took a copy comes with it: the session ends for both.
            with self.assertRaises(OAuthError) as caught:
                session.refresh_token(self.token_url, refresh_token=first["refresh_token"])
            self.assertEqual(caught.exception.error, "invalid_grant")
            with self.assertRaises(OAuthError):
                session.refresh_token(self.token_url, refresh_token=second["refresh_token"])
            self.assertEqual(session.get(self.url + "/v1/users/me").status_code, 401)

    def test_client_credentials(self):
        owner = self.site.sign_in("ann", PASSWORD)
        key = self.site.call("POST", "/v1/api-keys", {"name": "robot", "scopes": ["users:read"]}, expect=201, token=owner)
        for method in ("client_secret_basic", "client_secret_post"):
            with self.subTest(method), AuthlibSession(
                    key["id"], key["secret"], token_endpoint_auth_method=method) as session:
                trusting(session, self.site)
                token = session.fetch_token(self.token_url, grant_type="client_credentials")
                self.assertNotIn("refresh_token", token)
                self.assertEqual(token["scope"], "users:read")
                self.assertEqual(self.me(session), "ann")
                self.assertEqual(session.get(self.url + "/v1/instances").status_code, 403)
        session = OauthlibSession(client=oauthlib.oauth2.BackendApplicationClient(key["id"]))
        trusting(session, self.site)
        session.fetch_token(self.token_url, client_id=key["id"], client_secret=key["secret"])
        self.assertEqual(self.me(session), "ann")
        with AuthlibSession(key["id"], "rks_" + "0" * 64) as wrong, self.assertRaises(OAuthError) as caught:
            trusting(wrong, self.site)
            wrong.fetch_token(self.token_url, grant_type="client_credentials")
        self.assertEqual(caught.exception.error, "invalid_client")
        self.site.call("DELETE", "/v1/api-keys/robot", expect=204, token=owner)
        self.assertEqual(session.get(self.url + "/v1/users/me").status_code, 401)

    def authorize(self, session, verifier, password=PASSWORD, **more):
        """As a browser does it: the page, then its form; returns where it leads."""
        address, state = session.create_authorization_url(
            self.url + "/oauth/authorize", code_verifier=verifier, **more)
        page = self.browser().get(address)
        self.assertEqual(page.status_code, 200, page.text)
        answer = self.browser().post(
            self.url + "/oauth/authorize", allow_redirects=False,
            data={**form_fields(page.text), "username": "ann", "password": password, "action": "allow"})
        self.assertEqual(answer.status_code, 303, answer.text)
        location = answer.headers["Location"]
        query = parse_qs(urlsplit(location).query)
        self.assertEqual((query["state"], query["iss"]), ([state], [self.url]))
        return location

    def test_authorization_code(self):
        with self.session(redirect_uri=REDIRECT, code_challenge_method="S256") as session:
            verifier = generate_token(48)
            location = self.authorize(session, verifier)
            session.fetch_token(self.token_url, authorization_response=location, code_verifier=verifier)
            self.assertEqual(self.me(session), "ann")
            session.refresh_token(self.token_url)
            self.assertEqual(self.me(session), "ann")
            # The code again: what it opened ends.
            with self.assertRaises(OAuthError) as caught:
                self.session(redirect_uri=REDIRECT).fetch_token(
                    self.token_url, authorization_response=location, code_verifier=verifier)
            self.assertEqual(caught.exception.error, "invalid_grant")
            self.assertEqual(session.get(self.url + "/v1/users/me").status_code, 401)

    def test_authorization_code_by_requests_oauthlib(self):
        session = OauthlibSession("roost", redirect_uri=REDIRECT, pkce="S256")
        trusting(session, self.site)
        address, _ = session.authorization_url(self.url + "/oauth/authorize")
        page = self.browser().get(address)
        answer = self.browser().post(
            self.url + "/oauth/authorize", allow_redirects=False,
            data={**form_fields(page.text), "username": "ann", "password": PASSWORD, "action": "allow"})
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        session.fetch_token(self.token_url, code=code, include_client_id=True)
        self.assertEqual(self.me(session), "ann")

    def test_code_needs_its_verifier(self):
        with self.session(redirect_uri=REDIRECT, code_challenge_method="S256") as session:
            for verifier in (generate_token(48), None):
                location = self.authorize(session, generate_token(48))
                with self.assertRaises(OAuthError) as caught:
                    session.fetch_token(self.token_url, authorization_response=location, code_verifier=verifier)
                self.assertIn(caught.exception.error, ("invalid_grant", "invalid_request"))

    def test_no_pkce_no_code(self):
        with self.session(redirect_uri=REDIRECT) as session:
            address, _ = session.create_authorization_url(self.url + "/oauth/authorize")
            answer = self.browser().get(address, allow_redirects=False)
            self.assertEqual(answer.status_code, 303)
            self.assertEqual(parse_qs(urlsplit(answer.headers["Location"]).query)["error"], ["invalid_request"])

    def test_device(self):
        browser = self.browser()
        client = oauthlib.oauth2.DeviceClient("roost")
        answer = browser.post(self.url + "/oauth/device_authorization", data={"client_id": "roost", "scope": "users:read"})
        self.assertEqual(answer.status_code, 200, answer.text)
        device = answer.json()
        self.assertEqual(device["verification_uri"], self.url + "/oauth/device")

        def poll():
            body = client.prepare_request_body(device["device_code"], include_client_id=True)
            return browser.post(self.token_url, data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})

        self.assertEqual(poll().json()["error"], "authorization_pending")
        self.assertEqual(poll().json()["error"], "slow_down")
        page = browser.get(device["verification_uri_complete"])
        self.assertIn(device["user_code"], page.text)
        answer = browser.post(
            self.url + "/oauth/device",
            data={**form_fields(page.text), "username": "ann", "password": PASSWORD, "action": "allow"})
        self.assertEqual(answer.status_code, 200, answer.text)
        token = client.parse_request_body_response(poll().text)
        session = OauthlibSession("roost", token=token)
        trusting(session, self.site)
        self.assertEqual(self.me(session), "ann")

    def test_introspect_and_revoke(self):
        key = self.site.call("POST", "/v1/api-keys", {"name": "checker"}, expect=201)
        with AuthlibSession(key["id"], key["secret"]) as checker, self.session() as session:
            trusting(checker, self.site)
            token = session.fetch_token(self.token_url, username="ann", password=PASSWORD)
            for word in ("access_token", "refresh_token"):
                worth = checker.introspect_token(self.url + "/oauth/introspect", token=token[word]).json()
                self.assertEqual((worth["active"], worth["username"]), (True, "ann"))
            answer = session.revoke_token(self.url + "/oauth/revoke", token=token["access_token"])
            self.assertEqual(answer.status_code, 200)
            self.assertEqual(session.get(self.url + "/v1/users/me").status_code, 401)
            session.refresh_token(self.token_url)
            self.assertEqual(self.me(session), "ann")
            session.revoke_token(self.url + "/oauth/revoke", token=session.token["refresh_token"])
            self.assertEqual(session.get(self.url + "/v1/users/me").status_code, 401)
        self.site.call("DELETE", "/v1/api-keys/checker", expect=204)


class TwoManagers(unittest.TestCase):
    """What one manager does with tokens, the other knows."""

    @classmethod
    def setUpClass(cls):
        cls.site = Site(managers=2)
        cls.site.__enter__()
        cls.site.add_user("ann", PASSWORD)
        cls.one, cls.two = cls.site.managers

    @classmethod
    def tearDownClass(cls):
        cls.site.__exit__(None, None, None)

    def status(self, manager, token):
        return manager.request("GET", "/v1/users/me", token=token)[0]

    def test_revoked_on_one_is_refused_by_the_other(self):
        for word in ("access_token", "refresh_token"):
            _, token = self.one.request(
                "POST", "/oauth/token", {"grant_type": "password", "username": "ann", "password": PASSWORD},
                "application/x-www-form-urlencoded")
            access = token["access_token"]
            # Both know it well.
            for manager in (self.one, self.two, self.two):
                self.assertEqual(self.status(manager, access), 200)
            self.assertEqual(
                self.one.request("POST", "/oauth/revoke", {"token": token[word]}, "application/x-www-form-urlencoded")[0], 200)
            began = time.monotonic()
            self.assertEqual(self.status(self.one, access), 401)
            wait("the other refuses it", lambda: self.status(self.two, access) == 401, 5)
            print(f"    {word}: refused by the other after {time.monotonic() - began:.2f} s")

    def test_disabled_on_one_is_refused_by_the_other(self):
        token = self.site.add_user("bob", PASSWORD)
        self.assertEqual(self.status(self.two, token), 200)
        self.one.call("PATCH", "/v1/users/bob", {"enabled": False})
        wait("the other refuses it", lambda: self.status(self.two, token) == 401, 5)

    def test_key_rotation_under_load(self):
        """Requests and new tokens at both managers, from before a rotation until the new key signs: none fails."""
        key = self.one.call("POST", "/v1/api-keys", {"name": "load", "scopes": ["users:read"]}, expect=201)
        counts, failures, ended = [0, 0], [], threading.Event()
        seen = set()

        def load(number, manager):
            while not ended.is_set():
                status, token = manager.request(
                    "POST", "/oauth/token",
                    {"grant_type": "client_credentials", "client_id": key["id"], "client_secret": key["secret"]},
                    "application/x-www-form-urlencoded")
                if status != 200:
                    failures.append(("token", status, token))
                    continue
                seen.add(token["access_token"].split(".")[0])
                for other in (self.one, self.two):
                    status, answer = other.request("GET", "/v1/users/me", token=token["access_token"])
                    if status != 200:
                        failures.append(("request", status, answer))
                    counts[number] += 1
                time.sleep(0.05)

        threads = [threading.Thread(target=load, args=each) for each in enumerate((self.one, self.two))]
        for thread in threads:
            thread.start()
        try:
            old = wait("tokens come", lambda: len(seen) == 1 and set(seen), 20)
            rotated = self.one.call("POST", "/v1/signing-keys/rotate", {}, expect=201)
            published = self.two.request("GET", "/oauth/jwks")[1]["keys"]
            wait("the other publishes it", lambda: rotated["id"] in [
                each["kid"] for each in self.two.request("GET", "/oauth/jwks")[1]["keys"]], 5)
            self.assertGreaterEqual(len(published), 1)
            wait("the new key signs", lambda: seen - old, 150, pause=0.5)
            time.sleep(3)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        print(f"    {sum(counts)} requests, none failed")

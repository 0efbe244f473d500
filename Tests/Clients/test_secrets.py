"""Secrets are planted in every operation of the API, and then searched for in everything that the manager says (SEC-14).

What is sent is made from the served OpenAPI document, so that a new operation and a new secret field are covered at once: each body
with a secret in the field that is meant for it, in one that is not, in a field that nobody knows, in JSON that is broken, under a
type that is not read; secrets as tokens, in query and path. Read afterwards: the log at its loudest, every answer, the events, all
lists, the metrics, the process table, and the files, in which only a hash of most may be.
"""

import base64
import http.client
import json
import re
import secrets
import ssl
import urllib.parse
from pathlib import Path

from clientkit.site import FORM, SiteTest

# Fields that hold a secret, beside those of format `password`.
SECRET_NAMES = re.compile(
    r"^(password|.*_password|secret|.*_secret|token|.*_token|code|code_verifier|device_code|assertion|private_key|user_data)$")
# Answers whose purpose is to hand out a new secret: each may tell its own, and no other.
HANDING_OUT = ("access_token", "refresh_token", "token", "secret", "client_secret", "private_key", "device_code", "user_code")
STREAM_LIMIT = 4 << 20
PREFIX = "Canary"


class Canaries:
    """What was planted, and where it may be seen."""

    def __init__(self):
        # By value: what it is, the answers that may tell it (by number), and whether the files may hold it.
        self.known = {}

    def new(self, what, kept=False):
        value = f"{PREFIX}{secrets.token_hex(9)}"
        self.add(value, what, kept=kept)
        return value

    def add(self, value, what, answers=(), kept=False):
        if len(value) < 12:
            raise AssertionError(f"{what} is too short to be searched for")
        self.known.setdefault(value, (what, set(), kept))[1].update(answers)

    @staticmethod
    def forms(value):
        """As it may be written: itself, and in base64 at each offset, without the ends that depend on what is beside it."""
        content = value.encode()
        yield content
        for offset in range(3):
            text = base64.b64encode(b"\0" * offset + content)
            start, end = (0, 2, 3)[offset], len(text) - (4 if (offset + len(content)) % 3 else 0)
            yield text[start + (2 if offset else 0):end]

    def found(self, text, answer=None, in_files=False):
        """What of it the text tells and should not."""
        # Most texts hold nothing that was made here, and need not be searched for each.
        holds_any = any(form in text for form in self.forms(PREFIX))
        for value, (what, answers, kept) in self.known.items():
            if value.startswith(PREFIX) and not holds_any:
                continue
            if answer is not None and answer in answers or in_files and kept:
                continue
            if any(form in text for form in self.forms(value)):
                yield what


class Document:
    """The API's description, and bodies made from it."""

    def __init__(self, document):
        self.document = document

    def operations(self):
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                if method in ("get", "post", "put", "patch", "delete") and "501" not in operation["responses"]:
                    yield method.upper(), path, operation

    def resolved(self, schema):
        if "$ref" in schema:
            return self.resolved(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.resolved(schema[several][0])
        return schema

    def body(self, operation):
        """The type and the schema of the body; `None` where it takes none."""
        content = operation.get("requestBody", {}).get("content", {})
        for kind, entry in content.items():
            return kind, self.resolved(entry.get("schema", {}))
        return None, {}

    def value(self, name, schema, plant):
        """A value that is accepted, with `plant(name)` for a secret."""
        schema = self.resolved(schema)
        if schema.get("format") == "password" or (schema.get("type") == "string" and SECRET_NAMES.match(name)):
            text = plant(name)
            return base64.b64encode(f"#cloud-config\n# {text}".encode()).decode() if name == "user_data" else text
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return {key: self.value(key, part, plant) for key, part in schema.get("properties", {}).items()}
        if kind == "array":
            return [self.value(name, schema.get("items", {}), plant)]
        if kind in ("integer", "number"):
            return max(schema.get("minimum", 1), 1)
        if kind == "boolean":
            return False
        formats = {"email": "a@b.example", "uuid": "00000000-0000-7000-8000-000000000000", "date": "2026-11-29",
                   "date-time": "2026-11-29T00:00:00Z"}
        return formats.get(schema.get("format"), "planted")


class Secrets(SiteTest):
    settings = {"images": {"allowed_hosts": ["images.invalid"]}}

    def send(self, method, path, body=None, kind="application/json", token=None, headers=()):
        """One request; keeps its answer, whatever it is, and returns its number, status and decoded body."""
        manager = self.site.manager
        connection = http.client.HTTPSConnection("127.0.0.1", manager.api, context=self.context, timeout=20)
        fields = {**({"Content-Type": kind} if body is not None else {}), **dict(headers)}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            content = response.read(STREAM_LIMIT)
        finally:
            connection.close()
        number = len(self.answers)
        self.answers.append((f"{method} {path[:60]} ({response.status})", str(response.headers).encode() + content))
        self.assertNotEqual(response.status, 500, f"{method} {path}: {content[:300]}")
        try:
            return number, response.status, json.loads(content or b"null")
        except ValueError:
            return number, response.status, None

    def keep_handed_out(self, number, answer, what):
        """New secrets in an answer: from now on nobody but it may tell them."""
        for name, value in (answer or {}).items() if isinstance(answer, dict) else ():
            if name in HANDING_OUT and isinstance(value, str) and len(value) >= 12:
                # Of a key in several lines one is enough to know it by.
                lines = [line for line in value.splitlines() if not line.startswith("-----")]
                self.canaries.add(lines[0], f"{name} of {what}", answers={number})

    def sign_in(self, name, password):
        number, status, answer = self.send(
            "POST", "/oauth/token",
            urllib.parse.urlencode({"grant_type": "password", "username": name, "password": password}), FORM)
        self.assertEqual(status, 200, answer)
        self.keep_handed_out(number, answer, f"{name}'s sign-in")
        return answer

    def setUp(self):
        self.answers, self.canaries, self.planted = [], Canaries(), set()
        self.context = ssl.create_default_context(cafile=str(self.site.authority))

    def test_secrets(self):
        """SEC-14: no secret is in any log, answer, event, list, metric or process table, nor in a file that needs a hash alone."""
        manager = self.site.manager
        self.canaries.add(manager.admin_password, "the administrator's password")
        self.files_of_the_site()
        admin = self.sign_in("admin", manager.admin_password)
        document = Document(self.send("GET", "/v1/openapi.json")[2])
        plain = self.a_user(admin["access_token"])
        self.handed_out(admin["access_token"], document)
        # A thing that tells everything of itself shows that the search finds what is there.
        control = f"Control{secrets.token_hex(9)}"
        made = self.send("POST", "/v1/flavors", json.dumps({
            "name": control, "vcpus": 1, "ram_mib": 16, "disk_gib": 1}), token=admin["access_token"])
        self.assertEqual(made[1], 201, made)

        everyone = [("a superuser", admin["access_token"]), ("a user", plain["access_token"]), ("nobody", None)]
        for method, path, operation in document.operations():
            for who, token in everyone:
                self.plant(document, method, path, operation, who, token)
        self.plant_tokens(admin, document)
        self.read_everything(admin["access_token"], document)
        self.search(control)

    # Planting

    def files_of_the_site(self):
        for file in sorted(self.site.manager.data.iterdir()):
            if file.is_file() and re.search(r"key|secret", file.name):
                content = file.read_text(errors="replace")
                if "-----BEGIN" in content and "PRIVATE KEY" not in content:
                    continue
                lines = [line for line in content.splitlines() if len(line) >= 12 and not line.startswith("-----")]
                if lines:
                    self.canaries.add(lines[0], f"the file {file.name}", kept=True)

    def a_user(self, token):
        """Somebody whose password was changed once, so that both have been used."""
        first, second = self.canaries.new("a user's first password"), self.canaries.new("a user's password")
        status = self.send("POST", "/v1/users", json.dumps({"name": "plain", "password": first}), token=token)[1]
        self.assertEqual(status, 201)
        status = self.send("PATCH", "/v1/users/plain", json.dumps({"password": second}), token=token)[1]
        self.assertEqual(status, 200)
        return self.sign_in("plain", second)

    def handed_out(self, token, document):
        """Everything that is shown once."""
        paths = {(method, path) for method, path, _ in document.operations()}
        for path, body in [
            ("/v1/nodes/tokens", {}), ("/v1/api-keys", {"name": "planted", "scopes": ["*"]}), ("/v1/keypairs", {"name": "planted"}),
        ]:
            if ("POST", path) not in paths:
                continue
            number, status, answer = self.send("POST", path, json.dumps(body), token=token, headers=[("Idempotency-Key", path[4:])])
            self.keep_handed_out(number, answer, f"POST {path}")
            # The same again: the answer was kept, and the secret not with it.
            self.send("POST", path, json.dumps(body), token=token, headers=[("Idempotency-Key", path[4:])])

    def plant(self, document, method, path, operation, who, token):
        what = f"{method} {path} by {who}"

        def new(name):
            self.planted.add(name)
            # What a guest is told, the record has to keep.
            return self.canaries.new(f"{name} in {what}", kept=name == "user_data")

        def named(name):
            """A name, which whoever asked for it by that name may be told, and nobody else."""
            value = new(name)
            self.canaries.add(value, "", answers={len(self.answers)})
            return value

        # Nothing that is there is removed, and nobody's password changed but that of somebody who does not exist.
        place = re.sub(r"\{[^}]*\}", "absent", path)
        kind, schema = document.body(operation)
        queries = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
        for query in queries:
            self.send(method, f"{place}?{query}={named('query')}", token=token, **self.some_body(document, kind, schema))
        self.send(method, f"{place}?access_token={new('token')}", token=token, **self.some_body(document, kind, schema))
        self.send(method, f"{place}/{named('path')}", token=token)
        for header in (f"Bearer {new('bearer')}", f"Basic {self.basic('plain', new('basic'))}", new("authorization")):
            self.send(method, place, headers=[("Authorization", header)], **self.some_body(document, kind, schema))
        self.send(method, place, token=token, headers=[("Cookie", f"session={new('cookie')}"), ("X-API-Key", new("header"))],
                  **self.some_body(document, kind, schema))
        if kind is None:
            return
        if kind == "application/octet-stream":
            self.send(method, place, new("content").encode(), kind, token)
            return
        for body in self.bodies(document, kind, schema, new, named):
            status = self.send(method, place, body, kind, token)
            self.keep_handed_out(status[0], status[2], what)
        self.send(method, place, self.some_body(document, kind, schema)["body"], f"text/{new('type')}", token)

    @staticmethod
    def basic(name, password):
        return base64.b64encode(f"{name}:{password}".encode()).decode()

    def some_body(self, document, kind, schema):
        if kind is None or kind == "application/octet-stream":
            return {}
        content = document.value("", schema, lambda name: self.canaries.new(f"{name} beside others", kept=name == "user_data"))
        return {"body": urllib.parse.urlencode(content) if kind == FORM else json.dumps(content), "kind": kind}

    def bodies(self, document, kind, schema, new, named):
        """A good one, and such as go wrong in each way that a program words an error for."""
        good = document.value("", schema, new)
        if kind == FORM:
            yield urllib.parse.urlencode(good)
            for grant in ("password", "refresh_token", "client_credentials", "authorization_code",
                          "urn:ietf:params:oauth:grant-type:device_code", new("grant")):
                yield urllib.parse.urlencode({**document.value("", schema, new), "grant_type": grant})
            yield urllib.parse.urlencode({named("field"): new("value")})
            return
        yield json.dumps(good)
        for name, part in schema.get("properties", {}).items():
            if isinstance(good, dict) and isinstance(document.value(name, part, new), str):
                yield json.dumps({**good, name: [new(f"{name} in a list")]})
                yield json.dumps({**good, name: new(f"{name} with NUL") + "\0"})
            if name == "url":
                yield json.dumps({**good, "url": f"https://images.invalid/disk?signature={self.signature(new)}"})
                yield json.dumps({**good, "url": f"https://user:{new('url')}@images.invalid/disk"})
        yield json.dumps({**(good if isinstance(good, dict) else {}), "unknown": new("unknown")})
        yield json.dumps(good)[:-1] + f', "broken": "{new("broken")}'
        yield f'"{new("text")}"'
        yield "[" * 200 + f'"{new("deep")}"'

    def signature(self, new):
        """The address is kept for as long as the file is fetched."""
        value = new("signature")
        what, answers, _ = self.canaries.known[value]
        self.canaries.known[value] = (what, answers, True)
        return value

    def plant_tokens(self, admin, document):
        """Real tokens where they do not belong, and such as have ended."""
        access, refresh = admin["access_token"], admin.get("refresh_token")
        for path in (f"/v1/users?access_token={access}", f"/nothing/{access}", f"/v1/users/{access}"):
            self.send("GET", path)
        self.send("GET", "/v1/users/me", headers=[("Authorization", f"Bearer {access}x")])
        if refresh:
            body = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": refresh})
            number, _, answer = self.send("POST", "/oauth/token", body, FORM)
            self.keep_handed_out(number, answer, "a refresh")
            # Used already, which log and events tell.
            self.send("POST", "/oauth/token", body, FORM)
            self.send("POST", "/oauth/revoke", urllib.parse.urlencode({"token": refresh}), FORM)

    # Reading

    def read_everything(self, token, document):
        # The refresh token's family has ended by now, and with it, perhaps, the access token.
        token = self.sign_in("admin", self.site.manager.admin_password)["access_token"]
        for method, path, _ in document.operations():
            if method != "GET" or "{" in path:
                continue
            after = ""
            while True:
                _, status, answer = self.send("GET", f"{path}{after}", token=token)
                items = answer.get("items", []) if isinstance(answer, dict) else []
                for item in items[:50]:
                    if isinstance(item, dict) and ("GET", f"{path}/{{ref}}") in {(m, p) for m, p, _ in document.operations()}:
                        self.send("GET", f"{path}/{item.get('id', 'absent')}", token=token)
                cursor = answer.get("next") if isinstance(answer, dict) else None
                if not cursor:
                    break
                after = f"?after={urllib.parse.quote(cursor)}"
        self.assertTrue(any(what.startswith("GET /v1/events") for what, _ in self.answers))

    def search(self, control):
        manager = self.site.manager
        process = Path(f"/proc/{manager.pid}")
        table = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        self.site.manager.stop()
        log = manager.log.read_bytes()
        files = [(str(file.relative_to(manager.data)), file.read_bytes())
                 for file in sorted(manager.data.rglob("*")) if file.is_file() and not re.search(r"key|secret|password", file.name)]
        self.assertIn(b"message=request", log, "the log is this run's")
        self.assertTrue(any(control.encode() in content for name, content in files if "sqlite" in name), "the record is read")
        self.assertTrue(any(control.encode() in text for what, text in self.answers if "/v1/events" in what), "events are read")
        told = [f"{where} tells {what}" for number, (where, text) in enumerate(self.answers)
                for what in self.canaries.found(text, answer=number)]
        told += [f"{where} tells {what}" for where, text in (("the log", log), ("the process table", table))
                 for what in self.canaries.found(text)]
        told += [f"the file {name} keeps {what}" for name, content in files
                 for what in self.canaries.found(content, in_files=True)]
        print(f"  {len(self.canaries.known)} secrets in {len(self.planted)} kinds of place, {len(self.answers)} answers,"
              f" {len(log)} bytes of log")
        self.assertGreater(len(self.canaries.known), 500)
        for name in ("password", "current_password", "refresh_token", "user_data", "broken", "bearer", "unknown"):
            self.assertIn(name, self.planted)
        self.assertFalse(told, f"{len(told)} places tell a secret:\n" + "\n".join(told[:50]))

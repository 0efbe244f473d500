"""schemathesis against a manager, with all its checks: what the document promises is what the API does, for a superuser and for a
plain user, in single requests and in sequences of them; and nothing is answered with an error of the manager's own."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clientkit.site import SiteTest

# The same cases each time, so that a change is judged by what the one before it met; CLIENTS_SEED tries others.
SEED = os.environ.get("CLIENTS_SEED", "20261129")
SECONDS = 240
SEQUENCES = 200
HOOKS = {"SCHEMATHESIS_HOOKS": "clientkit.schemathesis_hooks", "PYTHONPATH": str(Path(__file__).resolve().parent)}

# A request may be of the right shape and yet not possible: a name is taken, a reference leads nowhere, the tag is another's, a host
# lacks room. Those have codes of their own; 400 is not among them, and so must never be the answer to what the document allows.
ACCEPTED = ["2xx", "401", "403", "404", "409", "410", "412", "422", "429", "503", "507"]
# What a schema cannot say: these look closer at what they got, and say 400 with the field's pointer.
LOOKS_CLOSER = {
    "PATCH /v1/accounts/{ref}": "an owner who is one of its users",
    "PATCH /v1/accounts/{ref}/quota": "flavors that there are",
    "PATCH /v1/users/{ref}/quota": "the same",
    "PATCH /v1/quota-defaults": "the same",
    "POST /v1/groups": "the account is one that the caller sees",
    "POST /v1/users": "passwords that are not easily guessed; roles and accounts that there are",
    "PATCH /v1/users/{ref}": "the same",
    "PATCH /v1/users/me": "the same",
    "POST /v1/roles": "names of permissions",
    "PATCH /v1/roles/{name}": "names of permissions",
    "POST /v1/keypairs": "a public key in OpenSSH's format",
    "POST /v1/flavors": "properties that placement reads",
    "PATCH /v1/flavors/{ref}": "properties that placement reads",
    "POST /v1/images": "fields that exclude each other, addresses, properties that mean something",
    "PATCH /v1/images/{ref}": "properties that mean something",
    "POST /v1/images/{ref}/replace": "another image than itself",
    "PUT /v1/images/{ref}/file": "a file that is not empty",
    "PATCH /v1/images/{ref}/file": "offsets in headers",
    "POST /oauth/token": "what each grant needs",
    "POST /v1/api-keys": "scopes that there are, and times to come",
    "PATCH /v1/api-keys/{ref}": "the same",
    "PUT /v1/images/{ref}/shares/{account}": "an account that there is",
    "POST /account/register": "links that were mailed, and passwords that are not easily guessed",
    "POST /account/reset": "the same",
    "POST /v1/registrations/complete": "the same",
    "POST /v1/password-resets/complete": "the same",
    "GET /v1/events": "times",
    "GET /v1/usage": "days in order",
}


def configuration():
    """schemathesis.toml"""
    # Sequences that the document's links lead through, from a creation to the end of what it made.
    lines = ["[phases.stateful]", "max-steps = 20", "[phases.stateful.generation]", f"max-examples = {SEQUENCES}"]
    lines += ["[checks.positive_data_acceptance]", f"expected-statuses = {ACCEPTED}"]
    for name in LOOKS_CLOSER:
        lines += ["[[operations]]", f'include-name = "{name}"', "[operations.checks.positive_data_acceptance]",
                  f"expected-statuses = {[*ACCEPTED, '400']}"]
    # RFC 6749 §4.1.2.1: what is wrong with a request is told at the client's address, and what is unknown in it is passed over.
    lines += ["[[operations]]", 'include-path = "/oauth/authorize"', "[operations.checks.positive_data_acceptance]",
              f"expected-statuses = {[*ACCEPTED, '303', '400']}", "[operations.checks.negative_data_rejection]",
              'expected-statuses = ["303", "400", "401", "403", "404", "405", "406", "415", "422", "429"]']
    return "\n".join(lines) + "\n"


class Schemathesis(SiteTest):
    settings = {"api": {"rate_limit_requests": 0}, "log": {"level": "info"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.site.add_flavor("small")
        cls.site.add_image("debian-12")
        cls.site.add_user("ann")

    def run_as(self, token, *options):
        with tempfile.TemporaryDirectory(prefix="roost-schemathesis-") as folder:
            (Path(folder) / "schemathesis.toml").write_text(configuration())
            began = time.monotonic()
            result = subprocess.run(
                [Path(sys.executable).parent / "schemathesis", "run", f"{self.site.endpoint}/v1/openapi.json",
                 "--tls-verify", str(self.site.authority), "--header", f"Authorization: Bearer {token}", "--checks", "all",
                 "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "6", "--seed", SEED, "--no-color",
                 "--continue-on-failure", "--generation-database", "none", "--request-timeout", "70",
                 "--suppress-health-check", "all", *options],
                cwd=folder, env={**os.environ, **HOOKS}, capture_output=True, text=True, timeout=3 * SECONDS)
            seconds = time.monotonic() - began
        lines = result.stdout.splitlines()
        summary = [line.strip() for line in lines if "generated" in line or "API Links" in line]
        print(f"    schemathesis: {'; '.join(summary).strip()} ({seconds:.0f} s)", flush=True)
        self.assert_signed_in(token)
        self.assertEqual(result.returncode, 0, "\n".join(lines[-400:]) + result.stderr[-2000:])

    def assert_signed_in(self, token):
        """A run whose token had ended would have met nothing but 401."""
        status, _ = self.site.request("GET", "/v1/users/me", headers={"Authorization": f"Bearer {token}"})
        self.assertEqual(status, 200, "the token ended while it was used")

    def test_superuser(self):
        # That one ends all tokens where it is asked to, this run's as well.
        self.run_as(self.site.token(), "--exclude-path", "/v1/signing-keys/rotate")

    def test_user(self):
        # Not one of whom the document's examples speak: a superuser's run may have deleted that one.
        self.run_as(self.site.add_user("schema-user"))

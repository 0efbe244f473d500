"""The command `roost` against a real manager: in a pipe, on terminals wide and narrow, without colours, by several at once; and
what comes with it: manual pages and completions."""

import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
from fcntl import ioctl
from pathlib import Path

from clientkit.site import FORM, REPOSITORY, SiteTest, environment, programs

ROOST = programs() / "roost"
PASSWORD = "correct horse battery"
ESCAPE = "\x1b["


class Terminal:
    """What a command prints on a terminal of so many columns, and what somebody types there."""

    def __init__(self, words, columns, env):
        self.text = ""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            try:
                ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
                os.execve(words[0], words, env)
            finally:
                os._exit(127)

    def read(self, until=None, seconds=30):
        """Until `until` has been printed, or the program has ended."""
        end = time.monotonic() + seconds
        while until is None or not re.search(until, self.text):
            if not select.select([self.descriptor], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"not within {seconds} s: {until}; there is: {self.text!r}")
            try:
                piece = os.read(self.descriptor, 65536)
            except OSError:
                piece = b""
            if not piece:
                if until is None:
                    return self.text
                raise AssertionError(f"it ended without {until}: {self.text!r}")
            self.text += piece.decode()
        return self.text

    def type(self, line):
        os.write(self.descriptor, line.encode() + b"\n")

    def end(self):
        self.read()
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class CommandLine(SiteTest):
    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="roost-command-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.home)
        self.env = environment() | {
            "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "TERM": "xterm",
            "ROOST_ENDPOINT": self.site.endpoint, "ROOST_CACERT": str(self.site.authority), "LC_ALL": "C.UTF-8"}
        self.env.pop("NO_COLOR", None)

    def roost(self, *words, code=0, typed=None, **more):
        """Standard output of a command whose streams are pipes."""
        answer = subprocess.run(
            [ROOST, *words], env=self.env | more, input=typed if typed is not None else "", capture_output=True, text=True,
            timeout=60)
        self.assertEqual(answer.returncode, code, f"roost {' '.join(words)}: {answer.stdout}{answer.stderr}")
        self.error = answer.stderr
        return answer.stdout

    def json(self, *words, **more):
        return json.loads(self.roost(*words, "-o", "json", **more))

    def on_terminal(self, *words, columns=80, **more):
        terminal = Terminal([str(ROOST), *words], columns, self.env | more)
        self.assertEqual(terminal.end(), 0, terminal.text)
        return terminal.text.replace("\r\n", "\n")

    def log_in(self, name="admin", password=None):
        self.roost("login", "-u", name, "--password-file", "-", typed=(password or self.site.manager.admin_password) + "\n")

    def configuration(self):
        return self.home / ".config/roost/config.json"


class SigningIn(CommandLine):
    def test_password_on_a_terminal(self):
        terminal = Terminal([str(ROOST), "login", "--username", "admin"], 80, self.env)
        terminal.read("Password of admin: ")
        terminal.type(self.site.manager.admin_password)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertNotIn(self.site.manager.admin_password, terminal.text)
        self.assertIn("as admin", terminal.text)
        self.assertEqual(self.configuration().stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.json("whoami")["name"], "admin")
        self.assertIn(self.site.endpoint, self.roost("whoami"))

    def test_wrong_password(self):
        self.roost("login", "-u", "admin", "--password-file", "-", typed="wrong\n", code=1)
        self.assertFalse(self.configuration().exists())
        self.roost("whoami", code=1)
        self.assertIn("roost login", self.error)

    def test_logout_ends_the_session(self):
        self.log_in()
        refresh = json.loads(self.configuration().read_text())["profiles"]["default"]["refresh_token"]
        self.roost("logout")
        status, _ = self.site.request(
            "POST", "/oauth/token", {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "roost"}, FORM)
        self.assertEqual(status, 400)
        self.roost("logout", code=1)

    def test_several_at_once_renew_one_session(self):
        self.log_in()
        file = self.configuration()
        for _ in range(2):
            # As if it had run out: not one that the manager would take.
            kept = json.loads(file.read_text())
            kept["profiles"]["default"]["access_token"] = "expired"
            file.write_text(json.dumps(kept))
            several = [
                subprocess.Popen([ROOST, "whoami", "-o", "json"], env=self.env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
                for _ in range(6)]
            for one in several:
                output, _ = one.communicate(timeout=60)
                self.assertEqual((one.returncode, json.loads(output)["name"]), (0, "admin"))
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)

    def test_browser(self):
        """The device flow: a code on the terminal, allowed elsewhere."""
        self.site.add_user("device-user", PASSWORD)
        terminal = Terminal([str(ROOST), "login"], 80, self.env)
        text = terminal.read(r"type the code (\S+)")
        code = re.search(r"type the code (\S+)", text)[1]
        status, page = self.site.request(
            "POST", "/oauth/device",
            {"user_code": code, "username": "device-user", "password": PASSWORD, "action": "allow"}, FORM)
        self.assertEqual(status, 200, page)
        self.assertEqual(terminal.end(), 0, terminal.text)
        self.assertIn("as device-user", terminal.text)
        self.assertEqual(self.json("whoami")["name"], "device-user")

    def test_api_key(self):
        self.log_in()
        key = self.json("api-key", "create", "robot", "--scope", "flavors:read", "--expires", "1d")
        self.assertEqual(key["scopes"], ["flavors:read"])
        self.assertNotIn("secret", self.json("api-key", "show", key["id"]))
        self.roost("login", "--profile", "robot", "--api-key", key["id"], "--password-file", "-", typed=key["secret"] + "\n",
                   code=0)
        self.json("flavor", "list", "--profile", "robot")
        self.roost("user", "list", "--profile", "robot", code=1)
        self.roost("api-key", "delete", key["id"])
        self.roost("flavor", "list", "--profile", "robot", code=1)

    def test_profiles(self):
        self.log_in()
        self.site.add_user("profile-user", PASSWORD)
        self.roost("login", "--profile", "other", "-u", "profile-user", "--password-file", "-", typed=PASSWORD + "\n")
        self.assertEqual(self.json("whoami")["name"], "admin")
        self.assertEqual(self.json("whoami", "--profile", "other")["name"], "profile-user")
        self.roost("profile", "use", "other")
        self.assertEqual(self.json("whoami")["name"], "profile-user")
        listed = self.json("profile", "list")["items"]
        self.assertEqual([(one["name"], one["current"]) for one in listed], [("default", False), ("other", True)])
        self.assertNotIn("token", self.roost("profile", "list", "-o", "json"))
        self.roost("profile", "use", "othr", code=2)
        self.assertIn("did you mean 'other'?", self.error)
        self.roost("profile", "remove", "other")
        self.assertEqual(self.json("whoami")["name"], "admin")

    def test_masquerade(self):
        self.log_in()
        self.site.add_user("masked", PASSWORD)
        token = self.roost("user", "masquerade", "masked").strip()
        self.assertEqual(self.json("whoami", ROOST_TOKEN=token)["name"], "masked")
        new = self.home / "new"
        new.write_text("another good password\n")
        self.roost("user", "passwd", "--password-file", str(new), ROOST_TOKEN=token, typed=PASSWORD + "\n", code=1)
        self.roost("user", "masquerade", "masked", "--save", "as-masked")
        self.assertEqual(self.json("whoami", "--profile", "as-masked")["name"], "masked")
        self.json("key", "create", "of-masked", "--generate", "--profile", "as-masked")
        done = [event for event in self.json("audit", "list", "--actor", "masked")["items"] if event["kind"].startswith("keypair")]
        self.assertEqual([event["impersonator"] for event in done], ["admin"])


class Output(CommandLine):
    def setUp(self):
        super().setUp()
        self.log_in()

    def test_pipe(self):
        """No colours, no cuts, no progress; JSON is the API's own."""
        self.site.call("PATCH", "/v1/users/admin", {"full_name": "A name that is far too long for a narrow terminal " * 2})
        table = self.roost("user", "list")
        self.assertNotIn(ESCAPE, table)
        self.assertIn("narrow terminal A name", table)
        self.assertEqual(self.json("user", "show", "admin"), self.site.call("GET", "/v1/users/admin"))
        self.assertEqual(list(self.json("user", "show", "admin")), list(self.site.call("GET", "/v1/users/admin")))
        self.assertTrue(self.roost("user", "list", "-o", "csv").startswith("name,full_name,roles,"))

    def test_lists(self):
        """Sorted, filtered and cut; a wrong word is answered with the right one."""
        for name, vcpus in (("sorted-b", 2), ("sorted-a", 4), ("sorted-c", 1)):
            self.site.add_flavor(name, vcpus=vcpus)
        names = [one["name"] for one in self.json("flavor", "list", "--sort", "-vcpus")["items"] if one["name"].startswith("sorted")]
        self.assertEqual(names, ["sorted-a", "sorted-b", "sorted-c"])
        self.assertEqual(self.roost("flavor", "list", "--filter", "name=sorted-a", "--columns", "vcpus,name", "-o", "csv"),
                         "vcpus,name\n4,sorted-a\n")
        self.assertEqual(self.json("flavor", "list", "--filter", "name=sorted-b", "--fields", "name")["items"], [{"name": "sorted-b"}])
        self.roost("flavor", "list", "--columns", "vcpu", code=2)
        self.assertIn("did you mean 'vcpus'?", self.error)
        self.roost("flavor", "list", "--filter", "nam=x", code=1)
        self.assertIn("did you mean 'name'?", self.error)
        roles = [one["name"] for one in self.json("role", "list", "--sort", "-name", "--filter", "built_in=true")["items"]]
        self.assertEqual(roles, sorted(roles, reverse=True))
        for noun in ("instance", "image", "flavor", "key", "user", "account", "group", "role", "api-key", "whitelist", "node",
                     "aggregate", "server-group", "operation", "manager", "quota"):
            self.json(noun, "list", "--sort", "-kind" if noun == "operation" else "-name" if noun != "whitelist" else "-pattern")

    def test_whitelist(self):
        made = self.json("whitelist", "add", "*@example.org", "--description", "us")
        self.roost("whitelist", "add", "*@example.org", code=1)
        self.assertEqual(self.json("whitelist", "show", "*@example.org"), self.json("whitelist", "show", made["id"]))
        self.json("whitelist", "change", "*@example.org", "--pattern", "*@physics.example.org")
        self.assertEqual([one["pattern"] for one in self.json("whitelist", "list")["items"]], ["*@physics.example.org"])
        self.roost("whitelist", "show", "*@example.org", code=1)
        self.assertIn("roost whitelist list", self.error)
        self.roost("whitelist", "delete", "*@physics.example.org")
        self.assertEqual(self.json("whitelist", "list")["items"], [])
        changes = self.json("audit", "list", "--kind", "registration_entry.changed", "--outcome", "done", "--columns", "changes")
        self.assertEqual(changes["items"][-1]["changes"]["pattern"]["after"], "*@physics.example.org")

    def test_narrow_terminal(self):
        self.site.call("PATCH", "/v1/users/admin", {"full_name": "日本語の名前 and a long name besides it, for the test"})
        for columns in (24, 40, 60, 90, 200):
            text = self.on_terminal("user", "list", columns=columns)
            for line in text.splitlines():
                cells = sum(2 if "⺀" <= character <= "꓏" else 1 for character in line)
                self.assertLessEqual(cells, columns, line)
            self.assertIn("admin", text)
        self.assertIn("日本語", self.on_terminal("user", "list", columns=200))

    def test_colours(self):
        """On a terminal that has them, unless somebody does not want them."""
        self.assertIn(ESCAPE, self.on_terminal("manager", "list", columns=200))
        self.assertNotIn(ESCAPE, self.on_terminal("manager", "list", NO_COLOR="1"))
        self.assertNotIn(ESCAPE, self.on_terminal("manager", "list", TERM="dumb"))
        self.assertNotIn(ESCAPE, self.on_terminal("manager", "list", "--no-colors"))
        self.assertNotIn(ESCAPE, self.on_terminal("manager", "list", "-o", "json"))
        self.assertIn(ESCAPE, self.on_terminal("manager", "list", columns=200, NO_COLOR=""))

    def test_reader_goes_away(self):
        for number in range(3):
            self.site.call("POST", "/v1/groups", {"name": f"pipe-{number}", "description": "x" * 200}, expect=201)
        read, write = os.pipe()
        process = subprocess.Popen([ROOST, "audit", "export"], env=self.env, stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        os.close(read)
        _, error = process.communicate(timeout=60)
        self.assertEqual((process.returncode, error), (-13, b""))

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            answer = subprocess.run([ROOST, "user", "list"], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("No space left", answer.stderr)

    def test_typing_errors(self):
        self.site.add_flavor("typing-small")
        for words, hint in [
            (["flavr", "list"], "did you mean 'roost flavor'?"), (["flavor", "ls"], "did you mean 'roost flavor list'?"),
            (["flavor", "list", "--no-heders"], "--no-headers"), (["user", "rm", "x"], "did you mean 'roost user delete'?"),
        ]:
            self.roost(*words, code=2)
            self.assertIn(hint, self.error)
        self.roost("flavor", "show", "typing-smal", code=1)
        self.assertIn("did you mean 'typing-small'?", self.error)
        self.roost("instance", "create", "x", "--flavor", "typing-smll", "--image", "y", code=1)
        self.assertIn("did you mean 'typing-small'?", self.error)


class Nouns(CommandLine):
    """Each of the administrator's nouns through its life."""

    def setUp(self):
        super().setUp()
        self.log_in()

    def test_people(self):
        self.roost("account", "create", "lab", "--description", "The lab")
        self.roost("user", "create", "lab-ann", "--account", "lab", "--role", "account_owner", "--full-name", "Ann",
                   "--email", "ann@example.org", "--password-file", "-", typed=PASSWORD + "\n")
        self.roost("account", "change", "lab", "--owner", "lab-ann")
        self.assertEqual(self.json("account", "show", "lab")["owner"], "lab-ann")
        self.roost("user", "change", "lab-ann", "--unix-name", "ann", "--unset", "email")
        ann = self.json("user", "show", "lab-ann")
        self.assertEqual((ann["unix_name"], ann["email"], ann["full_name"]), ("ann", None, "Ann"))
        self.roost("user", "create", "lab-bob", "--account", "lab", "--no-password")
        group = self.json("group", "create", "lab-group", "--account", "lab")
        self.roost("group", "add", group["id"], "lab-ann", "lab-bob")
        self.roost("group", "remove", group["id"], "lab-bob")
        self.assertEqual(self.json("group", "show", group["id"])["members"], ["lab-ann"])
        self.roost("group", "change", group["id"], "--name", "lab-team")
        self.roost("group", "add", group["id"], "admin", code=1)
        self.roost("user", "disable", "lab-bob")
        self.assertFalse(self.json("user", "show", "lab-bob")["enabled"])
        self.roost("user", "enable", "lab-bob")
        self.roost("account", "disable", "lab")
        self.roost("account", "enable", "lab")
        self.roost("account", "delete", "lab", code=1)
        self.roost("group", "delete", group["id"])
        self.roost("user", "delete", "lab-bob", "--hand-over-to", "lab-ann")
        self.roost("account", "change", "lab", "--no-owner")
        self.roost("user", "delete", "lab-ann")
        self.roost("account", "delete", "lab")

    def test_lists(self):
        for noun in ("instance", "image", "flavor", "node", "aggregate", "server-group", "manager", "key", "user", "account", "group", "role",
                     "api-key", "quota", "operation", "event", "audit", "profile"):
            self.assertIn("items", self.json(noun, "list"), noun)
            self.roost(noun, "list")
        self.roost("usage")
        self.roost("site", "show")
        self.roost("role", "show", "supruser", code=1)
        self.assertIn("did you mean 'superuser'?", self.error)

    def test_server_groups(self):
        made = self.json("server-group", "create", "apart", "--policy", "anti-affinity", "--max-per-host", "2")
        self.assertEqual(made["max_per_host"], 2)
        self.roost("server-group", "create", "apart", "--policy", "affinity", code=1)
        self.assertIn("already", self.error)
        self.assertEqual(self.json("server-group", "show", "apart"), made)
        self.roost("server-group", "show", "apat", code=1)
        self.assertIn("did you mean 'apart'?", self.error)
        self.site.add_flavor("grouped")
        self.roost("placement", "explain", "--flavor", "grouped", "--server-group", "apart")
        self.assertIn("Of 0 nodes none can take the instance.", self.error)
        self.roost("server-group", "delete", "apart")
        self.assertEqual(self.json("server-group", "list")["items"], [])

    def test_password_change(self):
        self.roost("user", "create", "changer", "--must-change-password", "--password-file", "-", typed=PASSWORD + "\n")
        self.roost("login", "--profile", "changer", "-u", "changer", "--password-file", "-", typed=PASSWORD + "\n")
        self.assertIn("roost user passwd", self.error)
        new = self.home / "new"
        new.write_text("another good password\n")
        self.roost("user", "passwd", "--profile", "changer", "--password-file", str(new), typed=PASSWORD + "\n")
        self.log_in("changer", "another good password")
        self.assertFalse(self.json("whoami")["must_change_password"])

    def test_address_change(self):
        """One's own needs the password, since whoever reads its mail could set another."""
        self.roost("user", "create", "mover", "--password-file", "-", typed=PASSWORD + "\n")
        self.log_in("mover", PASSWORD)
        self.roost("user", "change", "me", "--email", "mover@example.org", typed="not the password\n", code=1)
        self.roost("user", "change", "me", "--email", "mover@example.org", typed=PASSWORD + "\n")
        self.assertEqual(self.json("user", "show", "me")["email"], "mover@example.org")

    def test_roles(self):
        self.roost("role", "create", "watcher", "--permission", "instanceRead=all", "--permission", "nodeRead=all",
                   "--description", "Sees")
        self.roost("role", "change", "watcher", "--permission", "eventRead=all", "--unset", "nodeRead")
        self.assertEqual(self.json("role", "show", "watcher")["permissions"], {"instanceRead": "all", "eventRead": "all"})
        self.assertIn("superuser", self.roost("role", "list"))
        self.assertIn("instanceRead", self.roost("role", "show", "user"))
        self.roost("role", "change", "watcher", "--permission", "instanceRead=everything", code=2)
        self.roost("role", "delete", "watcher")

    def test_keys(self):
        private = self.home / "key"
        self.roost("key", "create", "made", "--generate", "--private-key-file", str(private))
        self.assertEqual(private.stat().st_mode & 0o777, 0o600)
        subprocess.run(["ssh-keygen", "-y", "-f", private], check=True, stdout=subprocess.DEVNULL)
        public = subprocess.run(["ssh-keygen", "-y", "-f", private], check=True, capture_output=True, text=True).stdout
        self.assertEqual(self.json("key", "show", "made")["public_key"].split()[:2], public.split()[:2])
        self.assertNotIn("PRIVATE", self.roost("key", "show", "made", "-o", "json"))
        self.roost("key", "change", "made", "--name", "renamed")
        self.roost("key", "create", "again", "--generate", "--private-key-file", str(private), code=2)
        self.roost("key", "delete", "renamed")

    def test_flavors(self):
        self.roost("flavor", "create", "tiny", "--vcpus", "1", "--ram", "64", "--disk", "1", "--property", "a=1")
        self.roost("flavor", "change", "tiny", "--property", "b=2", "--unset", "a", "--name", "small")
        self.assertEqual(self.json("flavor", "show", "small")["properties"], {"b": "2"})
        self.roost("flavor", "delete", "small")

    def test_quotas(self):
        self.site.add_user("limited", PASSWORD)
        self.site.add_flavor("quota-flavor")
        self.roost("quota", "set", "--user", "limited", "--instances", "3", "--ram", "2048", "--flavor", "quota-flavor=1")
        self.assertEqual(self.json("quota", "show", "--user", "limited")["effective_limits"]["ram_mib"], 2048)
        self.assertRegex(self.roost("quota", "show", "--user", "limited"), r"instances +0 +3 +user")
        self.roost("quota", "unset", "--user", "limited", "ram", "--flavor", "quota-flavor")
        self.assertIsNone(self.json("quota", "show", "--user", "limited")["limits"]["ram_mib"])
        self.roost("quota", "set", "--account", "default", "--vcpus", "none")
        self.roost("quota", "set", "--every", "users", "--images", "7")
        self.assertIn("images", self.roost("quota", "show", "--every", "users"))
        self.roost("quota", "unset", "--every", "users", "images")
        self.assertRegex(self.roost("quota", "list", "--users"), r"limited +default +0/3")
        self.roost("quota", "list")
        self.roost("quota", "show")
        self.roost("quota", "summary")

    def test_audit(self):
        self.site.add_user("audited", PASSWORD)
        events = self.json("audit", "list", "--resource", "audited", "--kind", "user")["items"]
        self.assertIn("user.created", [event["kind"] for event in events])
        self.assertNotIn(PASSWORD, json.dumps(events))
        lines = [json.loads(line) for line in self.roost("audit", "export", "--resource", "audited").splitlines()]
        self.assertEqual(lines, self.json("audit", "list", "--resource", "audited")["items"])
        file = self.home / "audit.csv"
        self.roost("audit", "export", "--format", "csv", "--file", str(file))
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertTrue(file.read_text().startswith("sequence,at,actor,impersonator,"))
        self.roost("audit", "export", "--file", str(file), code=2)


class Documents(unittest.TestCase):
    def test_manual_pages(self):
        folder = Path(tempfile.mkdtemp(prefix="roost-manuals-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, folder)
        subprocess.run([sys.executable, REPOSITORY / "packaging/manuals", "--bin", programs(), "--out", folder], check=True,
                       stdout=subprocess.DEVNULL)
        pages = {page.name: page for page in folder.glob("man*/*")}
        self.assertLessEqual({"roost.1", "roost-instance.1", "roost-api-key.1", "roost-manager.8", "roost-agent.8"}, set(pages))
        for page in pages.values():
            # -ww: all warnings, -z: no output.
            warned = subprocess.run(["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", page], capture_output=True, text=True)
            complaints = [line for line in warned.stderr.splitlines() if "can't break line" not in line]
            self.assertEqual((warned.returncode, complaints), (0, []), page.name)
        text = pages["roost-instance.1"].read_text()
        for word in ("create", "\\-\\-flavor", "\\-\\-user\\-data", "instance delete"):
            self.assertIn(word, text)

    def test_install(self):
        """Everything where a system looks for it; what is left behind by a former version goes, what is not ours stays."""
        root = Path(tempfile.mkdtemp(prefix="roost-install-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, root)

        def install(*words, code=0):
            command = [REPOSITORY / "packaging/install", "--root", root, "--prefix", "/opt/roost", "--bin", programs(), *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, code, done.stderr)
            return done.stdout + done.stderr

        settings = root / "etc/roost/manager.yaml"
        settings.parent.mkdir(parents=True)
        settings.write_text("mine\n")
        install()
        prefix = root / "opt/roost"
        said = subprocess.run([prefix / "bin/roost", "--version"], capture_output=True, text=True, check=True).stdout
        self.assertIn("roost", said)
        for name in ("bin/roost-agent", "share/man/man1/roost-whitelist.1", "share/man/man8/roost-manager.8",
                     "share/bash-completion/completions/roost", "share/zsh/site-functions/_roost",
                     "share/fish/vendor_completions.d/roost.fish", "lib/sysusers.d/roost.conf", "share/doc/roost/agent.yaml"):
            self.assertTrue((prefix / name).stat().st_mode & 0o044, name)
        for unit in ("roost-manager", "roost-agent"):
            text = (prefix / f"lib/systemd/system/{unit}.service").read_text()
            self.assertIn(f"\nExecStart=/opt/roost/bin/{unit} run ", text)
        # As if the version before had had one page more.
        former = prefix / "share/man/man1/roost-former.1"
        former.write_text("")
        with (prefix / "share/roost/installed").open("a") as file:
            file.write("/opt/roost/share/man/man1/roost-former.1\n")
        (prefix / "bin/other").write_text("")
        install()
        self.assertFalse(former.exists())
        install("--remove")
        left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        self.assertEqual(left, {"etc/roost/manager.yaml", "opt/roost/bin/other"})
        self.assertEqual(settings.read_text(), "mine\n")
        self.assertIn("nothing is installed", install("--remove", code=1))
        self.assertIn("packaging/build-release", install("--bin", str(root), code=1))
        for wrong in (["--prefix", "opt"], ["--prefix"], ["--prefix", "/a b"], ["--what"]):
            install(*wrong, code=2)

    def test_completions(self):
        for shell in ("bash", "zsh", "fish"):
            script = subprocess.run([ROOST, "completion", shell], check=True, capture_output=True, text=True).stdout
            self.assertIn("api-key", script)

    def test_words_are_completed(self):
        """What bash offers behind 'roost api-'."""
        script = subprocess.run([ROOST, "completion", "bash"], check=True, capture_output=True, text=True).stdout
        ask = f"""
{script}
COMP_WORDS=(roost api-); COMP_CWORD=1; COMP_LINE='roost api-'; COMP_POINT=10; COMP_TYPE=9
_roost 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        answer = subprocess.run(["bash", "--norc"], input=ask, capture_output=True, text=True, timeout=60)
        self.assertIn("api-key", answer.stdout.split(), answer.stderr)

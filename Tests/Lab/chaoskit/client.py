"""Users under chaos: random requests, each repeated with its idempotency key until it is answered, and all of it logged."""

import json
import random
import threading
import time
import uuid

# Answers that say nothing about the request itself: the manager, its database or the way to it is away for a while.
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class Request:
    """One thing that a user wanted, and what became of it."""

    def __init__(self, action, instance, name):
        self.action, self.instance, self.name = action, instance, name
        self.began, self.ended = time.time(), None
        self.attempts, self.outcome, self.detail = 0, "unknown", ""
        self.operation = None

    def line(self):
        return json.dumps(vars(self))


class User(threading.Thread):
    """Holds a few instances and keeps changing its mind about them. What it was promised is in `wanted`."""

    def __init__(self, number, site, dice, log, most=2, patience=90):
        super().__init__(name=f"user-{number}", daemon=True)
        self.number, self.site, self.dice, self.log = number, site, dice, log
        self.most, self.patience = most, patience
        self.wanted = {}
        self.requests = []
        self.stopping = threading.Event()
        self.problem = None
        self._made = 0
        self._token = None

    def run(self):
        try:
            while not self.stopping.wait(self.dice.uniform(0.5, 4)):
                self.step()
        except Exception as problem:  # Told by the run, which judges it as a fault of its own.
            self.problem = problem

    def step(self):
        alive = [one for one, state in self.wanted.items() if state != "deleted"]
        if len(alive) < self.most and (not alive or self.dice.random() < 0.5):
            return self.create()
        one = self.dice.choice(alive)
        action = self.dice.choices(["stop", "start", "reboot", "delete", "look"], [3, 4, 1, 2, 4])[0]
        if action == "look":
            self.ask(Request("look", one, ""), "GET", f"/v1/instances/{one}")
        elif action == "delete":
            if self.ask(Request("delete", one, ""), "DELETE", f"/v1/instances/{one}"):
                self.wanted[one] = "deleted"
        else:
            body = {"force": self.dice.random() < 0.7} if action in ("stop", "reboot") else None
            if self.ask(Request(action, one, ""), "POST", f"/v1/instances/{one}/{action}", body):
                self.wanted[one] = "stopped" if action == "stop" else "running"

    def create(self):
        self._made += 1
        name = f"chaos-{self.number}-{self._made}"
        answer = self.ask(Request("create", None, name), "POST", "/v1/instances",
                          {"name": name, "flavor": "tiny", "image": "lab", "key_name": "lab"})
        if answer:
            self.wanted[answer["id"]] = "running"

    def ask(self, request, method, path, body=None):
        """Repeats the request until it is answered; the answer's body where it was accepted."""
        headers = {"Idempotency-Key": str(uuid.UUID(int=self.dice.getrandbits(128), version=4))} if method == "POST" else {}
        deadline = time.monotonic() + self.patience
        self.requests.append(request)
        answer = None
        while request.outcome == "unknown" and time.monotonic() < deadline:
            request.attempts += 1
            try:
                status, content, _ = self.site.call(method, path, body, token=self.token(), headers=headers, timeout=20)
            except OSError as problem:
                request.detail = str(problem)
                self._token = None if "401" in str(problem) else self._token
                time.sleep(self.dice.uniform(0.1, 0.6))
                continue
            if status < 300:
                request.outcome, answer = "acknowledged", content
                if isinstance(content, dict):
                    request.instance = request.instance or content.get("id")
                    request.operation = content.get("operation")
            elif status == 401:
                self._token = None
            elif method == "DELETE" and status == 404 and request.attempts > 1:
                # An earlier attempt was carried out and its answer lost.
                request.outcome, answer = "acknowledged", {}
            elif status in TRANSIENT:
                request.detail = content.get("detail", "") if isinstance(content, dict) else str(content)[:200]
                time.sleep(self.dice.uniform(0.1, 0.6))
            else:
                request.outcome = "refused"
                request.detail = content.get("detail", "") if isinstance(content, dict) else str(content)[:200]
        request.ended = time.time()
        self.log.write(request.line() + "\n")
        self.log.flush()
        return answer if request.outcome == "acknowledged" and answer is not None else None

    def token(self):
        if self._token is None or time.monotonic() - self._token[1] > 300:
            try:
                self._token = (self.site.token(), time.monotonic())
            except OSError:
                raise
            except Exception as problem:  # No token now is one more reason to try again.
                raise OSError(f"no token: {problem}") from problem
        return self._token[0]


def users(site, count, seed, log):
    return [User(number, site, random.Random(f"{seed}-user-{number}"), log) for number in range(count)]

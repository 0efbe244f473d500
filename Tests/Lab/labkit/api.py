"""The API of a running manager, as tests and benchmarks ask it."""

import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

FORM = "application/x-www-form-urlencoded"


def exchange(url, method, context, body=None, content_type=None, token=None, headers=None, timeout=60):
    """One request: status, decoded body and headers, whatever the status is. A body that is no bytes is encoded."""
    if body is not None and not isinstance(body, bytes):
        content_type = content_type or "application/json"
        body = (urllib.parse.urlencode(body) if content_type == FORM else json.dumps(body)).encode()
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    if body is not None:
        request.add_header("Content-Type", content_type or "application/octet-stream")
    if token:
        request.add_header("Authorization", "Bearer " + token)
    # A proxy of the machine's has no way to where the manager is.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, decoded(response), response.headers
    except urllib.error.HTTPError as problem:
        return problem.code, decoded(problem), problem.headers


def decoded(response):
    content = response.read()
    if "json" in (response.headers.get("Content-Type") or ""):
        return json.loads(content or b"null")
    return content.decode(errors="replace")


class APICaller:
    """What has an `endpoint`, the `authority`'s certificate and an `admin_password`, and asks a manager as its administrator.

    `failure` is what is raised where an answer is not what it had to be."""

    failure = AssertionError
    # The administrator's token is good for 15 minutes.
    _token = ("", -1e9)

    def context(self):
        return ssl.create_default_context(cafile=str(self.authority))

    def answers(self, path):
        try:
            return self.request("GET", path)[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None, content_type=None, token=None, headers=None):
        """Status and decoded body, whatever the status is."""
        return exchange(self.endpoint + path, method, self.context(), body, content_type, token, headers)[:2]

    def call(self, method, path, body=None, expect=200, content_type=None, token=None):
        """As `request`, of the administrator unless a token is named; any other status is a failure."""
        status, answer = self.request(method, path, body, content_type, token or self.token())
        if status != expect:
            raise self.failure(f"{method} {path}: {status} instead of {expect}: {answer}")
        return answer

    def pages(self, path, token=None):
        items, cursor = [], ""
        while True:
            page = self.call("GET", f"{path}{'&' if '?' in path else '?'}limit=1000{cursor}", token=token)
            items += page["items"]
            if not page.get("next"):
                return items
            cursor = f"&after={urllib.parse.quote(page['next'])}"

    def token(self):
        text, fetched = self._token
        if time.monotonic() - fetched > 600:
            text = self.sign_in("admin", self.admin_password)
            self._token = (text, time.monotonic())
        return text

    def sign_in(self, name, password):
        """An access token by name and password."""
        status, body = self.request(
            "POST", "/oauth/token", {"grant_type": "password", "username": name, "password": password}, FORM)
        if status != 200:
            raise self.failure(f"no token for {name}: {status} {body}")
        return body["access_token"]

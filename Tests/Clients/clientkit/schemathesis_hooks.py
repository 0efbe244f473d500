"""What schemathesis (SCHEMATHESIS_HOOKS) is told of this API beyond its document."""

import re
import uuid

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """In sequences, a new key for each request that has a good one, as the API's users are told to take: with an old one, a request that
    the generator repeats gets the answer of the first one again, also where what it made is deleted since."""
    if case.meta is None or case.meta.phase.name != "stateful":
        return
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers["Idempotency-Key"] = str(uuid.uuid4())

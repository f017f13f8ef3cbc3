"""From what a client raised, or a server answered, to evalh's error tree: one line, who can mend it, and how.

401 402 403 404, unknown model, no credit    ProviderUnusable   no request will ever be answered
400 413 422 and other 4xx                    ProviderRefused    this request will never be answered
429 529, 503 with Retry-After                ProviderBusy       with the seconds that the server asks for
408 409 425, other 5xx, timeout, connection  ProviderDown       worth another try
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from evalh.errors import ProviderBusy, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, ProviderUnusable
from evalh.providers.endpoint import Endpoint

LONGEST = 300  # characters of a server's own words that a message keeps

# codes that say: the setup is wrong, not this request (an HTTP status alone cannot tell)
_SETUP_CODES = frozenset(
    {
        "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated", "invalid_api_key",
        "model_not_found", "unsupported_parameter", "unsupported_value", "unknown_parameter",
    }
)  # fmt: skip
# an error inside a reply of status 200 has a name instead of a status
_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "overloaded_error": 529, "invalid_prompt": 400, "invalid_request_error": 400,
    "authentication_error": 401, "billing_error": 402, "permission_error": 403, "not_found_error": 404, "model_not_found": 404,
}  # fmt: skip


def from_exception(error: Exception, sdk: Any, endpoint: Endpoint, timeout_s: float) -> ProviderError:
    """What an official client raised. `sdk` is its module: both have the same exception classes."""
    if isinstance(error, sdk.APIStatusError):
        response: Any = error.response
        return from_status(response.status_code, response.headers, response.text, endpoint)
    if isinstance(error, sdk.APITimeoutError):
        return timed_out(endpoint, timeout_s)
    if isinstance(error, sdk.APIConnectionError):
        cause = error.__cause__ or error
        reason = str(cause) or type(cause).__name__
        return endpoint.error(ProviderDown, f"no connection: {reason}", hint="check that the server runs and can be reached")
    return endpoint.error(ProviderRefused, f"{type(error).__name__}: {_cut(str(error))}")


def timed_out(endpoint: Endpoint, timeout_s: float) -> ProviderError:
    return endpoint.error(ProviderSlow, f"no answer within {timeout_s:g} s", hint="`timeout_s` sets the limit")


def from_status(status: int, headers: Mapping[str, str], text: str, endpoint: Endpoint) -> ProviderError:
    """An HTTP error. `headers` may be of any case-insensitive mapping; of a plain dict, keys are in lower case."""
    said, code, _ = _said(endpoint.scrub(text))  # before it is cut: half a key is too much
    what = f"{status} {_phrase(status)}" + (f": {said}" if said else "")
    if code in _SETUP_CODES or status in (401, 402, 403, 404):
        return endpoint.error(ProviderUnusable, what, hint=_setup_hint(status, code, endpoint))
    wait = retry_after(headers)
    if status in (429, 529) or (status == HTTPStatus.SERVICE_UNAVAILABLE and wait is not None):
        return endpoint.error(ProviderBusy, what, retry_after=wait)
    if status >= 500 or status in (408, 409, 425):
        return endpoint.error(ProviderDown, what)
    return endpoint.error(ProviderRefused, what, hint="check the settings it names and the length of the prompt")


def in_reply(data: Mapping[str, Any], headers: Mapping[str, str], endpoint: Endpoint) -> ProviderError | None:
    """The error that some gateways put into a reply of status 200; None where there is none."""
    if not data.get("error"):
        return None
    text = json.dumps(data)
    _, code, kind = _said(text)
    status = int(code) if code and code.isdecimal() and 400 <= int(code) <= 599 else None
    return from_status(status or _STATUS_OF_CODE.get(code or "") or _STATUS_OF_CODE.get(kind or "") or 500, headers, text, endpoint)


def unreadable(body: bytes, endpoint: Endpoint) -> ProviderError:
    """A reply of status 200 that is not what the API promises. Often a proxy's page, so another try may help."""
    shown = _cut(endpoint.scrub(body.decode(errors="replace")))
    return endpoint.error(ProviderDown, f"the reply is not of this API: {shown or '(empty)'}", hint="base_url usually ends in /v1")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date.

    A date is read against the server's own `Date`, so a wrong clock here does not matter. None where it says nothing.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date")) or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _setup_hint(status: int, code: str | None, endpoint: Endpoint) -> str:
    if code in ("unsupported_parameter", "unsupported_value", "unknown_parameter"):
        return "take the setting it names out of the suite (temperature, max_tokens or params)"
    if (
        code in ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated")
        or status == HTTPStatus.PAYMENT_REQUIRED
    ):
        return "the account has no credit left"
    if status == HTTPStatus.NOT_FOUND or code == "model_not_found":
        return "check the model's name and base_url (it usually ends in /v1 for OpenAI-compatible servers)"
    if status == HTTPStatus.FORBIDDEN:
        return "check that this account may use this model"
    return f"check the key in {endpoint.key_env}" if endpoint.key_env else "name the variable that holds the key with `api_key_env`"


def _said(text: str) -> tuple[str, str | None, str | None]:
    """What the server says in its own words, its code and its type."""
    try:
        data = json.loads(text)
    except ValueError:
        return _cut(text), None, None
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return _cut(error if isinstance(error, str) else json.dumps(error)), None, None
    said = error.get("message") or error.get("detail") or error.get("error") or ""
    code = error.get("code")
    return _cut(said if isinstance(said, str) else json.dumps(said)), None if code is None else str(code), error.get("type")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _phrase(status: int) -> str:
    if status == 529:
        return "Overloaded"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"

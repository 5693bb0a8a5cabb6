"""A message as a webhook gets it: JSON, with headers by which it is known again and known for ours."""

from __future__ import annotations

import hashlib
import hmac
import json

from run.notifications.message import Message
from run.redaction import redacted


def body_of(message: Message) -> bytes:
    """The same bytes for every try."""
    return json.dumps(redacted(message.as_json()), ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")


def headers_of(message: Message, body: bytes, timestamp: int, key: bytes | None) -> dict[str, str]:
    """The headers; `timestamp` is when it is sent, in seconds since 1970, `key` what it is signed with, if it is.

    docs/notifications.md says how the signature is verified.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "cloud-accelerator", "Idempotency-Key": message.key}
    if key is None:
        return headers
    signature = hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {**headers, "X-Timestamp": str(timestamp), "X-Signature": f"sha256={signature}"}

"""What a request's answers took, in a few words for the request log."""

from __future__ import annotations

import time

from starlette.types import Scope

from server.access.access_record import AccessRecord, access_record


def token_summary(scope: Scope) -> str:
    """Tokens of the prompts and of the answers, and how fast they came; "" if nothing was computed.

    Tokens a second are counted from the first token to now, over all answers of the request.
    """
    record = access_record(scope)
    if not record.prompt_tokens:
        return ""
    cached = f" ({record.cached_tokens} cached)" if record.cached_tokens else ""
    unit = "token" if record.prompt_tokens == 1 else "tokens"
    parts = [f"{record.prompt_tokens} {unit} in{cached}"]
    if record.first_token is not None:
        first = (record.first_token - record.started) * 1000
        parts.append(f"{record.generated_tokens} out, first after {first:.1f} ms")
        parts += _speed(record, record.first_token)
    return ", ".join(parts)


def _speed(record: AccessRecord, first_token: float) -> list[str]:
    """How fast the tokens after the first one came, if there are any."""
    more, seconds = record.generated_tokens - 1, time.monotonic() - first_token
    return [f"then {more / seconds:.1f}/s"] if more > 0 and seconds > 0 else []

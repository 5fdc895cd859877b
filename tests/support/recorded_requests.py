"""What agents send: the bodies of their requests, recorded and cleaned.

`python -m tests.support.recorded_requests FOLDER` cleans the bodies in a folder, into which
`tests/e2e/test_agents.py` records them if LLAMAPACK_RECORD names it. Cleaned, a body has its
structure, its names and its short texts. Prose becomes words of the same lengths, because it is not
ours; what tells about a person or a machine becomes constant.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).parent / "recorded"

_LONG = 60
"""Characters from which on a text is prose."""

_PERSONAL = {
    "user_id": '{"device_id":"0","account_uuid":"","session_id":"1"}',
    "x-codex-turn-metadata": "{}",
}

_HIDDEN: tuple[tuple[str, str], ...] = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "00000000-0000-0000-0000-000000000000"),
    (r"\b[0-9a-f]{32,}\b", "0" * 32),
    (r"/tmp/[\w./-]*/(home|work)", r"/\1"),
    (r"/(root|home)/[\w./-]+", "/home/files"),
    (r"20\d\d-\d\d-\d\d", "2026-01-01"),
)

_WORD = re.compile(r"<[^<>\n]{1,60}>|[A-Za-z]{3,}")
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo")


def recorded(client: str) -> list[dict[str, Any]]:
    """The bodies of one session of a client, in their order."""
    first, *changes = json.loads((FOLDER / f"{client}.json").read_text())
    return [first, *({**first, **change} for change in changes)]


def recording(app: ASGIApp, folder: Path, client: str) -> ASGIApp:
    """The application, which writes the bodies of POST requests to a folder."""
    bodies: list[bytes] = []

    async def recorder(scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []

        async def noting() -> Message:
            message = await receive()
            parts.append(message.get("body", b""))
            return message

        await app(scope, noting if scope["type"] == "http" else receive, send)
        if any(parts):
            (folder / f"{client}-{len(bodies)}.json").write_bytes(b"".join(parts))
            bodies.append(b"")

    return recorder


def cleaned(value: Any, name: str = "") -> Any:
    """A body without prose and without personal details."""
    if isinstance(value, dict):
        return {key: cleaned(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, name) for item in value]
    if not isinstance(value, str):
        return value
    if name in _PERSONAL:
        return _PERSONAL[name]
    for pattern, constant in _HIDDEN:
        value = re.sub(pattern, constant, value)
    is_prose = len(value) > _LONG and not value.startswith("x-anthropic-billing-header")
    return _WORD.sub(_other_word, value) if is_prose or name == "description" else value


def _other_word(found: re.Match[str]) -> str:
    """A word of the same length, the same one each time; marks stay."""
    word = found[0]
    if word.startswith("<"):
        return word
    digest = hashlib.sha256(word.encode()).digest()
    text = "".join(_SYLLABLES[byte % len(_SYLLABLES)] for byte in digest)
    text = (text * (len(word) // len(text) + 1))[: len(word)]
    change: Callable[[str], str] = str.capitalize if word[0].isupper() else str.lower
    return change(text)


def main(folder: Path) -> None:
    """Clean and keep the sessions of a folder: the first body, and what later ones change."""
    for start in sorted(folder.glob("*-0.json")):
        client = start.stem.removesuffix("-0")
        paths = sorted(folder.glob(f"{client}-[0-9].json"))
        first, *later = [cleaned(json.loads(path.read_text())) for path in paths]
        changes = [
            {name: value for name, value in body.items() if first.get(name) != value}
            for body in later
        ]
        text = json.dumps([first, *changes], ensure_ascii=False, separators=(",", ":"))
        (FOLDER / f"{client}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""`llamapack ps`, `load` and `unload`: what a running server has loaded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from server.client.found_server import add_flags, client_of
from server.client.server_client import Entry, ServerClient
from server.commands.arguments import parser
from server.commands.table import table
from server.startup import CommandError
from server.store.sizes import human_size

POLL_SECONDS = 0.2
_BUSY = ("loading", "downloading", "unloading")
_RESTING = ("unloaded", "sleeping")


def ps(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Show the models that are loaded. Returns the exit code. Raises `CommandError`."""
    flags = parser("ps", "Show the models that a running server has loaded.")
    add_flags(flags)
    flags.add_argument("--all", action="store_true", help="unloaded models too")
    asked = flags.parse_args(argv)
    entries = client_of(asked.url, asked.api_key, environ).models()
    shown = [one for one in entries if asked.all or _state(one) not in _RESTING]
    if asked.json:
        print(json.dumps(shown, indent=2))
    else:
        print(_listing(shown, time.time()))
    return 0


def load(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Load a model, and wait until it is loaded. Returns the exit code. Raises `CommandError`."""
    return _change("load", "loaded", ServerClient.load, argv, environ)


def unload(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Unload a model, and wait until it is gone. Returns the exit code. Raises `CommandError`."""
    return _change("unload", "unloaded", ServerClient.unload, argv, environ)


def _change(
    verb: str,
    done: str,
    change: Callable[[ServerClient, str], None],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    flags = parser(verb, f"Ask a running server to {verb} a model.")
    add_flags(flags)
    flags.add_argument("model", metavar="MODEL", help="its name there: see `llamapack ps --all`")
    asked = flags.parse_args(argv)
    client = client_of(asked.url, asked.api_key, environ)
    entry = client.get(asked.model)
    if _state(entry) != done:
        change(client, entry["id"])
        entry = client.get(asked.model)
    while _state(entry) in _BUSY:
        time.sleep(POLL_SECONDS)
        entry = client.get(asked.model)
    if _has_failed(entry):
        raise CommandError(f"{asked.model} can't be {done}: {_reason(entry)}")
    if asked.json:
        print(json.dumps(entry, indent=2))
    else:
        print(f"{entry['id']} is {_state(entry)}")
    return 0


# --- what an entry tells ---


def _listing(entries: Sequence[Entry], now: float) -> str:
    head = ("NAME", "STATE", "MEMORY", "DEVICE", "CONTEXT", "UNTIL")
    return table(head, [_row(entry, now) for entry in entries], right=head[2:5])


def _row(entry: Entry, now: float) -> tuple[str, ...]:
    memory = _status(entry).get("memory") or {}
    context = entry.get("max_input_tokens")
    return (
        entry["id"],
        _state(entry),
        _bytes(memory.get("host")),
        _bytes(memory.get("device")),
        f"{context:,}" if isinstance(context, int) else "-",
        _until(entry, now),
    )


def _status(entry: Entry) -> Entry:
    status = entry.get("status")
    return status if isinstance(status, dict) else {}


def _state(entry: Entry) -> str:
    """The state; a server that tells none has loaded its only model."""
    status = _status(entry)
    return "failed" if status.get("failed") else str(status.get("value", "loaded"))


def _has_failed(entry: Entry) -> bool:
    return _state(entry) == "failed"


def _reason(entry: Entry) -> str:
    status = _status(entry)
    return str(status.get("reason") or f"its engine ended with {status.get('exit_code')}")


def _bytes(value: object) -> str:
    return human_size(value) if isinstance(value, int) and value else "-"


def _until(entry: Entry, now: float) -> str:
    """When the model goes if nobody asks for it."""
    status = _status(entry)
    if status.get("pinned"):
        return "pinned"
    try:
        expires = datetime.fromisoformat(status["expires_at"])
    except (LookupError, ValueError, TypeError):
        return "-"
    seconds = max(round(expires.timestamp() - now), 0)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"

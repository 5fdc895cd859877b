"""What one client can learn of another: by drafts, cached prefixes, slots, files and web pages."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import stat
from collections.abc import Sequence
from typing import Any

from loadtests.trials.attacks.attack import (
    ATTACKER_KEY,
    CHAT,
    INNOCENT_KEY,
    KEYS,
    NATIVE,
    Attack,
    Run,
    Setting,
    Target,
    completion,
)
from loadtests.trials.attacks.starting import ended

NUMBER, SEEN_NUMBER = 11, 12
_KEYS = Setting(keys=KEYS)
_LOOKUP = Setting(("--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "4"), keys=KEYS)

SECRETS = ("7391", "4452", "0916")
DECOYS = ("1234", "8027", "5550")
_STORY = "In the letter stood, in plain words and in a fair hand, that the number of the box is"


def _drafted(timings: dict[str, Any]) -> tuple[int, int]:
    return timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)


async def _timings(target: Target, path: str, body: dict[str, object], key: str) -> dict[str, Any]:
    reply = await target.post(path, body, key=key)
    target.claim(
        reply.status == 200, f"no answer to ask about: {reply.status} {reply.body[:200]!r}"
    )
    timings: dict[str, Any] = json.loads(reply.whole or b"{}").get("timings", {})
    return timings


def _guessed(path: str) -> Run:
    """The innocent client's text has a number. The attacker asks for guesses, and counts drafts."""

    async def run(target: Target) -> None:
        for secret in SECRETS:
            story = f"{secret[::-1]}: {_STORY}"
            told = {"prompt": f"{story} {secret}. " * 4, "n_predict": 32, "max_tokens": 32}
            await target.post(path, {**told, "ignore_eos": True}, key=INNOCENT_KEY)
            for guess in (secret, *DECOYS):
                body = {
                    "prompt": story,
                    "grammar": f'root ::= " {guess}. {secret[::-1]}: In the letter"',
                    "n_predict": 48,
                    "max_tokens": 48,
                    "cache_salt": guess,
                }
                drafted = _drafted(await _timings(target, path, body, ATTACKER_KEY))
                target.claim(drafted == (0, 0), f"{drafted} drafts for {guess} of {secret}")

    return run


def _cached(timings: dict[str, Any]) -> int:
    return int(timings.get("cache_n", 0))


def _prefix(number: int, words: int = 150) -> str:
    return " ".join(f"word{(number * 7919 + n * 31) % 1000}" for n in range(words))


_tags = itertools.cycle(random.Random(5).sample(range(1000, 10_000), 9000))
"""First words of prompts, each of which is used once."""

DIGITS = 4
"""Most tokens of a first word, whose first digits may be those of an earlier one."""


def _shared(path: str, first: dict[str, object], second: dict[str, object]) -> Run:
    """Prompts that another key has sent are computed as if nobody had."""

    async def run(target: Target) -> None:
        for _ in range(3):
            # Words of this attempt alone: the attacker's own earlier prompts must not count.
            tag = next(_tags)
            text = f"{tag} {_prefix(tag, 60)}"
            prompt: dict[str, object] = {"prompt": text}
            if path == CHAT:
                prompt = {"messages": [{"role": "user", "content": text}]}
            body = {"n_predict": 4, "max_tokens": 4, **prompt}
            await target.post(path, {**body, **first}, key=INNOCENT_KEY)
            timings = await _timings(target, path, {**body, **second}, ATTACKER_KEY)
            # A chat's head is in the attacker's own prompts too.
            allowed = 16 if path == CHAT else DIGITS
            target.claim(_cached(timings) <= allowed, f"{_cached(timings)} tokens of another key")

    return run


async def _every_slot(target: Target) -> None:
    """A prompt is asked for in each slot by number."""
    tag = next(_tags)
    text = f"{tag} slots {_prefix(tag, 60)}"
    await target.post(NATIVE, completion(prompt=text), key=INNOCENT_KEY)
    for slot in range(8):
        body = completion(prompt=text, n_predict=1, id_slot=slot, cache_salt=str(slot))
        timings = await _timings(target, NATIVE, body, ATTACKER_KEY)
        target.claim(_cached(timings) <= DIGITS, f"{_cached(timings)} tokens of slot {slot}")


async def _while_it_runs(target: Target) -> None:
    """A prompt is asked for while another key's is being computed."""
    for number in range(3):
        tag = next(_tags)
        text = f"{tag} {SECRETS[number]} {_prefix(tag, 150)}"
        body = completion(prompt=text, n_predict=100, ignore_eos=True)
        theirs = asyncio.create_task(target.post(NATIVE, body, key=INNOCENT_KEY))
        await asyncio.sleep(0.05)
        timings = await _timings(target, NATIVE, completion(prompt=text), ATTACKER_KEY)
        target.claim(_cached(timings) <= DIGITS, f"{_cached(timings)} tokens of a running answer")
        await theirs


MARKS = ("424242", "zqjw", "abracadabra", "3.14159", "xyzzy", "plugh")
"""What is in the innocent client's request and nowhere else."""

_PRIVATE = {
    "prompt": "xyzzy Once upon a time",
    "seed": 424242,
    "dry_multiplier": 0.5,
    "dry_sequence_breakers": ["zqjw"],
    "stop": ["abracadabra"],
    "logit_bias": [[7, 3.14159]],
    "grammar": 'root ::= [^~]* "plugh"',
    "n_predict": 300,
    "ignore_eos": True,
}


async def _others_slots(target: Target) -> None:
    """Everything that can be read, while another key's request runs."""
    for _ in range(3):
        theirs = asyncio.create_task(target.post(NATIVE, _PRIVATE, key=INNOCENT_KEY))
        await asyncio.sleep(0.05)
        for path in ("/slots", "/props", "/metrics", "/v1/models", "/lora-adapters", "/"):
            reply = await target.send("GET", path, key=ATTACKER_KEY)
            seen = [mark for mark in MARKS if mark.encode() in reply.whole]
            target.claim(not seen, f"{path} shows {seen}")
        reply = await theirs
        target.claim(reply.status == 200, f"the other key's request: {reply.body[:200]!r}")


async def _files(target: Target) -> None:
    """Files with texts of clients are the operator's alone."""
    await target.post(NATIVE, completion(prompt="a secret"), key=INNOCENT_KEY)
    await target.send("POST", "/slots/0?action=save", {"filename": "saved"}, key="admin-key")
    await asyncio.sleep(0.5)
    found = [path for path in target.folder.rglob("*") if path.is_file()]
    written = [path for path in found if path.name in ("audit.jsonl", "saved")]
    target.claim(len(written) == 2, f"only {[path.name for path in written]} were written")
    for path in written:
        mode = stat.S_IMODE(path.stat().st_mode)
        target.claim(mode & 0o077 == 0, f"{path.name} has mode {mode:o}")


def _opened(*flags: str, variables: Sequence[str] = (), files: dict[str, str] | None = None) -> Run:
    """A server that would have no key, although its operator gave one, doesn't start."""

    async def run(target: Target) -> None:
        for name, text in (files or {}).items():
            (target.folder / name).write_text(text)
        given = [flag.replace("{folder}", str(target.folder)) for flag in flags]
        status, _ = await ended(*given, variables=variables)
        target.claim(bool(status), f"a server with {flags or variables} started")

    return run


_FOREIGN = ("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "10.0.0.7", "trial")
_OWN = ("localhost", "localhost:{port}", "127.0.0.1", "127.0.0.1:{port}", "[::1]:{port}")


async def _rebound(target: Target) -> None:
    """Names of other hosts that lead to this machine: a web page could use them."""
    port = target.address.port
    ways: tuple[tuple[str, str, object], ...] = (
        ("POST", NATIVE, completion()),
        ("GET", "/slots", b""),
        ("GET", "/props", b""),
    )
    for method, path, body in ways:
        for host in (name.format(port=port) for name in _FOREIGN):
            reply = await target.send(method, path, body, host=host)
            target.claim(reply.status >= 400, f"{path} of {host}: {reply.status}")
        for host in (name.format(port=port) for name in _OWN):
            reply = await target.send(method, path, body, host=host)
            target.claim(reply.status == 200, f"{path} of {host}: {reply.status}")


async def _other_origins(target: Target) -> None:
    """Pages of other origins may not read an answer."""
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"):
        headers = (f"Origin: {origin}",)
        for path, body in ((NATIVE, completion()), ("/tokenize", {"content": "x"})):
            reply = await target.post(path, body, headers=headers)
            shown = b"access-control-allow-origin" in reply.head.lower()
            target.claim(not shown, f"{path} is shown to {origin}")


async def _no_secrets_in_the_log(target: Target) -> None:
    """Keys and prompts don't reach the log, right or wrong ones."""
    for key in (ATTACKER_KEY, "wrong-key-of-somebody", INNOCENT_KEY):
        await target.post(NATIVE, completion(prompt="xyzzy"), key=key)
        await target.send("GET", f"/slots?api_key={key}", key=key)
        await target.post(NATIVE, b'{"prompt": "xyzzy", "seed": "plugh"', key=key)
    log = target.server.log_text()
    shown = [word for word in (ATTACKER_KEY, INNOCENT_KEY, "xyzzy", "plugh") if word in log]
    target.claim(not shown, f"the log has {shown}")


_FILES = Setting(
    (
        *("--audit-log", "{folder}/audit.jsonl", "--audit-log-prompts"),
        *("--slot-save-path", "{folder}"),
    ),
    keys=KEYS,
)

ATTACKS = (
    Attack(NUMBER, "guesses counted by drafts, ngram-mod", _guessed(NATIVE), _LOOKUP),
    Attack(NUMBER, "prompts of another key", _shared(NATIVE, {}, {}), _KEYS),
    Attack(NUMBER, "chats of another key", _shared(CHAT, {}, {}), _KEYS),
    Attack(
        NUMBER,
        "prompts with another key's salt",
        _shared(NATIVE, {"cache_salt": "s"}, {"cache_salt": "s"}),
        _KEYS,
    ),
    Attack(
        NUMBER,
        "chunks of another key's prompt",
        _shared(NATIVE, {}, {"n_cache_reuse": 16}),
        _KEYS,
    ),
    Attack(NUMBER, "another key's prompt in each slot", _every_slot, _KEYS),
    Attack(NUMBER, "another key's prompt while it runs", _while_it_runs, _KEYS),
    Attack(NUMBER, "guesses at another route, ngram-mod", _guessed("/v1/completions"), _LOOKUP),
    Attack(SEEN_NUMBER, "what can be read shows nothing of others", _others_slots, _KEYS),
    Attack(SEEN_NUMBER, "names of other hosts", _rebound),
    Attack(SEEN_NUMBER, "files with clients' texts", _files, _FILES),
    Attack(SEEN_NUMBER, "an empty key", _opened("--api-key", "")),
    Attack(SEEN_NUMBER, "an empty variable", _opened(variables=("LLAMA_API_KEY=",))),
    Attack(
        SEEN_NUMBER,
        "an empty file of keys",
        _opened("--api-key-file", "{folder}/empty", files={"empty": "\n\n"}),
    ),
    Attack(
        SEEN_NUMBER,
        "a table without keys",
        _opened("--api-keys-toml", "{folder}/none.toml", files={"none.toml": ""}),
    ),
    Attack(SEEN_NUMBER, "a key among commas", _opened("--api-key", ",")),
    Attack(SEEN_NUMBER, "pages of other origins", _other_origins),
    Attack(SEEN_NUMBER, "keys and prompts in the log", _no_secrets_in_the_log, _KEYS),
)

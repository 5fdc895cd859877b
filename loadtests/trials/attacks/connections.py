"""Connections and places in the queue that an attacker takes from everybody."""

from __future__ import annotations

import asyncio
import json

from loadtests.trials.attacks.attack import (
    ATTACKER_KEY,
    CHAT,
    KEYS,
    NATIVE,
    Attack,
    Setting,
    Target,
    completion,
)
from loadtests.trials.attacks.sockets import body_head, connections, drip, head, is_open

NUMBER = 7
_FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")
_KEYS = Setting(("--max-queue", "512"), keys=KEYS)
_KEYS_FEW = Setting(("--max-queue", "512"), keys=KEYS, wrapper=_FEW_DESCRIPTORS)
_FEW = Setting(wrapper=_FEW_DESCRIPTORS)
HOLD_SECONDS = 8.0
REFUSED_SECONDS = 15.0
"""A refused connection may be kept for ten seconds, so that its client reads the answer."""


async def _refused_and_kept(target: Target) -> None:
    """After a 401, a byte of the body now and then."""
    async with connections(target, 200) as opened:
        for _, writer in opened:
            writer.write(body_head(target, NATIVE, 1000, key="wrong"))
        await drip([writer for _, writer in opened], REFUSED_SECONDS, lambda turn: b"x")
        kept = sum(await asyncio.gather(*(is_open(reader) for reader, _ in opened)))
        target.statuses["kept"] += kept
        target.claim(kept < 20, f"{kept} of {len(opened)} refused connections were kept")


async def _heads_alone(target: Target) -> None:
    """Heads whose bodies never come take no place for long."""
    async with connections(target, 520) as opened:
        for _, writer in opened:
            writer.write(body_head(target, NATIVE, 1000))
        await asyncio.sleep(HOLD_SECONDS)


async def _bodies_in_drops(target: Target) -> None:
    """Bodies that come byte by byte, with a key."""
    async with connections(target, 520) as opened:
        for _, writer in opened:
            writer.write(body_head(target, CHAT, 1000))
        await drip([writer for _, writer in opened], HOLD_SECONDS, lambda turn: b" ")


async def _full_queue(target: Target) -> None:
    """One key fills the queue; another key's requests are taken nevertheless."""
    payload = json.dumps(completion(n_predict=100, ignore_eos=True)).encode()
    async with connections(target, 600) as opened:
        for _, writer in opened:
            writer.write(body_head(target, NATIVE, len(payload), key=ATTACKER_KEY) + payload)
        await asyncio.sleep(HOLD_SECONDS)


async def _silent(target: Target) -> None:
    """Connections on which nothing is ever said."""
    async with connections(target, 200):
        await asyncio.sleep(HOLD_SECONDS)


async def _half_heads(target: Target) -> None:
    """Heads that come a line at a time."""
    async with connections(target, 200) as opened:
        for _, writer in opened:
            writer.write(b"GET / HTTP/1.1\r\n")
        await drip([w for _, w in opened], HOLD_SECONDS, lambda turn: b"X-%d: y\r\n" % turn)


async def _expecting(target: Target) -> None:
    """Heads that wait to be told to go on, without a key."""
    async with connections(target, 200) as opened:
        for _, writer in opened:
            fields = ("Content-Length: 1000", "Expect: 100-continue")
            writer.write(head(target, "POST", NATIVE, *fields, key=""))
        await drip([writer for _, writer in opened], HOLD_SECONDS, lambda turn: b"x")


async def _opened_and_reset(target: Target) -> None:
    """Requests whose clients leave at once, again and again."""
    for _ in range(10):
        await target.hang_up(50, NATIVE, completion(n_predict=200, ignore_eos=True), after_s=0.05)


ATTACKS = (
    Attack(NUMBER, "200 connections dripping after a 401", _refused_and_kept, _KEYS_FEW),
    Attack(NUMBER, "520 heads without bodies", _heads_alone, _KEYS),
    Attack(NUMBER, "520 bodies in drops", _bodies_in_drops, _KEYS),
    Attack(NUMBER, "600 requests of one key", _full_queue, _KEYS),
    Attack(NUMBER, "200 heads a line at a time", _half_heads, _FEW),
    Attack(NUMBER, "200 silent connections", _silent, _FEW),
    Attack(NUMBER, "200 clients that expect 100, without a key", _expecting, _KEYS_FEW),
    Attack(NUMBER, "500 requests that are left at once", _opened_and_reset),
)

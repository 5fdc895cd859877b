"""Keys that are reloaded while streams run, and a drain that has to cut streams off."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.processes import DEADLINE, TARGET, Server, Stream, serving, wait_until

pytestmark = pytest.mark.skipif(not TARGET.exists(), reason="the demo model is not there")

LONG = {"n_predict": 400, "ignore_eos": True}


def status(server: Server, key: str) -> int:
    return httpx.get(
        f"{server.url}/slots", headers={"X-Api-Key": key}, timeout=DEADLINE
    ).status_code


def streams_of(server: Server, key: str) -> list[Stream]:
    streams = [Stream(server, "Once upon a time", key=key, **LONG) for _ in range(3)]
    wait_until(lambda: all(stream.num_events >= 3 for stream in streams))
    return streams


def test_keys_are_read_again_and_no_stream_breaks(tmp_path: Path) -> None:
    keys, audit = tmp_path / "keys.toml", tmp_path / "audit.jsonl"
    keys.write_text('[keys.alice]\nkey = "a"\n')
    with serving("--api-keys-toml", str(keys), "--audit-log", str(audit)) as server:
        assert (status(server, "a"), status(server, "b")) == (200, 401)
        streams = streams_of(server, "a")

        keys.write_text('[keys.alice]\nkey = "secret"\nweight = 0\n')
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the keys stay as they were" in server.text)
        assert f"{keys}: keys.alice.weight: " in server.text
        assert "secret" not in server.text
        assert status(server, "a") == 200

        audit.rename(tmp_path / "old")
        keys.write_text('[keys.bob]\nkey = "b"\n')
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reloaded: 1 keys" in server.text)
        assert (status(server, "a"), status(server, "b")) == (401, 200)

        assert len({stream.join() for stream in streams}) == 1
        assert all(stream.is_whole for stream in streams)
        wait_until(lambda: len(audit.read_text().splitlines()) >= 5)
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    ended = [line for line in lines if line["path"] == "/completion"]
    assert [(line["key"], line["generated_tokens"]) for line in ended] == [("alice", 400)] * 3


def test_what_the_drain_cuts_short_ends_with_an_error() -> None:
    with serving("--shutdown-timeout", "0", "--host", "0.0.0.0") as server:
        assert "anybody who reaches this machine may use the server" in server.text
        streams = [Stream(server, "Once upon a time", **LONG) for _ in range(3)]
        wait_until(lambda: all(stream.num_events >= 3 for stream in streams))
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.join()
            assert not stream.is_whole
            assert stream.error is not None
            assert stream.error["type"] == "unavailable_error"
        assert server.process.wait(DEADLINE) == 0

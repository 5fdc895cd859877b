"""Servers that leave their cache on disk to the next server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import DEADLINE, Server, serving, wait_until

PROMPT = "In the morning the train leaves the old station by the river. " * 12


@contextmanager
def serving_from(folder: Path, *flags: str) -> Iterator[Server]:
    """A server that has loaded the folder's content; it is stopped at the end."""
    with serving("--cache-disk", str(folder), *flags) as server:
        wait_until(lambda: " prefixes, " in server.text)
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0


def complete(server: Server, prompt: str = PROMPT, *, key: str = "") -> tuple[str, int]:
    """The text of an answer, and the number of cached prompt tokens."""
    body = {"prompt": prompt, "temperature": 0, "n_predict": 24}
    answer: dict[str, Any] = httpx.post(
        f"{server.url}/completion", json=body, headers={"X-Api-Key": key}, timeout=DEADLINE
    ).json()
    return answer["content"], answer["timings"]["cache_n"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def leave_one(folder: Path) -> tuple[str, Path]:
    """A server's answer without a cache, and the file that the server left."""
    with serving_from(folder) as server:
        text, cached = complete(server)
        assert cached == 0
    (file,) = folder.iterdir()
    return text, file


def test_a_restarted_server_answers_the_same_from_a_warm_cache(folder: Path) -> None:
    text, _ = leave_one(folder)
    with serving_from(folder) as server:
        assert "loaded 1 prefixes" in server.text
        again, cached = complete(server)
        longer, also_cached = complete(server, PROMPT + "Then")
    assert again == text
    assert cached > 100
    assert also_cached > 100
    with serving("--cache-ram", "0") as server:
        assert complete(server, PROMPT + "Then") == (longer, 0)


@pytest.mark.parametrize("damage", ["changed", "cut", "foreign"])
def test_a_damaged_file_is_named_and_ignored(folder: Path, damage: str) -> None:
    text, file = leave_one(folder)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 16
    file.write_bytes(
        {"changed": bytes(content), "cut": bytes(content[:-9]), "foreign": b"GGUF" * 99}[damage]
    )
    with serving_from(folder) as server:
        assert complete(server) == (text, 0)
        lines = [line for line in server.log if str(file) in line]
    assert len(lines) == 1
    assert "ignored" in lines[0]


@pytest.mark.parametrize(
    "flags", [("-ctk", "q8_0", "-fa", "on"), ("-c", "4096"), ("-kvu",), ("-fa", "on")]
)
def test_a_file_of_another_context_is_named_and_ignored(
    folder: Path, flags: tuple[str, ...]
) -> None:
    _, file = leave_one(folder)
    with serving_from(folder, *flags) as server:
        _, cached = complete(server)
        lines = [line for line in server.log if str(file) in line]
    assert cached == 0
    assert len(lines) == 1
    assert "another context" in lines[0]


@pytest.mark.parametrize(
    ("before", "after", "found", "not_found"),
    [
        ('[keys.a]\nkey = "1"\n[keys.b]\nkey = "2"\n', None, "1", "2"),
        (
            '[keys.a]\nkey = "1"\n',
            '[keys.a]\nkey = "new"\n[keys.b]\nkey = "1"\n',
            "new",
            "1",
        ),
        (
            '[keys.a]\nkey = "1"\ncache_group = "g"\n',
            '[keys.b]\nkey = "2"\ncache_group = "g"\n[keys.a]\nkey = "1"\n',
            "2",
            "1",
        ),
    ],
    ids=["other key", "new secret", "group"],
)
def test_prefixes_keep_their_owner_over_a_restart(
    folder: Path, tmp_path: Path, before: str, after: str | None, found: str, not_found: str
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(before)
    with serving_from(folder, "--api-keys-toml", str(keys)) as server:
        text, _ = complete(server, key="1")
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    keys.write_text(after or before)
    with serving_from(folder, "--api-keys-toml", str(keys)) as server:
        assert "loaded 1 prefixes" in server.text
        assert complete(server, key=not_found)[1] == 0
        again, cached = complete(server, key=found)
    assert again == text
    assert cached > 100


def test_unnamed_keys_keep_their_prefixes_wherever_they_stand(folder: Path) -> None:
    with serving_from(folder, "--api-key", "first-secret,second-secret") as server:
        complete(server, key="second-secret")
    (file,) = folder.iterdir()
    assert b"secret" not in file.read_bytes()
    with serving_from(folder, "--api-key", "second-secret,third-secret") as server:
        assert complete(server, key="third-secret")[1] == 0
        assert complete(server, key="second-secret")[1] > 100
    with serving_from(folder) as server:  # a server without keys finds no key's prefix
        assert complete(server)[1] == 0


def test_slots_go_to_files_and_back(tmp_path: Path) -> None:
    with serving("--slot-save-path", str(tmp_path)) as server:
        text, _ = complete(server)
        slots = f"{server.url}/slots"
        saved = httpx.post(
            f"{slots}/0?action=save", json={"filename": "a"}, timeout=DEADLINE
        ).json()
        assert saved["n_saved"] > 100
        assert saved["n_written"] == (tmp_path / "a").stat().st_size
        erased = httpx.post(f"{slots}/0?action=erase", timeout=DEADLINE).json()
        assert erased == {"id_slot": 0, "n_erased": saved["n_saved"]}
        assert complete(server) == (text, 0)
        httpx.post(f"{slots}/0?action=erase", timeout=DEADLINE)
        restored = httpx.post(
            f"{slots}/2?action=restore", json={"filename": "a"}, timeout=DEADLINE
        ).json()
        assert restored["n_restored"] == saved["n_saved"]
        assert restored["n_read"] == saved["n_written"]
        again, cached = complete(server)
        assert again == text
        assert cached > 100
        missing = httpx.post(f"{slots}/9?action=erase", timeout=DEADLINE)
        assert missing.status_code == 404
        nothing = httpx.post(
            f"{slots}/0?action=restore", json={"filename": "none"}, timeout=DEADLINE
        )
        assert nothing.status_code == 400
        assert "there is no such file" in nothing.json()["error"]["message"]

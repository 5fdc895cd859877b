"""The audit log: the content of a line, and the handling of the file."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from server.access.access_record import AccessRecord
from server.access.audit_log import AuditEntry, AuditLog
from server.startup import StartupError


def entry(record: AccessRecord | None = None, path: str = "/completion") -> AuditEntry:
    return AuditEntry(
        time=1_700_000_000.25,
        request_id="id-1",
        key="alice",
        client="10.0.0.1",
        method="POST",
        path=path,
        status=200,
        seconds=1.5,
        record=record or AccessRecord(),
    )


def of_prompts(prompts: list[tuple[int, ...]]) -> AccessRecord:
    return AccessRecord(charged=dict(enumerate(prompts)))


def test_a_line_has_everything_but_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    record = AccessRecord(
        started=10.0,
        model="m",
        charged={1: (1, 2)},
        prompt_tokens=2,
        cached_tokens=1,
        generated_tokens=3,
        first_token=10.25,
        causes=["eos", "limit", "eos"],
    )
    log = AuditLog(path)
    log.write(entry(record))
    log.close()
    [line] = path.read_text().splitlines()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "id-1",
        "key": "alice",
        "client": "10.0.0.1",
        "method": "POST",
        "path": "/completion",
        "model": "m",
        "status": 200,
        "prompt_tokens": 2,
        "cached_tokens": 1,
        "generated_tokens": 3,
        "first_token_ms": 250.0,
        "total_ms": 1500.0,
        "stop": "eos,limit",
    }


def test_prompts_are_written_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, lambda record, prompt: "-".join(map(str, prompt)))
    log.write(entry(of_prompts([(1, 2), (3,)])))
    log.close()
    assert json.loads(path.read_text())["prompts"] == ["1-2", "3"]


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (of_prompts([tuple(range(100_000))]), "/completion"),
        (of_prompts([(1,) * 999] * 50), "/completion"),
        (AccessRecord(), "/" + "a" * 100_000),
        (AccessRecord(), "/" + "\N{PILE OF POO}" * 50_000),
    ],
)
def test_lines_that_wait_for_a_slow_disk_are_bounded(
    record: AccessRecord, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = threading.Event()
    log = AuditLog(tmp_path / "audit.jsonl", lambda record, prompt: str(disk.wait(10)))
    log.write(entry(of_prompts([(1,)])))  # the thread waits for the disk from here on
    for _ in range(2000):
        log.write(entry(record, path))
    disk.set()
    log.close()
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert 1 < len(lines) < 1000
    assert "lost" in caplog.text


def test_a_path_can_not_forge_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.write(entry(path='/a"\n{"key": "root"}'))
    log.close()
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_was_moved_away_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("before\n")
    log = AuditLog(path)
    log.write(entry())
    path.rename(tmp_path / "old")
    log.reopen()
    log.write(entry())
    log.write(entry())
    log.close()
    assert len((tmp_path / "old").read_text().splitlines()) == 2
    assert len(path.read_text().splitlines()) == 2


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"can't write the audit log {tmp_path}: Is a dir"):
        AuditLog(tmp_path)


def test_a_reopening_that_fails_keeps_the_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    path.rename(tmp_path / "old")
    path.mkdir()
    with caplog.at_level(logging.ERROR):
        log.reopen()
        log.write(entry())
        log.close()
    assert len(caplog.messages) == 1
    assert len((tmp_path / "old").read_text().splitlines()) == 1


def test_a_full_disk_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(Path("/dev/full"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            log.write(entry())
        log.close()
    assert any("No space left" in message for message in caplog.messages)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        AuditLog(tmp_path / "audit.jsonl").close()
    finally:
        os.umask(before)
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600

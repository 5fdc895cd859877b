"""Saved prefixes are read exactly as they were written, or not at all."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.cache_scope import NO_SCOPE, CacheScope
from scheduler.storage.fingerprint import Fingerprint
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix, read_prefix, write_prefix

HERE = Fingerprint(model="m", build="b", context="c")
PREFIX = SavedPrefix(
    [1, 2, 3, 151_000], CacheScope("tenant", (("adapter", 0.5),)), bytes(range(256)) * 3
)
ROOM = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.prefix"
    write_prefix(path, PREFIX, HERE)
    return path


def test_what_was_written_is_read(path: Path) -> None:
    prefix, size = read_prefix(path, HERE, max_bytes=ROOM)
    assert (prefix.tokens, prefix.scope) == (PREFIX.tokens, PREFIX.scope)
    assert bytes(prefix.state) == PREFIX.state
    assert size == path.stat().st_size


def test_checkpoints_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoints = ((1, b"one"), (4, bytes(range(100))), (3, b""))
    saved = replace(PREFIX, checkpoints=checkpoints)
    size = write_prefix(path, saved, HERE)
    prefix, found_size = read_prefix(path, HERE, max_bytes=ROOM)
    assert found_size == size == path.stat().st_size
    assert bytes(prefix.state) == PREFIX.state
    assert tuple((length, bytes(state)) for length, state in prefix.checkpoints) == checkpoints


@pytest.mark.parametrize("checkpoint", [(0, b"a"), (5, b"a"), (-1, b"a")])
def test_a_checkpoint_outside_of_the_tokens_is_no_content(
    tmp_path: Path, checkpoint: tuple[int, bytes]
) -> None:
    path = tmp_path / "a"
    write_prefix(path, replace(PREFIX, checkpoints=(checkpoint,)), HERE)
    with pytest.raises(PrefixFileError, match="damaged"):
        read_prefix(path, HERE, max_bytes=ROOM)


def test_a_file_without_checkpoints_is_one_that_earlier_servers_read(path: Path) -> None:
    assert path.read_bytes()[8:12] == b"\3\0\0\0"


def test_writing_says_how_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert write_prefix(path, PREFIX, HERE) == path.stat().st_size


def test_only_the_owner_may_read_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_writing_again_replaces(path: Path) -> None:
    write_prefix(path, SavedPrefix([9], NO_SCOPE, b""), HERE)
    prefix, _ = read_prefix(path, HERE, max_bytes=ROOM)
    assert (prefix.tokens, prefix.scope, bytes(prefix.state)) == ([9], NO_SCOPE, b"")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.prefix"
    write_prefix(path, replace(PREFIX, checkpoints=((2, b"two"), (3, b"three"))), HERE)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(PrefixFileError):
        read_prefix(path, HERE, max_bytes=ROOM)


def test_no_cut_or_addition_goes_unnoticed(path: Path) -> None:
    whole = path.read_bytes()
    for damaged in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(PrefixFileError):
            read_prefix(path, HERE, max_bytes=ROOM)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("model", "it is of another model"),
        ("build", r"it is of another build of llama\.cpp \(b; this is x\)"),
        ("context", r"it is of another context \(c; this is x\)"),
    ],
)
def test_what_belongs_elsewhere_is_refused(path: Path, field: str, words: str) -> None:
    elsewhere = msgspec.structs.replace(HERE, **{field: "x"})
    with pytest.raises(PrefixFileError, match=words):
        read_prefix(path, elsewhere, max_bytes=ROOM)


def test_what_is_too_large_is_refused(path: Path) -> None:
    with pytest.raises(PrefixFileError, match="more than the 100 there is room for"):
        read_prefix(path, HERE, max_bytes=100)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"x" * 5000])
def test_foreign_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(PrefixFileError, match="not a file of a saved prefix"):
        read_prefix(path, HERE, max_bytes=ROOM)


def test_errors_of_the_file_system_are_told(tmp_path: Path) -> None:
    with pytest.raises(PrefixFileError, match="there is no such file"):
        read_prefix(tmp_path / "none", HERE, max_bytes=ROOM)
    with pytest.raises(PrefixFileError, match="directory"):
        read_prefix(tmp_path, HERE, max_bytes=ROOM)
    with pytest.raises(PrefixFileError, match="no such file"):
        write_prefix(tmp_path / "none" / "a", PREFIX, HERE)


def test_a_file_that_can_not_be_finished_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr("scheduler.storage.prefix_file.os.replace", full)
    with pytest.raises(PrefixFileError, match="No space left on device"):
        write_prefix(path, SavedPrefix([1], NO_SCOPE, b""), HERE)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]

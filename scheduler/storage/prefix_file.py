"""The file format of a saved prefix. A file is used only if its digest is right.

    | magic | version, length of header | header | tokens | state of cells | checkpoints | digest |

Numbers are little-endian. A token takes four bytes. The header is msgpack. The digest is BLAKE2b
over everything before the digest. A file gets its final name only when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from scheduler.core.cache_scope import CacheScope
from scheduler.storage.fingerprint import Fingerprint

MAGIC = b"lpprefix"
VERSION = 3
VERSION_WITH_CHECKPOINTS = 4
"""Of files with checkpoints, which earlier servers can't read."""

TOKEN_BYTES = 4
DIGEST_BYTES = 32
MAX_HEADER_BYTES = 1 << 20
PARTIAL = ".partial"
"""End of the name of a file that is being written."""

_START = struct.Struct("<8sII")
_decode = msgspec.msgpack.Decoder


class PrefixFileError(Exception):
    """A file can't be used or written; the message completes the sentence "FILE: ..."."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a file."""

    fingerprint: Fingerprint
    scope: CacheScope
    num_tokens: int
    state_bytes: int
    is_checkpoint: bool
    checkpoints: tuple[tuple[int, int], ...] = ()
    """Number of tokens, and bytes, of each checkpoint."""


@dataclass(frozen=True, slots=True)
class SavedPrefix:
    """The cells of `tokens`; `state` is in the format of the backend that wrote them."""

    tokens: list[int]
    scope: CacheScope
    state: bytes | bytearray | memoryview
    is_checkpoint: bool = False
    """Whether `state` is a checkpoint after `tokens`, without their cells."""
    is_portable: bool = False
    """Whether `state` is as a file of llama.cpp holds it. Then nobody has checked it."""
    checkpoints: tuple[tuple[int, bytes | bytearray | memoryview], ...] = ()
    """States that take the cells back, each after how many of the tokens; the oldest first."""


def write_prefix(path: Path, prefix: SavedPrefix, fingerprint: Fingerprint) -> int:
    """Write a file that only its owner can read, and replace an earlier one.

    Returns the bytes of the file. Raises `PrefixFileError`.
    """
    header = Header(
        fingerprint=fingerprint,
        scope=prefix.scope,
        num_tokens=len(prefix.tokens),
        state_bytes=memoryview(prefix.state).nbytes,
        is_checkpoint=prefix.is_checkpoint,
        checkpoints=tuple((n, memoryview(state).nbytes) for n, state in prefix.checkpoints),
    )
    packed = msgspec.msgpack.encode(header)
    version = VERSION_WITH_CHECKPOINTS if prefix.checkpoints else VERSION
    parts = (
        _START.pack(MAGIC, version, len(packed)),
        packed,
        _little_endian(array("i", prefix.tokens)).tobytes(),
        prefix.state,
        *(state for _, state in prefix.checkpoints),
    )
    with file_errors(), replacing(path) as file:
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for part in parts:
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
        return file.tell()


def read_prefix(path: Path, fingerprint: Fingerprint, *, max_bytes: int) -> tuple[SavedPrefix, int]:
    """The content of a file, and its size in bytes.

    Raises `PrefixFileError` if the file is damaged, was written for another fingerprint, or is
    larger than `max_bytes`. Of a file with another fingerprint, only the header is read.
    """
    with file_errors(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        header = _read_header(file, digest)
        difference = fingerprint.difference(header.fingerprint)
        if difference:
            raise PrefixFileError(difference)
        if size > max_bytes:
            raise PrefixFileError(
                f"it has {size} bytes, more than the {max_bytes} there is room for"
            )
        if size != file.tell() + _body_bytes(header) + DIGEST_BYTES:
            raise PrefixFileError("it is damaged: its length is wrong")
        return _read_rest(file, header, digest), size


def _body_bytes(header: Header) -> int:
    """Bytes between header and digest. Raises `PrefixFileError` for sizes that can't be."""
    sizes = [size for _, size in header.checkpoints]
    lengths = [length for length, _ in header.checkpoints]
    if min(header.num_tokens, header.state_bytes, *sizes) < 0 or not all(
        0 < length <= header.num_tokens for length in lengths
    ):
        raise PrefixFileError("it is damaged: its length is wrong")
    return TOKEN_BYTES * header.num_tokens + header.state_bytes + sum(sizes)


def _read_header(file: BinaryIO, digest: hashlib.blake2b) -> Header:
    start = file.read(_START.size)
    if len(start) < _START.size or not start.startswith(MAGIC):
        raise PrefixFileError("it is not a file of a saved prefix")
    _, version, length = _START.unpack(start)
    if version not in (VERSION, VERSION_WITH_CHECKPOINTS):
        raise PrefixFileError(
            f"it has version {version} of the format; this is {VERSION_WITH_CHECKPOINTS}"
        )
    if length > MAX_HEADER_BYTES:
        raise PrefixFileError("it is damaged: its header can't be read")
    packed = file.read(length)
    digest.update(start)
    digest.update(packed)
    try:
        return _decode(Header).decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise PrefixFileError("it is damaged: its header can't be read") from None


def _read_rest(file: BinaryIO, header: Header, digest: hashlib.blake2b) -> SavedPrefix:
    body = bytearray(_body_bytes(header))
    view = memoryview(body)
    done = 0
    while done < len(body):
        count = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise PrefixFileError("it is damaged: it ends too early")
        done += count
    digest.update(body)
    if file.read(DIGEST_BYTES) != digest.digest():
        raise PrefixFileError("it is damaged: its digest is wrong")
    tokens = array("i", bytes(view[: TOKEN_BYTES * header.num_tokens]))
    view = view[TOKEN_BYTES * header.num_tokens :]
    state, view = view[: header.state_bytes], view[header.state_bytes :]
    checkpoints = []
    for length, size in header.checkpoints:
        checkpoints.append((length, view[:size]))
        view = view[size:]
    return SavedPrefix(
        list(_little_endian(tokens)),
        header.scope,
        state,
        is_checkpoint=header.is_checkpoint,
        checkpoints=tuple(checkpoints),
    )


def _little_endian(tokens: array[int]) -> array[int]:
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        tokens.byteswap()
    return tokens


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Raises `PrefixFileError` for any `OSError` of the block."""
    try:
        yield
    except FileNotFoundError:
        raise PrefixFileError("there is no such file") from None
    except OSError as error:
        raise PrefixFileError(error.strerror or str(error)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that replaces `path` if the block ends well. Otherwise it is removed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=PARTIAL)
    try:
        with open(handle, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise

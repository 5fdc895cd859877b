"""Owners of cached prefixes: equal for keys that share, and telling nothing about a secret."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from server.access import cache_owner
from server.access.key import ApiKey, digest_of

OWNERS = [
    cache_owner.of_key("alice"),
    cache_owner.of_key("bob"),
    cache_owner.of_group("alice"),
    cache_owner.of_group("key"),
    cache_owner.of_secret(digest_of(b"alice")),
    cache_owner.of_secret(digest_of(b"bob")),
]


def test_no_two_owners_have_a_salt_in_common() -> None:
    given = ["", "alice", "s", "s" * 256, "key:alice"]
    salts = [cache_owner.salt_of(*pair) for pair in itertools.product(OWNERS, given)]
    assert len(set(salts)) == len(OWNERS) * len(given)


def test_what_belongs_to_everybody_has_the_salt_that_was_given() -> None:
    assert cache_owner.salt_of(cache_owner.EVERYBODY, "") == ""
    assert cache_owner.salt_of(cache_owner.EVERYBODY, "s") == "s"


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("given", ["", "s", "é\U0001f600", "x" * 256])
def test_a_salt_can_not_be_sent_or_read(owner: str, given: str) -> None:
    salt = cache_owner.salt_of(owner, given)
    assert salt == cache_owner.salt_of(owner, given)
    assert salt.startswith("\0")  # which no client can send
    assert len(salt) == 33
    assert "alice" not in salt


@pytest.mark.parametrize("secret", [b"a", b"sk-1234", b"\xff" * 300])
def test_an_unnamed_key_is_told_by_a_slow_hash_of_its_secret(secret: bytes) -> None:
    key = ApiKey(name="api-key-1", digest=digest_of(secret))
    moved = ApiKey(name="api-key-2", digest=digest_of(secret))
    assert key.salt("s") == moved.salt("s") != key.salt("")
    quick = [hash_(secret).hexdigest() for hash_ in (hashlib.sha256, hashlib.blake2b)]
    owner = cache_owner.of_secret(key.digest)
    assert not any(digest.startswith(owner.removeprefix("secret:")[:8]) for digest in quick)


def test_a_named_key_keeps_its_owner_when_its_secret_changes() -> None:
    old, new = (
        ApiKey(name="a", digest=digest_of(secret), cache_owner=cache_owner.of_key("a"))
        for secret in (b"old", b"new")
    )
    assert old.salt("") == new.salt("")

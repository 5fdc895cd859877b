"""Keys from flags and files: found in constant time, and replaced without losing accounts."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from config import ConfigError, load_settings
from server.access import cache_owner
from server.access.key import ApiKey, KeyQuota, digest_of
from server.access.key_ring import KeyRing, read_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def keys_of(path: Path, *flags: str) -> list[ApiKey]:
    return read_keys(load_settings(["--api-keys-toml", str(path), *flags], {}))


def test_a_named_key_has_what_the_file_says(path: Path) -> None:
    digest = hashlib.sha256(b"secret-b").hexdigest()
    path.write_text(
        '[keys.alice]\nkey = "secret-a"\n'
        f'[keys."bob@work"]\nkey_sha256 = "{digest}"\nrequests_per_minute = 1\n'
        'tokens_per_minute = 2\nmax_concurrent = 3\nweight = 0.5\nmax_priority = 7\n'
        'models = ["m"]\nadmin = true\nisolate = true\n'
    )  # fmt: skip
    alice, bob = keys_of(path)
    assert alice == ApiKey(
        name="alice",
        digest=digest_of(b"secret-a"),
        max_priority=0,
        is_admin=False,
        cache_owner=cache_owner.of_key("alice"),
    )
    assert bob == ApiKey(
        name="bob@work",
        digest=digest_of(b"secret-b"),
        quota=KeyQuota(1, 2, 3),
        weight=0.5,
        max_priority=7,
        models=frozenset({"m"}),
        is_admin=True,
        cache_owner=cache_owner.of_key("bob@work"),
    )
    assert "secret" not in repr(alice)


def test_unnamed_keys_have_no_limits(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("k2\n# no key\nk3\nk1\n")
    keys = read_keys(load_settings(["--api-key", "k1", "--api-key-file", str(lines)], {}))
    assert [key.name for key in keys] == ["api-key-1", "api-key-file-1", "api-key-file-2"]
    assert all(key.is_admin and key.max_priority is None for key in keys)
    assert all(key.quota == KeyQuota() for key in keys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[keys.a]", "keys.a: must have either key or key_sha256"),
        ("[keys.a]\nkey='s'\nkey_sha256='" + "0" * 64 + "'", "keys.a: must have either"),
        ("[keys.a]\nkey=''", "keys.a.key: string should have at least 1 character"),
        ("[keys.a]\nkey_sha256='secret'", "keys.a.key_sha256: string should match pattern"),
        ("[keys.a]\nkey='secret'\nweight=0", "keys.a.weight: input should be greater than 0"),
        ("[keys.a]\nkey='secret'\nweight=nan", "keys.a.weight: input should be a finite number"),
        ("[keys.a]\nkey='secret'\nmax_concurrent=0", "keys.a.max_concurrent: input should be"),
        ("[keys.a]\nkey='secret'\nrpm=1", "keys.a.rpm: extra inputs are not permitted"),
        ("[keys.a]\nkey='secret'\ncache_group=''", "keys.a.cache_group: string should match"),
        ("[keys.a]\nkey='secret'\ncache_group='a b'", "keys.a.cache_group: string should match"),
        ("[keys.a]\nkey='secret'\ncache_group=1", "keys.a.cache_group: input should be a valid"),
        (
            "[keys.a]\nkey='secret'\nisolate=true\ncache_group='g'",
            "keys.a: must not have both isolate and cache_group",
        ),
        ("[keys.a]\nkey='secret'\nmodels=[]", "keys.a.models: list should have at least 1 item"),
        ("[keys.'a b']\nkey='secret'", "keys.a b: string should match pattern"),
        ("[keys.api-key-1]\nkey='secret'", "keys.api-key-1: must not start with api-key-"),
        ("[a]\nkey='secret'", "keys: field required"),
        ("[keys]", "keys: dictionary should have at least 1 item"),
        ("[keys.a]\nkey='secret'\n[keys.b]\nkey='secret'", "keys.b: is the same key as a"),
        ("[keys.a]\nkey='k1'", "keys.a: is the same key as api-key-1"),
    ],
)
def test_a_wrong_file_gets_one_line_without_the_key(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        keys_of(path, "--api-key", "k1")
    line = str(caught.value)
    assert line.startswith(f"{path}: {message}")
    assert "\n" not in line
    assert "secret" not in line


FIVE = """
[keys.a]
key = "1"
[keys.b]
key = "2"
isolate = true
[keys.c]
key = "3"
cache_group = "g"
[keys.d]
key = "4"
cache_group = "g"
[keys.e]
key = "5"
cache_group = "a"
"""


@pytest.mark.parametrize(
    ("flags", "groups"),
    [
        ((), [["a"], ["b"], ["c", "d"], ["e"], ["api-key-1"]]),
        (("--cache-sharing", "key"), [["a"], ["b"], ["c", "d"], ["e"], ["api-key-1"]]),
        (("--cache-sharing", "all"), [["a", "api-key-1"], ["b"], ["c", "d"], ["e"]]),
    ],
)
def test_who_shares_cached_prefixes(
    path: Path, flags: tuple[str, ...], groups: list[list[str]]
) -> None:
    path.write_text(FIVE)
    by_salt: dict[str, list[str]] = {}
    for key in keys_of(path, "--api-key", "k", *flags):
        by_salt.setdefault(key.salt("s"), []).append(key.name)
        assert key.salt("s") != key.salt("")
    assert sorted(map(sorted, by_salt.values())) == sorted(groups)


def test_an_unnamed_key_that_moves_up_gets_no_other_keys_prefixes(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    salts = []
    for content in ("k1\nk2\n", "k2\n"):
        lines.write_text(content)
        keys = read_keys(load_settings(["--api-key-file", str(lines)], {}))
        salts.append({key.name: key.salt("") for key in keys})
    assert salts[1]["api-key-file-1"] == salts[0]["api-key-file-2"]


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def counting(given: bytes, known: bytes) -> bool:
        compared.append(known)
        return compare(given, known)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    ring = KeyRing([ApiKey(name=name, digest=digest_of(name.encode())) for name in "abc"])
    for given in (b"a", b"c", b"x"):
        compared.clear()
        found = ring.find(given)
        assert len(compared) == 3
        assert (found is None) is (given == b"x")


def test_accounts_go_on_under_names_that_stay() -> None:
    old = ApiKey(name="a", digest=digest_of(b"1"), quota=KeyQuota(requests_per_minute=5))
    ring = KeyRing([old, ApiKey(name="b", digest=digest_of(b"2"))])
    found = ring.find(b"1")
    assert found is not None
    found.account.begin(0)
    ring.replace([ApiKey(name="a", digest=digest_of(b"3"), quota=KeyQuota(9))], 0)
    assert ring.find(b"1") is ring.find(b"2") is None
    renewed = ring.find(b"3")
    assert renewed is not None
    assert renewed.account is found.account
    assert renewed.account.quota.requests_per_minute == 9
    assert len(ring) == 1

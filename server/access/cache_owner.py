"""Who may reuse a key's cached prefixes: the keys whose cache owner is the same.

An owner is told apart by a name or by a slow hash, so that a prefix keeps its owner over restarts,
also in files. A key of a keys file that gets another secret keeps its prefixes.
"""

from __future__ import annotations

import functools
import hashlib

EVERYBODY = ""
"""The owner of prefixes that any key may reuse, and of all prefixes of a server without keys."""

_SECRETS_SALT = b"llamapack: owner of cached prefixes"
_SALT_BYTES = 16


def of_key(name: str) -> str:
    """The owner for one key of a keys file alone."""
    return f"key:{name}"


def of_group(name: str) -> str:
    """The owner for all keys of a group."""
    return f"group:{name}"


@functools.lru_cache(maxsize=4096)
def of_secret(digest: bytes) -> str:
    """The owner for a key without a name of its own, by the digest of its secret.

    The place of such a key among others may change, so its number is no name. A secret may be weak,
    and the result gets into files: the hash takes about 40 ms, so that guessing takes long.
    """
    # The salt is fixed: another server with the same folder has to find the same owner.
    slow = hashlib.scrypt(digest, salt=_SECRETS_SALT, n=2**14, r=8, p=1, dklen=_SALT_BYTES)
    return f"secret:{slow.hex()}"


def salt_of(owner: str, given: str) -> str:
    """The salt of an owner's prefixes; `given` is the request's own salt.

    Clients can't send the NUL with which it begins. The owner can't be read from it.
    """
    if owner == EVERYBODY:
        return given
    digest = hashlib.blake2b(f"{owner}\0{given}".encode(), digest_size=_SALT_BYTES)
    return f"\0{digest.hexdigest()}"

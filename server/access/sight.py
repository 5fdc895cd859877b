"""Who sees what of whom: whose requests a client may look into."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from server.access.access_record import access_record


def sees(connection: HTTPConnection, owner: str) -> bool:
    """Whether this client may look into the requests of the key with this name.

    On a server without keys everybody may look into everything. With keys, an admin's key may, and
    each key sees its own requests.
    """
    key = access_record(connection.scope).key
    return key is None or key.is_admin or key.name == owner

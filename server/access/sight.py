"""Who sees what of whom: whose requests a client may look into."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from server.access.access_record import access_record


def sees(connection: HTTPConnection, owner: str) -> bool:
    """Whether this client may look into the requests of the key with this name.

    On a server without keys everybody may look into everything. With keys, an admin's key may, and
    each key sees its own requests.
    """
    access = access_record(connection.scope)
    return access.is_admin or access.tenant == owner

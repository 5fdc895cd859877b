"""The endpoints for routers."""

from __future__ import annotations

from server.endpoints import get
from server.replica.blocks import get_blocks
from server.replica.load import get_is_sleeping, get_load

ENDPOINTS = (
    get(get_load, "/load"),
    get(get_is_sleeping, "/is_sleeping"),
    get(get_blocks, "/kv_events/blocks", for_admins=True),
)

"""Status codes that HTTP doesn't define."""

from __future__ import annotations

CLIENT_GONE = 499
"""The status in the log for a request whose client left before any answer."""

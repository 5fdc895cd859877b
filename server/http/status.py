"""Status codes that HTTP doesn't define."""

from __future__ import annotations

CLIENT_GONE = 499
"""What the log calls the status of a request whose client left before any answer."""

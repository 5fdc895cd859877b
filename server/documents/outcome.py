"""What the answers of a confined reader begin with."""

from __future__ import annotations

TEXT, REFUSAL = b"T", b"R"
"""A text follows, or the reason why there is none."""

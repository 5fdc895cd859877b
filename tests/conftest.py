"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow, and no test depends on the clock.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

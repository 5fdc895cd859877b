"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine is slow, and no test depends on the clock.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the server does."""
    return "asyncio"

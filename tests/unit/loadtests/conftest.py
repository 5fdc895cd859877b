from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from loadtests.harness.client import Address
from loadtests.harness.prompts import PromptSource
from tests.support.fake_load_target import StartServer, running


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers in separate threads; the servers end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda script: Address("127.0.0.1", stack.enter_context(running(script)))


@pytest.fixture
def prompts() -> PromptSource:
    return PromptSource(tuple(range(100, 1000)))

"""llama.cpp's log lines in Python's logging."""

from __future__ import annotations

import ctypes
import gc
import logging
import weakref
from collections.abc import Iterator

import pytest
from llama_cpp import llama_cpp as lib

from logs.llama_log import LogBridge

SILENT = lib.llama_log_callback(lambda *_: None)


@pytest.fixture(autouse=True)
def _silent_afterwards() -> Iterator[None]:
    yield
    lib.llama_log_set(SILENT, ctypes.c_void_p(0))


def test_what_llama_cpp_calls_is_not_collected() -> None:
    bridge = LogBridge()
    bridge.install()
    alive = weakref.ref(bridge)
    del bridge
    gc.collect()
    assert alive() is not None


def test_errors_are_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    bridge = LogBridge()
    bridge.install()
    with caplog.at_level(logging.DEBUG, logger="llama.cpp"):
        assert not lib.llama_model_load_from_file(b"/no/such", lib.llama_model_default_params())
    assert "/no/such" in caplog.text
    assert bridge.last_error

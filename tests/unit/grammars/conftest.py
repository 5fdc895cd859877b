from __future__ import annotations

from collections.abc import Iterator

import llama_cpp
import pytest

from scheduler.constraint import TokenVocabulary, vocabulary_of_llama
from tests.support.paths import DEMO_TARGET

DEMO_MODEL = DEMO_TARGET


SILENT = llama_cpp.llama_log_callback(lambda *_: None)
"""llama.cpp keeps the pointer, so the callback must not be garbage-collected."""


@pytest.fixture(scope="session")
def demo_vocabulary() -> Iterator[TokenVocabulary]:
    """The vocabulary of the demo model: 2,048 tokens, ChatML's control tokens, byte-level BPE."""
    if not DEMO_MODEL.exists():
        pytest.skip("the demo model has not been built")
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(SILENT, None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(DEMO_MODEL).encode(), parameters)
    yield vocabulary_of_llama(llama_cpp.llama_model_get_vocab(model))
    llama_cpp.llama_model_free(model)

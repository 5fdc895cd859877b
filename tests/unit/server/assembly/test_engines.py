"""What the log tells of a model that is ready."""

from __future__ import annotations

import pytest

from server.assembly.engines import slots_in_words
from tests.support.fake_server import FakeEngine

MORE = "(of 8192 that the model was trained for: --ctx-size, --parallel and --kv-unified decide)"


@pytest.mark.parametrize(
    ("n_trained", "words"),
    [
        (8192, f"4 slots of 128 tokens {MORE}"),
        (128, "4 slots of 128 tokens"),
        (64, "4 slots of 128 tokens"),
        (0, "4 slots of 128 tokens"),
    ],
)
def test_a_slot_with_less_than_the_model_can_take_says_what_decides(
    n_trained: int, words: str
) -> None:
    assert slots_in_words(FakeEngine().model, n_trained) == words

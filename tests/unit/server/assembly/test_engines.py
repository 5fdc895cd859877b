"""What the log tells of a model that is ready."""

from __future__ import annotations

import msgspec
import pytest

from server.assembly.engines import slots_in_words
from tests.support.fake_server import FakeEngine

MORE = "(of 8192 that the model was trained for: --ctx-size, --parallel and --kv-unified decide)"
MORE_SHARED = "(of 8192 that the model was trained for: --ctx-size decides)"


def test_slots_that_share_the_context_are_told_as_such() -> None:
    model = msgspec.structs.replace(FakeEngine().model, is_unified=True)
    assert slots_in_words(model, 128) == "4 slots that share 128 tokens"
    assert slots_in_words(model, 8192) == f"4 slots that share 128 tokens {MORE_SHARED}"


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

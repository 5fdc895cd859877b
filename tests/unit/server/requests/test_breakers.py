"""Sequence breakers are bounded by the tokens in which they stand."""

from __future__ import annotations

import pytest

from server.errors import InvalidRequest
from server.requests.breakers import check_breakers
from tests.support.fake_server import ByteTokenizer


class Words(ByteTokenizer):
    """A vocabulary of 1,600 words that end with x."""

    n_vocab = 1600

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return f"{token:04}x".encode()


@pytest.mark.parametrize(
    "breakers", [["\n", ":", '"', "*"], ["0001"], ["0012", "0077"], ["12", "34", "56"], [""]]
)
def test_rare_breakers_are_fine(breakers: list[str]) -> None:
    check_breakers(breakers, Words())


@pytest.mark.parametrize("breakers", [["x"], ["0"], ["\n", "xyz"], ["1", "2", "5"]])
def test_breakers_in_many_tokens_are_refused(breakers: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="fewer tokens of the vocabulary than 800") as caught:
        check_breakers(breakers, Words())
    assert caught.value.param == "dry_sequence_breakers"

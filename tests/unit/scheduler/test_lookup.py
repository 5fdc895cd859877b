"""Guesses that are looked up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.lookup import SequenceLookup, SharedLookup


class TestSequenceLookup:
    def test_what_followed_before_may_follow_again(self) -> None:
        tokens = [1, 2, 3, 4, 5, 6, 9, 1, 2, 3]
        assert SequenceLookup(3).guess(tokens, 2) == [4, 5]

    def test_the_latest_place_counts(self) -> None:
        assert SequenceLookup(2).guess([1, 2, 7, 1, 2, 8, 1, 2], 1) == [8]

    def test_new_text_has_no_guess(self) -> None:
        assert SequenceLookup(3).guess([1, 2, 3, 4, 5], 4) == []
        assert SequenceLookup(3).guess([1], 4) == []

    def test_several_hits_can_be_asked_for(self) -> None:
        lookup = SequenceLookup(2, min_hits=2)
        assert lookup.guess([1, 2, 7, 1, 2], 1) == []
        assert lookup.guess([1, 2, 7, 1, 2, 8, 1, 2], 1) == [8]

    @given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 4))
    def test_it_finds_what_a_search_finds(self, text: list[int], size: int) -> None:
        lookup = SequenceLookup(size)
        for end in range(1, len(text) + 1):
            tokens = text[:end]
            places = [
                start + size
                for start in range(end - size)
                if tokens[start : start + size] == tokens[end - size :]
            ]
            expected = tokens[places[-1] : places[-1] + 3] if places else []
            assert lookup.guess(tokens, 3) == expected


class TestSharedLookup:
    def test_one_sequence_learns_from_another(self) -> None:
        lookup = SharedLookup(2)
        lookup.read([1, 2, 3, 4, 5], 0, "scope")
        assert lookup.guess([9, 1, 2], 3, "scope") == [3, 4, 5]

    def test_scopes_are_apart(self) -> None:
        lookup = SharedLookup(2)
        lookup.read([1, 2, 3, 4, 5], 0, "alice")
        assert lookup.guess([1, 2], 3, "bob") == []

    def test_reading_goes_on_where_it_stopped(self) -> None:
        lookup = SharedLookup(2)
        tokens = [1, 2, 3]
        lookup.read(tokens, 0, "")
        tokens += [4, 5]
        lookup.read(tokens, 3, "")
        assert lookup.guess([1, 2], 9, "") == [3, 4, 5]

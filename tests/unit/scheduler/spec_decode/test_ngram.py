"""N-gram drafts: what followed the same tokens before."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from scheduler.spec_decode.ngram import MAX_PLACES, NO_DRAFT, SequenceNgrams, SharedNgrams


class TestSequenceNgrams:
    def test_what_followed_before_may_follow_again(self) -> None:
        tokens = [1, 2, 3, 4, 5, 6, 9, 1, 2, 3]
        assert SequenceNgrams(3).draft(tokens, 2) == ([4, 5], 3)

    def test_the_latest_place_counts(self) -> None:
        assert SequenceNgrams(2).draft([1, 2, 7, 1, 2, 8, 1, 2], 1) == ([8], 2)

    def test_the_place_with_more_in_common_counts_more(self) -> None:
        tokens = [5, 1, 2, 7, 9, 1, 2, 8, 5, 1, 2]
        assert SequenceNgrams(2).draft(tokens, 1) == ([7], 3)

    def test_new_text_has_no_draft(self) -> None:
        assert SequenceNgrams(3).draft([1, 2, 3, 4, 5], 4) == NO_DRAFT
        assert SequenceNgrams(3).draft([1], 4) == NO_DRAFT

    def test_several_hits_can_be_asked_for(self) -> None:
        ngrams = SequenceNgrams(2, min_hits=2)
        assert ngrams.draft([1, 2, 7, 1, 2], 1) == NO_DRAFT
        assert ngrams.draft([1, 2, 7, 1, 2, 8, 1, 2], 1).tokens == [8]

    @given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
    def test_it_finds_what_a_search_finds(self, text: list[int], size: int) -> None:
        ngrams = SequenceNgrams(size)
        for end in range(1, len(text) + 1):
            tokens = text[:end]
            found = ngrams.draft(tokens, 3)
            places = [p for p in range(size, end) if tokens[p - size : p] == tokens[-size:]]
            assert bool(found.tokens) == bool(places)
            if places:
                longest = max(places[-MAX_PLACES:], key=lambda p: (equal_before(tokens, p), p))
                expected = tokens[longest : longest + 3]
                assert found == (expected, equal_before(tokens, longest))


def equal_before(tokens: list[int], place: int) -> int:
    pairs = zip(reversed(tokens[:place]), reversed(tokens), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


class TestSharedNgrams:
    def test_one_sequence_learns_from_another(self) -> None:
        ngrams = SharedNgrams(2)
        ngrams.read([1, 2, 3, 4, 5], 0, "scope")
        assert ngrams.draft([9, 1, 2], 3, "scope") == [3, 4, 5]

    def test_scopes_are_apart(self) -> None:
        ngrams = SharedNgrams(2)
        ngrams.read([1, 2, 3, 4, 5], 0, "alice")
        assert ngrams.draft([1, 2], 3, "bob") == []

    def test_reading_goes_on_where_it_stopped(self) -> None:
        ngrams = SharedNgrams(2)
        tokens = [1, 2, 3]
        ngrams.read(tokens, 0, "")
        tokens += [4, 5]
        ngrams.read(tokens, 3, "")
        assert ngrams.draft([1, 2], 9, "") == [3, 4, 5]

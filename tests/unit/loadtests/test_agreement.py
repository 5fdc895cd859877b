"""The demo pair: the tokens that the draft model predicts of an answer, in one pass."""

from __future__ import annotations

from loadtests.agreement import draft_model, tokenize
from loadtests.inflated import DRAFT, TARGET

PROMPT = "<|im_start|>user\nCount from 1 to 9.<|im_end|>\n<|im_start|>assistant\n"


def test_a_pass_over_an_answer_tells_what_drafting_token_by_token_would() -> None:
    [prompt, *answers] = tokenize(TARGET, [PROMPT, "1, 2, 3, 4, 5", "1, 2, 9, 4"])
    with draft_model(DRAFT, threads=1) as draft:
        for answer in answers:
            by_one = [
                draft.is_right([*prompt, *answer[:end]], answer[end : end + 2])[0]
                for end in range(len(answer) - 1)
            ]
            assert draft.is_right(prompt, answer) == by_one
        assert draft.seconds_per_token() > 0


def test_control_tokens_are_read_as_such() -> None:
    [[*tokens]] = tokenize(TARGET, ["<|im_start|>user"])
    assert len(tokens) < len("user")

"""The matcher protocol: what the sampler of one sequence needs of a constraint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Matcher(Protocol):
    """Where one sequence stands in its constraint, and which tokens may come next.

    End tokens are allowed exactly where the answer may end, or where the grammar names them. All
    methods are for one thread at a time, and raise `ConstraintFailed`.

    A sampler may draw first, ask `allows`, and mask only after a refusal. `allows` and
    `apply_mask` agree on every token. So a second draw from the masked logits gives each allowed
    token the probability that it has under the mask alone:
    p(x) + p(refused) · p(x) / p(allowed) = p(x) / p(allowed). That holds for a temperature and
    for penalties, which act on each token by itself. It does not hold for samplers that truncate
    (top-k, top-p, min-p, typical, ...): they see other candidates under the mask. There, an
    allowed first draw comes from the model's own truncation.
    """

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        ...

    def mask(self) -> NDArray[np.bool_]:
        """Which tokens may come next: a fresh array of shape (n_vocab,)."""
        ...

    def apply_mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits, shape (n_vocab,), of all tokens that may not come next to -inf."""
        ...

    @property
    def refused(self) -> tuple[int, ...] | None:
        """All tokens that may not come next; None if only a mask can tell."""
        ...

    @property
    def is_prepared(self) -> bool:
        """Whether `mask` and `apply_mask` are cheap now."""
        ...

    def prepare(self) -> None:
        """Compute the mask of the current state now, so that using the mask later is cheap.

        May run in another thread, without the GIL, while nothing else uses this matcher.
        """
        ...

    def accept(self, token: int) -> None:
        """Add `token` to the answer."""
        ...

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next; an empty list if the grammar leaves a choice.

        They are the tokens that the tokenizer makes of the forced text. A last token that later
        text could change is left out. The tokens are not accepted yet.
        """
        ...

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        ...

    def clone(self) -> Matcher:
        """Return an independent matcher in the same state."""
        ...


def allowed_in_turn(matcher: Matcher, tokens: Sequence[int]) -> int:
    """How many of these tokens the matcher allows one after the other. It accepts them."""
    for n_allowed, token in enumerate(tokens):
        if not matcher.allows(token):
            return n_allowed
        matcher.accept(token)
    return len(tokens)

"""What the sampler needs of a constraint: one matcher for each constrained sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Matcher(Protocol):
    """Where one sequence stands in its constraint, and which tokens may come next.

    Tokens that end a generation are allowed exactly where the answer may end (or where the
    grammar names them). All methods but the constructor are for one thread at a time, and raise
    `ConstraintFailed`.

    Sample first, ask `allows`, and mask only after a refusal: `allows` and `apply_mask` agree on
    every token, so drawing again from the masked logits after a refused draw gives each allowed
    token the probability that it has under the mask alone: p(x) + p(refused) · p(x) / p(allowed),
    which is p(x) / p(allowed). That holds for a temperature and for penalties, which act on each
    token by itself. A sampler that truncates (top-k, top-p, min-p, typical, ...) sees other
    candidates once the others are masked; then an allowed first draw comes from the model's own
    truncation, and the mask decides only after a refusal.
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
        """The only tokens that may not come next, where that is known without a mask; else None."""
        ...

    def prepare(self) -> None:
        """Compute the mask of the current state now, so that using it later is cheap.

        May run in another thread, without the GIL, while nobody else touches this matcher.
        """
        ...

    def accept(self, token: int) -> None:
        """Go on with `token`."""
        ...

    def forced_tokens(self) -> list[int]:
        """The tokens that must come next, if the grammar leaves no choice; else an empty list.

        They are those that the tokenizer makes of the forced text, and stop short of a token
        that text after it could change. They aren't accepted yet.
        """
        ...

    def validate_draft(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, may come next one after the other."""
        ...

    def clone(self) -> Matcher:
        """Return an independent matcher in the same state."""
        ...

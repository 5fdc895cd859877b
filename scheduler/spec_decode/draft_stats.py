"""What the draft model's drafts amount to, on average."""

from __future__ import annotations

from scheduler.core.running_mean import RunningMean

DRAFT_DECAY = 0.98
"""Weight that older drafts keep with each newer draft: about fifty drafts count."""

IDLE_FADE = 0.01
"""Share of its weight that experience loses in each step without a draft."""

MIN_SAMPLES = 8.0
"""Weight, in drafts, from which the means are relied on."""


class DraftStats:
    """Running means over drafts. Drafts of which nothing was worth verifying count too."""

    def __init__(self) -> None:
        self._drafted = RunningMean(DRAFT_DECAY)
        self._verified = RunningMean(DRAFT_DECAY)
        self._accepted = RunningMean(DRAFT_DECAY)

    def observe(self, num_drafted: int, num_verified: int, num_accepted: int) -> None:
        """Add one draft, by its numbers of tokens."""
        self._drafted.observe(num_drafted)
        self._verified.observe(num_verified)
        self._accepted.observe(num_accepted)

    def fade(self) -> None:
        """Weigh a little less, after a step without a draft. After enough such steps the means
        are not known any more."""
        for mean in (self._drafted, self._verified, self._accepted):
            mean.fade(IDLE_FADE)

    @property
    def is_known(self) -> bool:
        """Whether there were enough drafts to rely on the means."""
        return self._drafted.weight >= MIN_SAMPLES

    @property
    def drafted(self) -> float:
        """Tokens that the draft model computed, per draft."""
        return self._drafted.value

    @property
    def verified(self) -> float:
        """Tokens that the model was given to verify, per draft."""
        return self._verified.value

    @property
    def accepted(self) -> float:
        """Tokens that the model accepted, per draft."""
        return self._accepted.value

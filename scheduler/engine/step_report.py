"""The report of a step: what is sent of it, and what is learnt from it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from protocol.messages import StepOutputs


class StepReport:
    """Makes the outputs of a step when somebody first asks for them, in any thread, and learns.

    No sequence waits for that. So it is done while the next step computes, best in a thread of
    its own. The outputs are made first, because clients wait for them.
    """

    def __init__(
        self,
        end: float,
        make: Callable[[], StepOutputs],
        learn: Callable[[], None] = lambda: None,
    ) -> None:
        """`end` is when the step ended, in seconds of the engine's clock."""
        self.end = end
        self._make: Callable[[], StepOutputs] | None = make
        self._learn: Callable[[], None] | None = learn
        self._outputs: StepOutputs | None = None
        self._lock = Lock()

    @property
    def is_settled(self) -> bool:
        """Whether the outputs are made, and everything is learnt."""
        return self._learn is None

    def outputs(self) -> StepOutputs:
        """The outputs. Whoever asks while another thread makes them waits for it."""
        with self._lock:
            self._see_to_outputs()
            assert self._outputs is not None
            return self._outputs

    def take(self) -> StepOutputs:
        """The outputs, which are forgotten: it takes time to free them."""
        outputs, self._outputs = self.outputs(), None
        return outputs

    def settle(self) -> None:
        """Make the outputs, and learn from the step, unless that is done."""
        with self._lock:
            self._see_to_outputs()
            if self._learn is not None:
                self._learn()
                self._learn = None

    def _see_to_outputs(self) -> None:
        if self._make is not None:
            self._outputs = self._make()
            self._make = None

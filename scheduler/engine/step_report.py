"""The report of a step: what is sent of it, and what is learnt from it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from protocol.messages import StepOutputs


class StepReport:
    """Makes the outputs of a step when somebody first asks for them, in any thread.

    No sequence waits for that. So it is done while the next step computes, best in a thread of
    its own.
    """

    def __init__(self, end: float, make: Callable[[], StepOutputs]) -> None:
        """`end` is when the step ended, in seconds of the engine's clock."""
        self.end = end
        self._make: Callable[[], StepOutputs] | None = make
        self._outputs: StepOutputs | None = None
        self._lock = Lock()

    @property
    def is_made(self) -> bool:
        """Whether somebody has asked for the outputs, and got them."""
        return self._make is None

    def outputs(self) -> StepOutputs:
        """The outputs. Whoever asks while another thread makes them waits for it."""
        with self._lock:
            if self._make is not None:
                self._outputs = self._make()
                self._make = None
            assert self._outputs is not None
            return self._outputs

    def take(self) -> StepOutputs:
        """The outputs, which are forgotten: it takes time to free them."""
        outputs, self._outputs = self.outputs(), None
        return outputs

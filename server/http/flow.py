"""uvicorn's flow control, with a second reason to stop reading."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class HeldFlow(FlowControl):
    """Reads while the handler wants more and nothing waits to be parsed."""

    _is_held = False

    def hold(self) -> None:
        """Read nothing until `release`."""
        if not self._is_held and not self.read_paused:
            self._transport.pause_reading()
        self._is_held = True

    def release(self) -> None:
        """Read again, if the handler wants more."""
        if self._is_held and not self.read_paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._is_held = False

    def pause_reading(self) -> None:
        if self._is_held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        if self._is_held:
            self.read_paused = False
        else:
            super().resume_reading()

"""An estimate whose process ends, or takes too long, is an error in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from confined.child import Child, Died, TooSlow
from protocol.config import EngineConfig
from protocol.footprint import Footprint, PartBytes
from server.fit.errors import FitError
from server.fit.estimate import Estimator

CONFIG = EngineConfig(model_path="")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (Died, "planning m.gguf needs too much memory, or crashes llama.cpp"),
        (TooSlow, "planning m.gguf takes more than 60 s"),
    ],
)
def test_a_file_that_ends_the_process(
    ending: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object, **__: object) -> bytes:
        raise ending

    monkeypatch.setattr(Child, "ask", ask)
    with Estimator() as estimator, pytest.raises(FitError) as caught:
        estimator.estimate(Path("m.gguf"), [CONFIG])
    assert str(caught.value) == message


def test_the_places_and_the_parts_add_up() -> None:
    footprint = Footprint(
        host=PartBytes(weights=1, kv=2, process=4),
        devices={"GPU0": PartBytes(weights=10, compute=5), "GPU1": PartBytes(state=7)},
        n_ctx=1,
        n_ctx_slot=1,
        n_slots=1,
        n_layers=1,
        n_ctx_train=1,
        flash_attn="on",
    )
    assert footprint.total == 29
    assert footprint.device_bytes == 22
    assert footprint.parts == PartBytes(weights=11, kv=2, state=7, compute=5, process=4)


def test_a_draft_model_shares_the_process() -> None:
    one = Footprint(
        host=PartBytes(weights=1, process=100),
        devices={"GPU0": PartBytes(kv=5)},
        n_ctx=8,
        n_ctx_slot=8,
        n_slots=1,
        n_layers=1,
        n_ctx_train=8,
        flash_attn="on",
    )
    both = one.with_draft(one)
    assert both.host == PartBytes(weights=2, process=100)
    assert both.devices == {"GPU0": PartBytes(kv=10)}
    assert both.n_ctx == 8

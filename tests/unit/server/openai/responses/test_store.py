"""The store of responses: owners, bounds, conversations, restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidRequest, NotFound
from server.openai.responses import store as store_module
from server.openai.responses.store import ResponseStore


def response(id_: str, previous: str | None = None, text: str = "x") -> dict[str, Any]:
    item = {"id": f"msg_{id_}", "type": "message", "role": "assistant", "content": text}
    return {"id": id_, "status": "completed", "previous_response_id": previous, "output": [item]}


def test_a_file_outlives_the_server(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    first = ResponseStore(path)
    first.put("a", [{"role": "user", "content": "hi"}], response("r1"))
    first.close()
    again = ResponseStore(path).get("a", "r1")
    assert again.response == response("r1")
    assert again.input == [{"role": "user", "content": "hi"}]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("owner", ["", "b", "A", "a "])
def test_nobody_elses(owner: str) -> None:
    store = ResponseStore()
    store.put("a", [], response("r1"))
    for use in (store.get, store.delete):
        with pytest.raises(NotFound):
            use(owner, "r1")
    with pytest.raises(InvalidRequest, match="previous_response_id"):
        store.history(owner, "r1")
    with pytest.raises(InvalidRequest, match="msg_r1"):
        store.item(owner, "msg_r1")
    assert store.get("a", "r1")


def test_a_conversation_is_its_items_in_order() -> None:
    store = ResponseStore()
    store.put("a", ["q1"], response("r1"))
    store.put("a", ["q2"], response("r2", "r1"))
    history = store.history("a", "r2")
    assert [item if isinstance(item, str) else item["id"] for item in history] == [
        "q1",
        "msg_r1",
        "q2",
        "msg_r2",
    ]
    assert store.item("a", "msg_r1")["id"] == "msg_r1"
    store.delete("a", "r1")
    with pytest.raises(InvalidRequest, match="'r1'"):
        store.history("a", "r2")


@pytest.mark.parametrize(
    ("bound", "value"), [("MAX_RESPONSES", 2), ("MAX_BYTES", 2 * 1100), ("MAX_SECONDS", -1.0)]
)
def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch, bound: str, value: float) -> None:
    monkeypatch.setattr(store_module, bound, value)
    store = ResponseStore()
    for number in range(5):
        store.put("a", [], response(f"r{number}", text="x" * 900))
    kept = []
    for number in range(5):
        try:
            store.get("a", f"r{number}")
        except NotFound:
            continue
        kept.append(number)
    assert kept == ([] if bound == "MAX_SECONDS" else [3, 4])


def test_a_response_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_BYTES", 500)
    store = ResponseStore()
    store.put("a", [], response("r1"))
    store.put("a", [], response("r2", text="x" * 900))
    assert store.get("a", "r1")


def test_a_conversation_goes_back_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_CHAIN", 3)
    store = ResponseStore()
    for number in range(5):
        store.put("a", [], response(f"r{number}", f"r{number - 1}" if number else None))
    assert len(store.history("a", "r2")) == 3
    with pytest.raises(InvalidRequest, match="more than 3"):
        store.history("a", "r3")


def test_what_ran_when_the_server_ended_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    first = ResponseStore(path)
    for number, (before, after) in enumerate([("queued", ""), ("in_progress", "completed")]):
        running = {**response(f"r{number}"), "status": before, "output": []}
        first.put("a", [], running, is_running=True)
        if after:
            first.put("a", [], {**response(f"r{number}"), "status": after})
    # A server that comes while the first one runs, as in a rollout, can't know.
    second = ResponseStore(path)
    assert second.get("a", "r0").response["status"] == "queued"
    second.close()
    first.close()
    third = ResponseStore(path)
    lost = third.get("a", "r0").response
    assert (lost["status"], lost["error"]["code"]) == ("failed", "server_error")
    assert third.get("a", "r1").response["status"] == "completed"
    third.close()


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_no_conversation_goes_on_from_what_is_not_ready(status: str) -> None:
    store = ResponseStore()
    store.put("a", [], {**response("r1"), "status": status}, is_running=True)
    with pytest.raises(InvalidRequest, match="isn't ready"):
        store.history("a", "r1")


def test_what_is_too_large_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_BYTES", 1000)
    with pytest.raises(InvalidRequest, match="too large"):
        ResponseStore().put("a", ["x" * 1000], response("r1"), is_running=True)

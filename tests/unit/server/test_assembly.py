"""A server out of its settings, without an engine process behind it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from config import ServeSettings
from server.access.key_ring import KeyRing
from server.app import create_app
from server.assembly.assemble import assemble, make_context
from server.assembly.loaded_model import load_model
from server.assembly.observation import open_observation
from server.engine.client import EngineClient
from server.startup import ChatTemplateError, StartupError, VocabularyError
from server.templates.builtin import builtin_template
from tests.support.paths import DEMO_TARGET

pytestmark = pytest.mark.anyio


async def test_a_server_answers_before_its_engine_has_loaded(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    settings = ServeSettings(alias=("a", "b"), metrics=True, audit_log=audit)
    model = load_model(settings, DEMO_TARGET)
    observation = open_observation(settings, model.name)
    client = EngineClient(observation.metrics.observe_step)
    context = make_context(settings, model, client, observation)
    app = create_app(context, keys=KeyRing(), audit=observation.audit)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        refused = await http.post("/completion", json={"prompt": "hi"})
        metrics = await http.get("/metrics")
    observation.close()
    assert (refused.status_code, refused.json()["error"]["message"]) == (503, "Loading model")
    assert 'llamapack_requests_rejected_total{model="a",reason="unavailable"} 1.0' in metrics.text
    assert json.loads(audit.read_text().splitlines()[0])["status"] == 503


async def test_all_parts_of_a_server_belong_together(tmp_path: Path) -> None:
    parts = assemble(ServeSettings(api_key=("k",), max_queue=7), DEMO_TARGET)
    assert parts.context.model_name == DEMO_TARGET.stem
    assert parts.context.engine is parts.client
    assert parts.context.metrics is parts.observation.metrics
    assert parts.observation.metrics.queue_capacity == 7
    assert parts.observation.metrics.engine_pid() is None
    assert len(parts.keys) == 1


def test_what_is_broken_stops_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"GGUF")
    with pytest.raises(VocabularyError, match="can't read the vocabulary"):
        assemble(ServeSettings(), broken)
    with pytest.raises(ChatTemplateError, match="not valid"):
        assemble(ServeSettings(chat_template="{{"), DEMO_TARGET)
    with pytest.raises(StartupError, match="can't write the audit log"):
        assemble(ServeSettings(audit_log=tmp_path), DEMO_TARGET)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("chatml", builtin_template("chatml")),
        ("llama3", builtin_template("llama3")),
        ("mistral-v7", builtin_template("mistral-v7")),
        ("{{ messages }}", "{{ messages }}"),
        ("/etc/hostname", "/etc/hostname"),
    ],
)
def test_a_chat_template_is_a_name_or_a_text(given: str, expected: str) -> None:
    model = load_model(ServeSettings(chat_template=given), DEMO_TARGET)
    assert model.chat_template.source == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("preserve_thinking", "true"), ("clear_thinking", "false"), ("drop_thinking", "false")],
)
def test_thinking_of_earlier_answers_is_kept_on_request(name: str, value: str) -> None:
    text = f"{{% if {name} is {value} %}}kept{{% endif %}}{{{{ messages[0].content }}}}"
    chat = [{"role": "user", "content": "a"}]
    for keeps, expected in ((True, "kepta"), (False, "a")):
        settings = ServeSettings(chat_template=text, reasoning_preserve=keeps)
        assert load_model(settings, DEMO_TARGET).chat_template.render(chat) == expected


def test_a_file_holds_a_text_even_where_it_looks_like_a_name(tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text("llama3")
    model = load_model(ServeSettings(chat_template_file=file), DEMO_TARGET)
    assert model.chat_template.source == "llama3"

"""PDF files in the chats of all dialects: what the model reads, and which field is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.openai.conftest import Live, Serve, serve
from tests.support.pdfs import in_base64, pdf

__all__ = ["serve"]

GOOD = in_base64(pdf("The word is heron."))
BAD = in_base64(b"no PDF")
READ = "The word is heron."


def anthropic_body(data: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": data}
    document = {"type": "document", "title": "Notes", "source": source}
    content = [{"type": "text", "text": "Read:"}, document]
    return {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}


def tool_body(data: str) -> dict[str, Any]:
    """A document that a tool has answered."""
    [message] = anthropic_body(data)["messages"]
    use = {"type": "tool_use", "id": "t", "name": "read", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": message["content"]}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "text", "text": "So:"}, result]},
    ]
    return {"model": "m", "max_tokens": 5, "messages": messages}


def chat_body(data: str) -> dict[str, Any]:
    file = {"file_data": f"data:application/pdf;base64,{data}", "filename": "Notes"}
    content = [{"type": "text", "text": "Read:"}, {"type": "file", "file": file}]
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


def response_body(data: str) -> dict[str, Any]:
    part = {"type": "input_file", "file_data": data, "filename": "Notes"}
    return {
        "model": "m",
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "input_text", "text": "Read:"}, part]},
        ],
    }


def output_body(data: str) -> dict[str, Any]:
    part = {"type": "input_file", "file_data": data, "filename": "Notes"}
    call = {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": [part]}
    return {"model": "m", "input": [{"role": "user", "content": "Hi"}, call, output]}


CASES = [
    ("/v1/messages", anthropic_body, "messages.0.content.1.source.data"),
    ("/v1/messages", tool_body, "messages.2.content.1.content.1.source.data"),
    ("/v1/chat/completions", chat_body, "messages.0.content.1.file.file_data"),
    ("/v1/responses", response_body, "input.1.content.1.file_data"),
    ("/v1/responses", output_body, "input.2.output.0.file_data"),
]


@pytest.mark.parametrize(("path", "body", "field"), CASES)
def test_the_model_reads_the_text(serve: Serve, path: str, body: Any, field: str) -> None:
    live: Live = serve()
    answer = live.post(path, **body(GOOD))
    assert answer.status_code == 200, answer.text
    assert f"<document>\nNotes\n{READ}\n</document>" in live.prompt()


@pytest.mark.parametrize(("path", "body", "field"), CASES)
@pytest.mark.parametrize("data", [BAD, "?"])
def test_the_field_of_a_broken_file_is_named(
    serve: Serve, path: str, body: Any, field: str, data: str
) -> None:
    live: Live = serve()
    answer = live.post(path, **body(data))
    assert answer.status_code == 400
    assert f"'{field}' can't be read" in answer.json()["error"]["message"]
    assert not live.generator.opened


def test_counts_are_those_of_the_answer(serve: Serve) -> None:
    live: Live = serve()
    counted = live.post("/v1/messages/count_tokens", **anthropic_body(GOOD)).json()["input_tokens"]
    usage = live.post("/v1/messages", **anthropic_body(GOOD)).json()["usage"]
    assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_a_response_that_goes_on_names_the_place_in_its_own_input(serve: Serve) -> None:
    live: Live = serve()
    first = live.post("/v1/responses", **response_body(GOOD)).json()
    follow_up = response_body(BAD) | {"previous_response_id": first["id"]}
    answer = live.post("/v1/responses", **follow_up)
    assert answer.json()["error"]["param"] == "input.1.content.1.file_data"


@pytest.mark.parametrize(
    ("path", "part", "param"),
    [
        ("/v1/chat/completions", {"type": "file", "file": {"file_id": "f"}}, "file.file_data"),
        ("/v1/responses", {"type": "input_file", "file_url": "https://a/b.pdf"}, "file_data"),
    ],
)
def test_files_that_are_elsewhere_are_refused(
    serve: Serve, path: str, part: Any, param: str
) -> None:
    turns = [{"role": "user", "content": [part]}]
    answer = serve().post(path, model="m", messages=turns, input=turns)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].endswith(f"0.content.0.{param}")

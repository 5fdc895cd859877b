from __future__ import annotations

import pytest

from loadtests.harness.wire import decode_anthropic, decode_native, decode_openai, decode_responses


def test_native_chunk() -> None:
    chunk = decode_native(b'{"index":0,"content":" a","tokens":[5],"stop":false,"id_slot":1}')
    assert (chunk.tokens, chunk.text, chunk.final, chunk.pieces) == ((5,), " a", False, 1)
    assert chunk.predicted is None


def test_native_last_chunk_has_the_counts() -> None:
    chunk = decode_native(
        b'{"content":"","tokens":[],"stop":true,"tokens_predicted":64,"tokens_evaluated":70,'
        b'"stop_type":"limit","timings":{"predicted_n":64,"prompt_n":6}}'
    )
    assert chunk.final
    assert (chunk.predicted, chunk.prompt, chunk.reason, chunk.pieces) == (64, 70, "limit", 0)
    assert chunk.computed == 6


def test_several_tokens_in_one_native_chunk() -> None:
    assert decode_native(b'{"content":"abc","tokens":[1,2,3],"stop":false}').pieces == 3


def test_native_error() -> None:
    chunk = decode_native(b'{"error":{"code":500,"message":"no","type":"server_error"}}')
    assert '"message":"no"' in chunk.error


def test_chat_chunks() -> None:
    role = decode_openai(b'{"choices":[{"delta":{"role":"assistant","content":null}}]}')
    text = decode_openai(b'{"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}')
    thought = decode_openai(b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}')
    end = decode_openai(b'{"choices":[{"delta":{},"finish_reason":"length"}]}')
    usage = decode_openai(b'{"choices":[],"usage":{"completion_tokens":9,"prompt_tokens":4}}')
    assert [c.pieces for c in (role, text, thought, end, usage)] == [0, 1, 1, 0, 0]
    assert end.reason == "length"
    assert (usage.predicted, usage.prompt, usage.final) == (9, 4, False)
    assert decode_openai(b"[DONE]").final


def test_legacy_completion_chunk() -> None:
    assert decode_openai(b'{"choices":[{"text":"hi","index":0}]}').text == "hi"


def test_openai_error() -> None:
    assert "boom" in decode_openai(b'{"error":{"message":"boom"}}').error


def test_anthropic_events() -> None:
    start = decode_anthropic(b'{"type":"message_start","message":{"id":"m"}}')
    text = decode_anthropic(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}'
    )
    thought = decode_anthropic(
        b'{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}'
    )
    counts = decode_anthropic(
        b'{"type":"message_delta","delta":{"stop_reason":"max_tokens"},'
        b'"usage":{"input_tokens":4,"output_tokens":9}}'
    )
    stop = decode_anthropic(b'{"type":"message_stop"}')
    assert [c.text for c in (start, text, thought, counts, stop)] == ["", "hi", "hm", "", ""]
    assert (counts.predicted, counts.prompt, counts.reason) == (9, 4, "max_tokens")
    assert (start.final, stop.final) == (False, True)
    assert "boom" in decode_anthropic(b'{"type":"error","error":{"message":"boom"}}').error


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_response_events(status: str) -> None:
    created = decode_responses(b'{"type":"response.created","response":{"status":"in_progress"}}')
    text = decode_responses(b'{"type":"response.output_text.delta","delta":"hi","logprobs":[]}')
    thought = decode_responses(b'{"type":"response.reasoning_text.delta","delta":"hm"}')
    end = decode_responses(
        b'{"type":"response.%b","response":{"status":"%b","error":null,'
        b'"usage":{"input_tokens":4,"output_tokens":9}}}' % (status.encode(), status.encode())
    )
    assert [c.text for c in (created, text, thought, end)] == ["", "hi", "hm", ""]
    assert (end.predicted, end.prompt, end.reason, end.final) == (9, 4, status, True)
    assert not created.final
    failed = b'{"type":"response.failed","response":{"error":{"message":"boom"}}}'
    assert "boom" in decode_responses(failed).error

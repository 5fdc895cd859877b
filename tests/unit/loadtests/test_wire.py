from __future__ import annotations

from loadtests.wire import decode_native, decode_openai


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

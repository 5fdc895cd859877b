"""Embeddings and answers of one real server at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import numpy as np
import openai
import pytest

from tests.support.processes import DEADLINE, Server, serving

QUESTION = "What is the capital of France?"
TEXTS = [f"The train number {number} leaves from the old station." for number in range(30)]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_documents_are_embedded_while_a_chat_goes_on(pooling: str) -> None:
    with serving("--embeddings", "--pooling", pooling) as server:
        client = openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key="none",
            http_client=openai.DefaultHttpxClient(verify=False),
        )
        alone = chat(server)
        with ThreadPoolExecutor(2) as pool:
            beside = [pool.submit(chat, server) for _ in range(2)]
            answer = client.embeddings.create(model="demo-target", input=TEXTS)
            assert [future.result(DEADLINE) for future in beside] == [alone] * 2
        client.close()
    vectors = np.array([entry.embedding for entry in answer.data])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), rel=1e-5)
    assert all(not np.allclose(one, other) for one, other in pairwise(vectors))


def chat(server: Server) -> str:
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=DEADLINE).json()
    content: str = answer["choices"][0]["message"]["content"]
    assert "Paris" in content
    return content

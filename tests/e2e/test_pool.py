"""Several real models behind one address: they load, make room for each other, and come back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.support.paths import DEMO_TARGET
from tests.support.processes import DEADLINE, Server, serving, wait_until
from tests.support.tiny_models import encoder

SMOLLM2 = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))
OTHER = SMOLLM2 if SMOLLM2.exists() else DEMO_TARGET
PROMPT = "In the morning the train leaves the old station by the river. " * 12


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A chat model, another one, a model of vectors and one of ranks."""
    shutil.copy(DEMO_TARGET, tmp_path / "chat.gguf")
    encoder(tmp_path / "vectors.gguf")
    encoder(tmp_path / "ranks.gguf", ranks=True)
    path = tmp_path / "models.ini"
    path.write_text(
        f"version = 1\n[*]\nno-measure-costs = true\n"
        f"[chat]\nmodel = {tmp_path}/chat.gguf\n"
        f"[other]\nmodel = {OTHER}\n"
        f"[vectors]\nmodel = {tmp_path}/vectors.gguf\nembeddings = true\npooling = mean\n"
        f"[ranks]\nmodel = {tmp_path}/ranks.gguf\nreranking = true\n"
    )
    return path


@contextmanager
def pool(preset: Path, *flags: str) -> Iterator[Server]:
    with serving("--models-preset", str(preset), *flags, has_one_model=False) as server:
        yield server


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=DEADLINE)


def complete(server: Server, model: str, prompt: str = PROMPT) -> dict[str, Any]:
    answer = post(server, "/completion", model=model, prompt=prompt, temperature=0, n_predict=8)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def states(server: Server) -> dict[str, str]:
    """By name, without models that happen to be in this user's caches."""
    data = httpx.get(f"{server.url}/models", timeout=DEADLINE).json()["data"]
    return {one["id"]: one["status"]["value"] for one in data if one["source"] != "cache"}


def resident(server: Server) -> int:
    """Bytes of all processes of the server."""
    main = psutil.Process(server.process.pid)
    total = 0
    for process in [main, *main.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def test_chats_vectors_and_ranks_by_name_behind_one_address(preset: Path) -> None:
    with pool(preset) as server:
        client = openai.OpenAI(
            base_url=f"{server.url}/v1",
            api_key="none",
            http_client=openai.DefaultHttpxClient(verify=False),
        )
        messages: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
        for name in ("chat", "other"):
            answer = client.chat.completions.create(model=name, messages=messages, temperature=0)
            assert answer.model == name
            assert answer.choices[0].message.content
        vectors = client.embeddings.create(model="vectors", input=["one", "two"])
        assert len(vectors.data) == 2
        client.close()
        documents = ["the old station", "a river"]
        ranked = post(server, "/v1/rerank", model="ranks", query="train", documents=documents)
        assert len(ranked.json()["results"]) == 2
        assert set(states(server).values()) == {"loaded"}
        assert len(server.engines) == 4


def test_a_third_model_evicts_the_idle_one_whose_cache_is_there_when_it_comes_back(
    preset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    with pool(preset, "--models-max", "2", "--cache-disk", str(folder)) as server:
        first = complete(server, "chat")
        complete(server, "other", "a")
        assert post(server, "/v1/embeddings", model="vectors", input="a").status_code == 200
        assert states(server) == {
            "chat": "unloaded",
            "other": "loaded",
            "vectors": "loaded",
            "ranks": "unloaded",
        }
        assert len(server.engines) == 2
        assert post(server, "/models/load", model="chat").json() == {"success": True}
        wait_until(lambda: "loaded 1 prefixes, " in server.text)
        again = complete(server, "chat")
        assert again["content"] == first["content"]
        assert again["timings"]["cache_n"] > 100


def test_the_memory_of_an_unloaded_model_is_back(preset: Path) -> None:
    with pool(preset) as server:
        complete(server, "chat")
        for _ in range(2):  # the first time, libraries and threads come that stay
            before = resident(server)
            complete(server, "other")
            loaded = resident(server)
            assert post(server, "/models/unload", model="other").json() == {"success": True}
            wait_until(lambda: len(server.engines) == 1)
            after = resident(server)
        assert loaded > 1.2 * before
        assert after < 1.05 * before


def test_a_model_sleeps_and_wakes(preset: Path) -> None:
    with pool(preset, "--sleep-idle-seconds", "1") as server:
        complete(server, "chat")
        wait_until(lambda: states(server)["chat"] == "sleeping")
        assert not server.engines
        complete(server, "chat")


def test_an_engine_that_dies_while_it_loads_is_told_and_the_others_live(preset: Path) -> None:
    with pool(preset) as server:
        complete(server, "chat")
        (living,) = server.engines
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(post, server, "/completion", model="other", prompt="a")
            wait_until(lambda: len(server.engines) > 1)
            for engine in server.engines:
                if engine != living:
                    engine.kill()
            answer = asked.result(DEADLINE)
        assert answer.status_code == 503
        assert "other can't be loaded: the engine could not start" in answer.text
        status = next(
            one["status"]
            for one in httpx.get(f"{server.url}/models", timeout=DEADLINE).json()["data"]
            if one["id"] == "other"
        )
        assert (status["failed"], status["exit_code"]) == (True, -signal.SIGKILL)
        assert complete(server, "chat")["content"]
        assert post(server, "/models/load", model="other").json() == {"success": True}


def test_a_loaded_engine_that_dies_is_replaced_and_the_answer_goes_on(preset: Path) -> None:
    with pool(preset) as server:
        whole = complete(server, "chat")["content"]
        server.kill_engine()
        assert complete(server, "chat")["content"] == whole


def test_a_file_that_vanished_is_named_without_its_folder(preset: Path, tmp_path: Path) -> None:
    with pool(preset) as server:
        (tmp_path / "chat.gguf").unlink()
        answer = post(server, "/completion", model="chat", prompt="a")
        assert answer.status_code == 503
        assert "there is no file chat.gguf" in answer.text
        assert str(tmp_path) not in answer.text
        shutil.copy(DEMO_TARGET, tmp_path / "chat.gguf")
        assert httpx.get(f"{server.url}/models?reload=1", timeout=DEADLINE).status_code == 200
        complete(server, "chat")


def test_a_folder_is_read_again_when_a_client_asks(tmp_path: Path) -> None:
    shutil.copy(DEMO_TARGET, tmp_path / "one.gguf")
    with serving("--models-dir", str(tmp_path), has_one_model=False) as server:
        (tmp_path / "two").mkdir()
        shutil.copy(DEMO_TARGET, tmp_path / "two" / "model.gguf")
        data = httpx.get(f"{server.url}/models?reload=1", timeout=DEADLINE).json()["data"]
        assert [one["id"] for one in data if one["source"] != "cache"] == ["one", "two"]


def test_the_server_ends_in_order_while_a_model_loads(preset: Path) -> None:
    limit = ("--shutdown-timeout", "1")
    with pool(preset, *limit) as server, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(post, server, "/models/load", model="other")
        wait_until(lambda: server.engines)
        engines = server.engines
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
        assert not any(engine.is_running() for engine in engines)
        with contextlib.suppress(httpx.HTTPError):  # the connection may be closed
            assert asked.result(DEADLINE).status_code in (200, 503)


def test_a_killed_server_leaves_no_engine(preset: Path) -> None:
    with pool(preset) as server:
        complete(server, "chat")
        complete(server, "other", "a")
        engines = server.engines
        server.process.kill()
        deadline = time.monotonic() + DEADLINE
        while any(engine.is_running() for engine in engines):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_one_model_of_a_server_sleeps_and_wakes_for_any_name() -> None:
    with serving("--sleep-idle-seconds", "1") as server:
        assert httpx.get(f"{server.url}/health", timeout=DEADLINE).status_code == 200
        assert complete(server, "gpt-4o")["content"]
        assert httpx.get(f"{server.url}/props", timeout=DEADLINE).json()["total_slots"] == 4
        wait_until(lambda: not server.engines)
        wait_until(lambda: httpx.get(f"{server.url}/props", timeout=DEADLINE).json()["is_sleeping"])
        assert httpx.get(f"{server.url}/health", timeout=DEADLINE).status_code == 200
        assert not server.engines
        answer = post(server, "/completion", prompt="a", n_predict=4)
        assert (answer.status_code, answer.json()["model"]) == (200, "demo-target")

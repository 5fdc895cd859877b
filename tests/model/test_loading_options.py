"""Options of loading on the demo model: metadata, checks, devices, memory of single tensors."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp as lib

from logs.llama_log import LogBridge
from scheduler.backends.base import LoadError
from scheduler.backends.llama import loading
from server.model.gguf_header import read_header
from server.model.inspector import answer
from server.model.tokenizer import LlamaTokenizer
from tests.support.backends import TARGET, compute, make_backend, text_tokens


def test_other_metadata_changes_what_the_model_computes() -> None:
    plain = make_backend()
    expected = compute(plain, text_tokens(20), 0)
    architecture = read_header(TARGET).text("general.architecture")
    changed = make_backend(metadata=((f"{architecture}.rope.freq_base", 123.0),))
    assert not np.allclose(compute(changed, text_tokens(20), 0), expected)
    assert changed.fingerprint.difference(plain.fingerprint)
    plain.close()
    changed.close()


@pytest.mark.parametrize("mode", ["none", "mmap", "dio", "huge"])
def test_weights_are_the_same_however_they_get_into_memory(mode: str) -> None:
    plain, other = make_backend(), make_backend(load_mode=mode)
    expected = compute(plain, text_tokens(20), 0)
    assert np.array_equal(compute(other, text_tokens(20), 0), expected)
    assert not other.fingerprint.difference(plain.fingerprint)
    plain.close()
    other.close()


@pytest.mark.parametrize("adds", [True, False])
def test_other_metadata_reaches_the_vocabulary_of_the_api_process(adds: bool) -> None:
    tokenizer = LlamaTokenizer(TARGET, [("tokenizer.ggml.add_bos_token", adds)])
    tokens = tokenizer.tokenize("Hello", add_special=True, parse_special=False)
    assert (tokens[0] == tokenizer.bos) == adds


def test_the_confined_process_opens_the_vocabulary_as_the_api_process_will() -> None:
    def num_tokens(*, adds_bos: bool) -> int:
        overrides = [("tokenizer.ggml.add_bos_token", adds_bos)]
        question = {"path": str(TARGET), "what": "texts", "overrides": overrides}
        return int(json.loads(answer(json.dumps(question).encode()))["tokens"])

    assert num_tokens(adds_bos=True) == num_tokens(adds_bos=False) + 2  # one for each text


def test_a_tensor_with_a_value_that_is_no_number_is_refused_on_request(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    shutil.copy(TARGET, broken)
    with broken.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\xff" * 4096)
    make_backend(model_path=str(broken)).close()
    with pytest.raises(LoadError, match="can't load"):
        make_backend(model_path=str(broken), check_tensors=True)


def test_the_cpu_alone_can_be_asked_for_and_an_unknown_device_is_refused() -> None:
    make_backend(devices=("none",)).close()
    with pytest.raises(LoadError, match=r"there is no device CUDA9; there are: .*none"):
        make_backend(devices=("CUDA9",))


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        (r"blk\.0\.ffn_down", ["blk.0.ffn_down.weight"]),
        (r"blk\.(0|1)\.attn_q\.", ["blk.0.attn_q.weight", "blk.1.attn_q.weight"]),
        ("output_norm", ["output_norm.weight"]),
    ],
)
def test_tensors_get_the_memory_of_their_rule(
    caplog: pytest.LogCaptureFixture, pattern: str, shown: list[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    bridge = LogBridge()
    bridge.install()
    make_backend(tensor_buffers=((pattern, "CPU"),)).close()
    found = re.findall(r"tensor (\S+) .*buffer type overridden to CPU", caplog.text)
    assert sorted(set(found)) == shown


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("x", "CUDA9"), "--override-tensor: there is no memory CUDA9; there are: .*CPU"),
        (("(?<=x)", "CPU"), "can't load"),
    ],
)
def test_wrong_rules_are_refused(rule: tuple[str, str], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        make_backend(tensor_buffers=(rule,))


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({"n_gpu_layers": 99}, True),
        ({"n_gpu_layers": -2}, True),
        ({"n_gpu_layers": -1}, False),
        ({"n_gpu_layers": 0}, False),
        ({"n_gpu_layers": 99, "devices": ("none",)}, False),
    ],
)
def test_layers_for_a_gpu_that_is_not_there_are_a_warning(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    warns: bool,
) -> None:
    monkeypatch.setattr(loading, "have_gpu", lambda: False)
    make_backend(**options).close()
    assert ("--gpu-layers has no effect" in caplog.text) == warns


@pytest.mark.parametrize("perf", [True, False])
def test_llama_cpp_logs_its_own_times_on_request(
    caplog: pytest.LogCaptureFixture, perf: bool
) -> None:
    caplog.set_level(logging.INFO)
    backend = make_backend(perf=perf)
    compute(backend, text_tokens(20), 0)
    backend.close()
    assert ("llama.cpp computed" in caplog.text) == perf


def test_switches_of_loading_reach_llama_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    load, init = lib.llama_model_load_from_file, lib.llama_init_from_model

    def spy_load(path: bytes, params: lib.llama_model_params) -> object:
        seen.update(host=params.no_host, lazy=params.lazy_mode)
        return load(path, params)

    def spy_init(model: object, params: lib.llama_context_params) -> object:
        seen.update(offload=params.op_offload)
        return init(model, params)

    monkeypatch.setattr(lib, "llama_model_load_from_file", spy_load)
    monkeypatch.setattr(lib, "llama_init_from_model", spy_init)
    make_backend(host_buffers=False, op_offload=False, lazy_mode="off").close()
    assert seen == {"host": True, "lazy": 0, "offload": False}

"""Loading ggml's backends from files."""

from __future__ import annotations

from ctypes import c_size_t
from typing import Any

import pytest

from protocol.config import EngineConfig
from scheduler.backends.base import LoadError
from scheduler.backends.llama import devices


class Library:
    """A ggml library with some backends linked in and some in files."""

    def __init__(self, linked: int, in_files: int) -> None:
        self.loaded = 0
        self.count = linked
        self.in_files = in_files
        self.ggml_backend_reg_count = Function(lambda: self.count)
        self.ggml_backend_load_all_from_path = self.load_all

    def load_all(self, path: bytes) -> None:
        assert path.endswith(b"llama_cpp/lib")
        self.loaded += 1
        self.count += self.in_files


class Function:
    """A function with a result type, like those of ctypes."""

    restype: type[c_size_t] | None = None

    def __init__(self, call: object) -> None:
        self.call = call

    def __call__(self) -> int:
        assert callable(self.call)
        return int(self.call())


def use(monkeypatch: pytest.MonkeyPatch, library: Library) -> Library:
    monkeypatch.setattr(devices, "libggml", library)
    return library


def test_backends_in_files_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    library = use(monkeypatch, Library(linked=0, in_files=2))
    devices.load_backends()
    devices.load_backends()
    assert library.loaded == 1


def test_linked_ones_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = use(monkeypatch, Library(linked=1, in_files=2))
    devices.load_backends()
    assert library.loaded == 0


def test_a_build_for_other_machines_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Library(linked=0, in_files=0))
    with pytest.raises(LoadError, match="backend"):
        devices.load_backends()


def test_the_installed_build_has_backends() -> None:
    devices.load_backends()


def device(name: str, *, is_gpu: bool = True) -> devices.Device:
    return devices.Device(
        0, name, "", is_cpu=not is_gpu, is_gpu=is_gpu, free_bytes=0, total_bytes=0
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3),
        ({"split_mode": "row"}, 1),
        ({"devices": ("CUDA0", "CUDA2")}, 2),
        ({"devices": ("none",)}, 1),
    ],
)
def test_gpus_that_share_the_layers_compute_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: int
) -> None:
    gpus = [device(f"CUDA{number}") for number in range(3)]
    monkeypatch.setattr(devices, "devices", lambda: iter([device("CPU", is_gpu=False), *gpus]))
    assert devices.num_stages(EngineConfig(model_path="model.gguf", **changes)) == expected


def test_a_cpu_computes_one_micro_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: iter([device("CPU", is_gpu=False)]))
    assert devices.num_stages(EngineConfig(model_path="model.gguf")) == 1

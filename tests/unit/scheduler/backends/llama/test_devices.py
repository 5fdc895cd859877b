"""Loading ggml's backends from files."""

from __future__ import annotations

from ctypes import c_size_t

import pytest

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

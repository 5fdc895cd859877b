"""`--list-devices` and `--device`, with a ggml library that has GPUs."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import pytest

from scheduler.backends.base import LoadError
from scheduler.backends.llama import devices
from scheduler.backends.llama.tensors import buffer_array, device_array, share_array

MIB = 1 << 20
CPU, GPU, ACCELERATOR = 0, 1, 3


@dataclass
class Part:
    """A device of the fake library."""

    name: str
    description: str
    kind: int
    total: int = 0
    free: int = 0


H100 = Part("CUDA0", "NVIDIA H100 80GB HBM3", GPU, 81_079 * MIB, 80_555 * MIB)
L4 = Part("CUDA1", "NVIDIA L4", GPU, 22_563 * MIB, 22_300 * MIB)
BLAS = Part("BLAS", "OpenBLAS", ACCELERATOR)
PROCESSOR = Part("CPU", "AMD EPYC", CPU, 64 * MIB, 64 * MIB)


class Function:
    """A function as ctypes has them: with types, which are set before the call."""

    restype: Any = None
    argtypes: Any = None

    def __init__(self, call: Any) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class Library:
    """A ggml library with these devices; their addresses are 1, 2, ..."""

    def __init__(self, *parts: Part) -> None:
        def at(address: int) -> Part:
            return parts[address - 1]

        def memory(address: int, free: Any, total: Any) -> None:
            free._obj.value, total._obj.value = at(address).free, at(address).total

        self.ggml_backend_dev_count = Function(lambda: len(parts))
        self.ggml_backend_dev_get = Function(lambda index: index + 1)
        self.ggml_backend_dev_memory = Function(memory)
        self.ggml_backend_dev_name = Function(lambda a: at(a).name.encode())
        self.ggml_backend_dev_description = Function(lambda a: at(a).description.encode())
        self.ggml_backend_dev_type = Function(lambda a: at(a).kind)
        self.ggml_backend_dev_buffer_type = Function(lambda a: a)
        self.ggml_backend_buft_name = Function(lambda a: at(a).name.encode())


def use(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> None:
    monkeypatch.setattr(devices, "libggml", Library(*parts))


def addresses(array: Any) -> list[int | None]:
    return list(array)


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        (
            (H100, L4, PROCESSOR),
            [
                "  CUDA0: NVIDIA H100 80GB HBM3 (81079 MiB, 80555 MiB free)",
                "  CUDA1: NVIDIA L4 (22563 MiB, 22300 MiB free)",
            ],
        ),
        ((BLAS, PROCESSOR), ["  BLAS: OpenBLAS (0 MiB, 0 MiB free)"]),
        ((PROCESSOR,), ["  (none)"]),
    ],
)
def test_the_list_is_llama_servers(
    parts: tuple[Part, ...], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, *parts)
    assert devices.listing() == ["Available devices:", *lines]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("CUDA0",), [1, None]),
        (("CUDA1", "CUDA0"), [2, 1, None]),
        (("none",), [None]),
    ],
)
def test_names_become_devices_and_the_list_ends_with_none(
    names: tuple[str, ...], expected: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, H100, L4, PROCESSOR)
    assert addresses(device_array(names)) == expected


def test_without_names_all_devices_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, H100, PROCESSOR)
    assert device_array(()) is None


@pytest.mark.parametrize("name", ["CUDA2", "cuda0", "CPU", "", "GPU0"])
def test_an_unknown_name_is_refused_with_those_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, H100, L4, PROCESSOR)
    with pytest.raises(
        LoadError, match=f"there is no device {name}; there are: CUDA0, CUDA1, none"
    ):
        device_array((name,))


def test_none_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, H100, PROCESSOR)
    with pytest.raises(LoadError, match="none stands alone"):
        device_array(("CUDA0", "none"))


@pytest.mark.parametrize("count", [1, 2, 16])
def test_shares_are_padded(count: int) -> None:
    shares = [1.0 + one for one in range(count)]
    array = list(share_array(shares))
    assert array[:count] == shares
    assert not any(array[count:])


def test_more_shares_than_devices_are_refused() -> None:
    assert share_array(()) is None
    with pytest.raises(LoadError, match="--tensor-split: 1000 shares"):
        share_array([1.0] * 1000)


def test_memories_of_gpus_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, H100, PROCESSOR)
    rules = buffer_array([(r"blk\.0\.", "CPU"), ("output", "CUDA0")])
    assert [(one.pattern, one.buft) for one in rules][:2] == [(rb"blk\.0\.", 2), (b"output", 1)]
    assert rules[2].pattern is None
    with pytest.raises(LoadError, match=r"no memory CUDA1; there are: CUDA0, CPU"):
        buffer_array([("output", "CUDA1")])
    assert ctypes.sizeof(rules) == 3 * 2 * ctypes.sizeof(ctypes.c_void_p)

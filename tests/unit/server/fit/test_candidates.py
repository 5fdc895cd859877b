"""Which models are meant, and how little of a repository is read to know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.fit.candidates import candidates
from server.fit.errors import FitError
from server.store.errors import StoreError
from tests.support.local_hub import LocalHub, environment, local_hub
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

TARGET = DEMO_TARGET.read_bytes()
DRAFT = DEMO_DRAFT.read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with local_hub() as hub:
        yield hub


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    for name, content in (("b-Q8_0.gguf", TARGET), ("a-Q4_0.gguf", DRAFT), ("notes.txt", b"x")):
        (tmp_path / name).write_bytes(content)
    with candidates(str(tmp_path), {}) as found:
        assert [one.quantization for one in found] == ["Q4_0", "Q8_0"]  # the smaller one first
        assert found[1].num_bytes == len(TARGET)
        assert sum(found[1].tensors.values()) <= len(TARGET)
    with candidates(str(tmp_path / "b-Q8_0.gguf"), {}) as found:
        assert [one.factor for one in found] == [1.0]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model"])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    with pytest.raises(FitError, match=r"m\.gguf"), candidates(str(file), {}):
        pass


def test_what_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(FitError, match="there is no file"),
        candidates(str(tmp_path / "x.gguf"), {}),
    ):
        pass
    with pytest.raises(FitError, match="no GGUF model"), candidates(str(tmp_path), {}):
        pass


def test_of_a_repository_one_header_is_read(hub: LocalHub, tmp_path: Path) -> None:
    padding = bytes(30 << 20)
    hub.repos["u/r"] = {
        "m-Q4_0.gguf": TARGET + padding,
        "m-Q8_0.gguf": TARGET + 2 * padding,
        "mmproj-m-F16.gguf": DRAFT,
        "README.md": b"text",
    }
    with candidates("u/r", environment(hub, tmp_path)) as found:
        assert [one.quantization for one in found] == ["Q4_0", "Q8_0"]
        assert found[0].path == found[1].path
        assert found[0].path.stat().st_size == len(TARGET) + len(padding)
        assert found[0].factor == pytest.approx(1, rel=0.2)
        weights = sum(found[0].tensors.values())
        grown = found[1].factor * weights - found[0].factor * weights
        assert grown == pytest.approx(len(padding), rel=0.01)
    assert hub.downloads() == ["m-Q4_0.gguf"]
    assert hub.ranges() == ["bytes=0-268435455"]


def test_a_hub_that_knows_no_ranges_is_not_read_to_the_end(hub: LocalHub, tmp_path: Path) -> None:
    hub.ignores_ranges = True
    hub.piece_seconds = 0.0001
    hub.repos["u/r"] = {"m-Q4_0.gguf": TARGET + bytes(64 << 20)}
    with candidates("u/r", environment(hub, tmp_path)) as found:
        assert found[0].path.stat().st_size == len(TARGET) + (64 << 20)
        assert found[0].path.stat().st_blocks * 512 < 32 << 20


def test_the_files_of_a_split_model_add_up(tmp_path: Path) -> None:
    names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    (tmp_path / names[0]).write_bytes(TARGET)
    with pytest.raises(FitError, match=names[1]), candidates(str(tmp_path), {}):
        pass
    (tmp_path / names[1]).write_bytes(DRAFT)
    with candidates(str(tmp_path / names[0]), {}) as found:
        assert found[0].num_bytes == len(TARGET) + len(DRAFT)


def test_one_quantization_of_a_repository(hub: LocalHub, tmp_path: Path) -> None:
    hub.repos["u/r"] = {"m-Q4_0.gguf": TARGET, "m-Q8_0.gguf": TARGET}
    with candidates("u/r:q8_0", environment(hub, tmp_path)) as found:
        assert [one.name for one in found] == ["m-Q8_0.gguf"]


def test_two_models_in_one_repository_have_two_headers(hub: LocalHub, tmp_path: Path) -> None:
    hub.repos["u/r"] = {"large-Q8_0.gguf": TARGET, "small-Q8_0.gguf": DRAFT}
    with candidates("u/r", environment(hub, tmp_path)) as found:
        assert len({one.path for one in found}) == 2
        assert all(one.factor == pytest.approx(1) for one in found)


def test_repositories_that_are_not_there_or_have_no_model(hub: LocalHub, tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="there is no repository u/x"),
        candidates("u/x", environment(hub, tmp_path)),
    ):
        pass
    hub.repos["u/r"] = {"README.md": b""}
    with (
        pytest.raises(StoreError, match="has no GGUF model"),
        candidates("u/r", environment(hub, tmp_path)),
    ):
        pass
    hub.repos["u/r"] = {"m-Q4_0.gguf": b"no model at all" * 100_000}
    with (
        pytest.raises(FitError, match="is not a GGUF file"),
        candidates("u/r", environment(hub, tmp_path)),
    ):
        pass

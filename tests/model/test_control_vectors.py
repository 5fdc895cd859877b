"""Control vectors on the demo model: what they change, and the files that are refused."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from scheduler.backends.base import LoadError
from scheduler.backends.llama.candidates import Logits
from server.model.gguf_header import read_header
from tests.support.backends import TARGET, compute, make_backend, text_tokens

HEADER = read_header(TARGET)
WIDTH = HEADER.number(f"{HEADER.text('general.architecture')}.embedding_length")
TOKENS = text_tokens(20)


def write_vector(
    path: Path, layers: list[int], *, width: int = WIDTH, name: str = "direction"
) -> str:
    """A file with a random direction for each layer."""
    writer = gguf.GGUFWriter(str(path), "controlvector")
    for layer in layers:
        values = np.random.default_rng(layer).normal(0, 1, width)
        writer.add_tensor(f"{name}.{layer}", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(path)


def logits(*vectors: tuple[str, float], layers: tuple[int, int] = (0, 0)) -> Logits:
    backend = make_backend(control_vectors=vectors, control_vector_layers=layers)
    try:
        return compute(backend, TOKENS, 0)
    finally:
        backend.close()


def test_vectors_steer_the_model_by_their_scale(tmp_path: Path) -> None:
    file = write_vector(tmp_path / "v.gguf", [1, 2])
    plain = logits()
    assert not np.allclose(logits((file, 1.0)), plain, atol=1e-2)
    assert np.array_equal(logits((file, 0.0)), plain)
    assert np.allclose(logits((file, 0.75), (file, 0.25)), logits((file, 1.0)), atol=1e-4)
    assert np.allclose(logits((file, 3.0), (file, -3.0)), plain, atol=1e-4)


def test_the_range_of_layers_counts(tmp_path: Path) -> None:
    both = write_vector(tmp_path / "both.gguf", [1, 2])
    second = write_vector(tmp_path / "second.gguf", [2])
    assert np.allclose(logits((both, 1.0), layers=(2, 2)), logits((second, 1.0)), atol=1e-5)
    assert np.allclose(logits((second, 1.0), layers=(1, 1)), logits(), atol=1e-5)


def test_saved_cells_of_other_vectors_are_not_ours(tmp_path: Path) -> None:
    file = write_vector(tmp_path / "v.gguf", [1])
    backends = [
        make_backend(),
        make_backend(control_vectors=((file, 1.0),)),
        make_backend(control_vectors=((file, 2.0),)),
    ]
    contexts = [backend.fingerprint.context for backend in backends]
    assert len(set(contexts)) == 3
    for backend in backends:
        backend.close()


@pytest.mark.parametrize(
    ("layers", "width", "name", "message"),
    [
        ([1], WIDTH + 1, "direction", f"is for {WIDTH + 1} values a layer"),
        ([0], WIDTH, "direction", "direction.0 that is no direction"),
        ([1], WIDTH, "bias", "bias.1 that is no direction"),
        ([], WIDTH, "direction", "has no directions"),
    ],
)
def test_files_of_another_form_are_refused(
    tmp_path: Path, layers: list[int], width: int, name: str, message: str
) -> None:
    file = write_vector(tmp_path / "v.gguf", layers, width=width, name=name)
    with pytest.raises(LoadError, match=message):
        make_backend(control_vectors=((file, 1.0),))


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v.gguf"
    file.write_text("no")
    with pytest.raises(LoadError, match="is not a GGUF file"):
        make_backend(control_vectors=((str(file), 1.0),))
    with pytest.raises(LoadError, match="there is no file"):
        make_backend(control_vectors=((str(tmp_path / "none"), 1.0),))

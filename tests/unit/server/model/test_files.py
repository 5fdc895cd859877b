"""The model file that is loaded, and the messages when it can't be loaded."""

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from server.model.files import check_model, has_ranking_head
from server.model.gguf_header import BLOCKS, read_header
from server.startup import ModelFileError
from tests.support.tiny_models import encoder

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a small GGUF file; `metadata` takes strings and whole numbers."""

    def run(
        name: str = "m.gguf", tensors: int = 2, arch: str = "llama", **metadata: object
    ) -> Path:
        path = tmp_path / name
        writer = gguf.GGUFWriter(path, arch)
        writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "def"])
        writer.add_array("tokenizer.ggml.scores", [0.5, 1.5, 2.5])
        for key, value in metadata.items():
            if isinstance(value, int):
                writer.add_uint16(key.replace("_", "."), value)
            else:
                writer.add_string(key.replace("_", "."), str(value))
        for number in range(tensors):
            writer.add_tensor(f"t{number}", np.ones((4, 32), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return run


def test_a_whole_model_is_taken_as_it_is(write: Write) -> None:
    check_model(write())


@pytest.mark.parametrize("ranks", [True, False])
def test_a_reranker_is_known_by_its_head(tmp_path: Path, ranks: bool) -> None:
    path = tmp_path / "m.gguf"
    encoder(path, ranks=ranks)
    assert has_ranking_head(path) == ranks


def test_the_head_may_be_in_any_part_of_a_split_model(write: Write, tmp_path: Path) -> None:
    first = write("m-00001-of-00002.gguf")
    write("m-00002-of-00002.gguf")
    assert not has_ranking_head(first)
    encoder(tmp_path / "m-00002-of-00002.gguf", ranks=True)
    assert has_ranking_head(first)


def test_what_a_broken_file_has_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    assert has_ranking_head(path)


def test_the_size_that_a_file_needs_is_known_to_the_byte(write: Write) -> None:
    path = write(tensors=3)
    header = read_header(path)
    assert header.tensor_count == 3
    assert header.text("general.architecture") == "llama"
    # The writer pads the last tensor; the loader doesn't need the padding.
    assert path.stat().st_size - 32 < header.needed_bytes <= path.stat().st_size


def test_the_block_sizes_agree_with_the_gguf_package() -> None:
    theirs = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert {kind: BLOCKS[kind] for kind in theirs if kind in BLOCKS} == {
        kind: sizes for kind, sizes in theirs.items() if kind in BLOCKS
    }


@pytest.mark.parametrize("kept", [0.99, 0.5])
def test_a_truncated_model_says_how_much_is_there(write: Write, kept: float) -> None:
    path = write(tensors=64)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelFileError, match=r"m\.gguf is incomplete: it has [\d,]+ of [\d,]+ b"):
        check_model(path)


@pytest.mark.parametrize("length", [4, 6, 8, 20, 40, 100, 250])
def test_a_model_that_ends_within_its_header_is_incomplete(write: Write, length: int) -> None:
    path = write()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match="ends within its header"):
        check_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip archive", r"is not a GGUF file: it starts with b'PK"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "has GGUF version 1; supported are 2 and 3"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "is incomplete"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + b"\xff" * 64, "is incomplete"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sI", 1, b"k", 99), "is damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sI", 1, b"\xff", 0), "is damag"),
        (
            b"GGUF" + struct.pack("<IQQQ1sIIQQ", 3, 0, 1, 1, b"k", 9, 8, 2, (1 << 64) - 1),
            "is incomplete",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "doesn't say which architecture"),
        (
            b"GGUF"
            + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 9)
            + struct.pack("<IQ", 9, 1) * 9999,
            "has an array of arrays",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 9) + struct.pack("<IQ", 9, 1 << 63),
            "has an array of arrays",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1 << 20)
            + struct.pack("<Q1sI?", 1, b"k", 7, True) * (1 << 17),
            "has 1,048,576 metadata values",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 1 << 22, 0)
            + struct.pack("<Q1sIIQ", 1, b"t", 0, 0, 0) * (1 << 21),
            "has 4,194,304 tensors",
        ),
        (b"GGUF" + struct.pack("<IQQQ1sIQ", 3, 0, 1, 1, b"k", 8, 1 << 40), "is incomplete"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, (1 << 64) - 1), "is incomplete"),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_what_is_no_model_is_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        check_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file .*nowhere\.gguf"):
        check_model(tmp_path / "nowhere.gguf")


def test_a_folder_lists_its_models(write: Write, tmp_path: Path) -> None:
    write("b.gguf")
    write("a.gguf")
    with pytest.raises(ModelFileError, match=r"is a folder, not a GGUF file; it has a.gguf, b"):
        check_model(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general_type": "adapter"}, "is a LoRA adapter, not a model"),
        ({"general_type": "mmproj"}, "is a multimodal projector, not a language model"),
        ({"arch": "clip"}, "is a multimodal projector, not a language model"),
        ({"general_type": "imatrix"}, "is an importance matrix, not a model"),
        ({"tensors": 0}, "has a vocabulary, but no weights"),
        ({"split_count": 3, "split_no": 1}, r"one of 3 parts, .* -00002-of-00003\.gguf"),
    ],
)
def test_other_kinds_of_gguf_are_refused(
    write: Write, metadata: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        check_model(write(**metadata))


def test_a_split_model_is_given_by_its_first_file(write: Write) -> None:
    first = write("m-00001-of-00003.gguf", tensors=0)
    for number in (2, 3):
        write(f"m-0000{number}-of-00003.gguf")
    check_model(first)
    second = first.with_name("m-00002-of-00003.gguf")
    with pytest.raises(ModelFileError, match=r"give the first part, m-00001-of-00003\.gguf"):
        check_model(second)


def test_missing_parts_of_a_split_model_are_listed(write: Write) -> None:
    first = write("m-00001-of-00003.gguf")
    write("m-00003-of-00003.gguf")
    with pytest.raises(ModelFileError, match=r"missing are m-00002-of-00003\.gguf$"):
        check_model(first)


def test_a_truncated_part_of_a_split_model_is_named(write: Write) -> None:
    first, second = write("m-00001-of-00002.gguf"), write("m-00002-of-00002.gguf", tensors=64)
    second.write_bytes(second.read_bytes()[:-5000])
    with pytest.raises(ModelFileError, match=r"m-00002-of-00002\.gguf is incomplete"):
        check_model(first)

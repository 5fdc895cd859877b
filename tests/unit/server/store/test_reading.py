"""Names of files, hosts, references and sizes; the bar on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from server.store.hosts import PullHosts
from server.store.progress import PullProgress, PullStatus
from server.store.progress_bar import progress_bar
from server.store.quantization import is_model, parts, projector, quant_of, stem_of
from server.store.reference import (
    FileReference,
    HubReference,
    RegistryReference,
    UrlReference,
    parse_reference,
)
from server.store.sizes import human_size


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("gemma-3-270m-it-Q4_K_M.gguf", "Q4_K_M"),
        ("model.Q5_K.gguf", "Q5_K"),
        ("model-q8_0.gguf", "Q8_0"),
        ("Qwen3-0.6B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("x/y/model-IQ2_XXS-00001-of-00003.gguf", "IQ2_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-BF16.gguf", "BF16"),
        ("model_f16.gguf", "F16"),
        ("Q4_0.gguf", "Q4_0"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model.gguf", ""),
        ("FreqQ4.gguf", ""),
        ("mistral-7b-v0.1.gguf", ""),
    ],
)
def test_the_quantization_is_read_from_the_name(name: str, quant: str) -> None:
    assert quant_of(name) == quant


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("m.gguf", True),
        ("M.GGUF", True),
        ("m-00001-of-00002.gguf", True),
        ("m-00002-of-00002.gguf", False),
        ("mmproj-m.gguf", False),
        ("m-mmproj-F16.gguf", False),
        ("imatrix.gguf", False),
        ("m.bin", False),
        ("mtp-m.gguf", False),
    ],
)
def test_what_is_a_model(name: str, is_one: bool) -> None:
    assert is_model(name) == is_one


def test_parts_and_stems() -> None:
    names = [f"q/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert parts(names[0], names, "u/r") == names
    assert stem_of(names[0]) == "m-Q8_0"


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("m-Q8_0.gguf", "mmproj-Q8_0.gguf"),
        ("m-F16.gguf", "mmproj-F16.gguf"),
        ("sub/m-Q8_0.gguf", "sub/mmproj-F32.gguf"),
        ("subway/m-Q8_0.gguf", "mmproj-Q8_0.gguf"),
    ],
)
def test_the_nearest_projector_is_taken(model: str, taken: str) -> None:
    names = ["mmproj-F16.gguf", "mmproj-Q8_0.gguf", "sub/mmproj-F32.gguf", "other/mmproj.gguf"]
    assert projector(model, names) == taken


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("u/r", HubReference("u/r")),
        ("u/r:Q8_0", HubReference("u/r", "Q8_0")),
        ("hf.co/u/r:Q8_0", HubReference("u/r", "Q8_0")),
        ("https://huggingface.co/u/r/tree/main", HubReference("u/r")),
        (
            "https://huggingface.co/u/r/resolve/main/a/b.gguf?download=true",
            HubReference("u/r", file="a/b.gguf"),
        ),
        ("https://x.org/a/m.gguf?y=1", UrlReference("https://x.org/a/m.gguf?y=1", "m.gguf")),
        ("ollama://llama3", RegistryReference("ollama", "llama3")),
        ("docker://ai/x:1", RegistryReference("docker", "ai/x:1")),
        ("/tmp/x", FileReference(Path("/tmp/x"))),
        ("./x", FileReference(Path("x"))),
        ("a/b.gguf", FileReference(Path("a/b.gguf"))),
    ],
)
def test_references_are_told_apart(text: str, reference: object) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    ("names", "url", "is_allowed"),
    [
        (["*"], "http://anything/x", True),
        (["huggingface.co"], "https://huggingface.co/x", True),
        (["huggingface.co"], "https://HUGGINGFACE.CO./x", True),
        (["huggingface.co"], "https://cdn.huggingface.co/x", False),
        (["huggingface.co"], "https://huggingface.co.evil.org/x", False),
        (["huggingface.co"], "https://huggingface.co@evil.org/x", False),
        (["*.hf.co"], "https://cas-bridge.xethub.hf.co/x", True),
        (["*.hf.co"], "https://hf.co/x", False),
        (["*.hf.co"], "https://evilhf.co/x", False),
        (["mirror:8080"], "http://mirror:8080/x", True),
        (["mirror:8080"], "http://mirror/x", False),
        ([], "https://huggingface.co/x", False),
    ],
)
def test_hosts_that_a_pull_may_use(names: list[str], url: str, is_allowed: bool) -> None:
    assert PullHosts(names).allow(url) == is_allowed


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_692_000, "4.7 MB"),
        (98_000_000, "98.0 MB"),
        (99_960_000, "100 MB"),
        (999_600_000, "1.0 GB"),
        (4_700_000_000_000_000, "4700 TB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human_size(size) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, *reports: tuple[float, PullProgress]) -> list[str]:
    """What is on the lines of the screen after these reports, at these times."""
    now = [0.0]
    with progress_bar(out, lambda: now[0]) as report:
        for moment, progress in reports:
            now[0] = moment
            report(progress)
    return out.getvalue().removesuffix("\n").split("\n")


def at(completed: int, status: PullStatus = PullStatus.DOWNLOADING) -> PullProgress:
    return PullProgress(status, "model.gguf", "", 4_000_000_000, completed)


def test_a_terminal_shows_bytes_speed_and_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = shown(
        Terminal(),
        (0, at(0)),
        (10, at(1_000_000_000)),
        (40, at(4_000_000_000, PullStatus.DONE)),
    )
    first, second = lines[0].split("\r\x1b[K")[2:]
    assert "1.0 GB of 4.0 GB  100 MB/s  30s left" in first
    assert f"{'█' * 7}{'░' * 23}  25%" in first
    assert second == "model.gguf  4.0 GB"
    assert len(lines) == 1


@pytest.mark.parametrize("columns", ["20", "40", "60", "200"])
def test_a_line_never_breaks(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = "a-model-with-a-rather-long-name-Q4_K_M.gguf"
    reports = [
        PullProgress(status, name, "", 4_000_000_000, 1_000_000, reason)
        for status in PullStatus
        for reason in ("", "the connection was cut; trying again in 8 s")
    ]
    text = "\r\x1b[K".join(shown(Terminal(), *((float(n), one) for n, one in enumerate(reports))))
    assert all(len(line) < int(columns) for line in text.split("\r\x1b[K"))


def test_without_a_terminal_there_are_few_plain_lines() -> None:
    seconds = range(100)
    lines = shown(io.StringIO(), *((float(n), at(n * 40_000_000)) for n in seconds))
    assert lines[:2] == [
        "downloading model.gguf 0 B of 4.0 GB",
        "downloading model.gguf 400 MB of 4.0 GB",
    ]
    assert len(lines) == 10
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_a_reason_is_told_at_once() -> None:
    why = PullProgress(PullStatus.RETRYING, "m.gguf", "", None, 5, "status 503; again in 1 s")
    assert shown(io.StringIO(), (0, at(0)), (0.1, why))[1] == (
        "retrying m.gguf 5 B (status 503; again in 1 s)"
    )

"""Models from a hub: the chosen file, what is downloaded again, and the error messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir

from config import load_settings
from server.startup import ModelFileError
from server.store.errors import StoreError
from server.store.model import StoredModel
from server.store.progress import PullProgress, PullStatus
from server.store.remote_file import RemoteFile
from server.store.resolve import resolve_draft, resolve_model
from tests.support.local_hub import COMMIT, TOKEN, LocalHub, gguf_bytes

Pull = Callable[..., StoredModel]


def files(*names: str) -> dict[str, bytes]:
    return {name: gguf_bytes(seed=name) for name in names}


@pytest.mark.parametrize(
    ("repo", "taken"),
    [
        ("u/r", "m-Q4_K_M.gguf"),
        ("u/r:latest", "m-Q4_K_M.gguf"),
        ("u/r:q8_0", "m-Q8_0.gguf"),
        ("u/r:Q5_K", "sub/m.Q5_K.gguf"),
        ("u/r:q4_0", "x-Q4_0.gguf"),
        ("u/only-q8", "m-Q8_0.gguf"),
        ("u/neither", "a-F16.gguf"),
        ("u/unsloth:Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        ("hf://u/only-q8", "m-Q8_0.gguf"),
        ("hf.co/u/only-q8:Q8_0", "m-Q8_0.gguf"),
        ("https://huggingface.co/u/only-q8", "m-Q8_0.gguf"),
        ("https://huggingface.co/u/r/resolve/main/sub/m.Q5_K.gguf", "sub/m.Q5_K.gguf"),
        ("https://huggingface.co/u/r/blob/main/m-Q8_0.gguf", "m-Q8_0.gguf"),
    ],
)
def test_the_reference_picks_the_file(pulled: Pull, hub: LocalHub, repo: str, taken: str) -> None:
    hub.repos = {
        "u/r": files(
            "README.md",
            "imatrix-Q4_K_M.gguf",
            "m-IQ4_0.gguf",
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-m-Q8_0.gguf",
            "sub/m.Q5_K.gguf",
            "x-Q4_0.gguf",
        ),
        "u/only-q8": files("m-F16.gguf", "m-Q8_0.gguf"),
        "u/neither": files("mmproj-a.gguf", "a-F16.gguf", "b-F32.gguf"),
        "u/unsloth": files("m-UD-Q4_K_XL.gguf", "m-Q4_K_M.gguf"),
    }
    model = pulled(repo)
    assert model.path.read_bytes() == gguf_bytes(seed=taken)
    assert hub.downloads() == [taken.rpartition("/")[2]]
    assert model.digest == f"sha256:{sha256(gguf_bytes(seed=taken)).hexdigest()}"


def test_all_files_of_a_split_model_are_pulled(pulled: Pull, hub: LocalHub) -> None:
    parts = [f"q4/m-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    hub.repos["u/r"] = files(*parts, "m-Q8_0.gguf")
    model = pulled("u/r")
    assert [file.name for file in model.files] == [part.removeprefix("q4/") for part in parts]
    assert (model.name, model.size) == ("u/r:Q4_K_M", 3 * 4096)
    assert [file.read_bytes() for file in model.files] == [gguf_bytes(seed=part) for part in parts]


def test_all_files_are_told_before_the_first_is_downloaded(pulled: Pull, hub: LocalHub) -> None:
    parts = [f"m-Q4_K_M-0000{number}-of-00002.gguf" for number in (1, 2)]
    hub.repos["u/r"] = files(*parts)
    told: list[list[tuple[str, int | None, int]]] = []

    def tell(found: Sequence[RemoteFile]) -> None:
        told.append([(file.name, file.size, len(hub.downloads())) for file in found])

    model = pulled("u/r", before_fetch=tell)
    pulled("u/r", before_fetch=tell)
    assert told == [[(part, 4096, 0) for part in parts]]
    # The same files in a new commit are here already; of a part that is gone all are told.
    hub.commit = "f" * 40
    pulled("u/r", before_fetch=tell)
    assert len(told) == 1
    model.files[1].resolve().unlink()
    pulled("u/r", before_fetch=tell)
    assert told[1] == [(part, 4096, 2) for part in parts]


def test_a_pull_can_be_stopped_before_the_first_byte(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m-Q8_0.gguf")

    def stop(found: Sequence[RemoteFile]) -> None:
        raise StoreError("too large")

    with pytest.raises(StoreError, match="too large"):
        pulled("u/r", before_fetch=stop)
    assert hub.downloads() == []
    assert pulled("u/r").path.is_file()


def test_an_incomplete_split_model_names_the_missing_part(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m-Q4_K_M-00001-of-00002.gguf")
    with pytest.raises(StoreError, match=r"u/r lacks m-Q4_K_M-00002-of-00002\.gguf"):
        pulled("u/r")
    assert hub.downloads() == []


def test_the_projector_comes_along_if_it_is_wanted(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files(
        "m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-m-F16.gguf", "mmproj-m-Q8_0.gguf"
    )
    assert pulled("u/r:Q8_0").projector is None
    model = pulled("u/r:Q8_0", projector=True)
    assert model.projector is not None
    assert model.projector.name == "mmproj-m-Q8_0.gguf"
    assert hub.downloads() == ["m-Q8_0.gguf", "mmproj-m-Q8_0.gguf"]


def test_a_pulled_model_is_not_downloaded_again(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    assert pulled("u/r") == pulled("u/r")
    assert hub.downloads() == ["m.gguf"]


def test_a_new_commit_with_the_same_file_downloads_nothing(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    first = pulled("u/r")
    hub.commit = "f" * 40
    second = pulled("u/r")
    assert hub.downloads() == ["m.gguf"]
    assert first.path.resolve() == second.path.resolve()
    assert first.path != second.path


def test_a_new_commit_with_another_file_is_pulled(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    pulled("u/r")
    hub.commit, hub.repos["u/r"] = "f" * 40, {"m.gguf": gguf_bytes(seed="new")}
    assert pulled("u/r").path.read_bytes() == gguf_bytes(seed="new")
    assert pulled("u/r", offline=True).path.read_bytes() == gguf_bytes(seed="new")


def test_a_failed_update_leaves_the_earlier_model(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    pulled("u/r")
    hub.commit, hub.repos["u/r"] = "f" * 40, {"m.gguf": gguf_bytes(seed="new")}
    hub.tampered = True
    with pytest.raises(StoreError, match="changed on the way"):
        pulled("u/r")
    assert pulled("u/r", offline=True).path.read_bytes() == gguf_bytes(seed="m.gguf")


def test_hugging_faces_tools_find_what_was_pulled(
    pulled: Pull, hub: LocalHub, tmp_path: Path
) -> None:
    names = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    hub.repos["u/r"] = files(*names)
    model = pulled("u/r")
    cache = tmp_path / ".cache" / "huggingface" / "hub"
    for name, file in zip(names, model.files, strict=True):
        found = hf_hub_download("u/r", name, cache_dir=cache, local_files_only=True)
        assert Path(found) == file
    (repo,) = scan_cache_dir(cache).repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, repo.nb_files) == ("u/r", COMMIT, 2)
    assert not scan_cache_dir(cache).warnings


def test_what_hugging_faces_tools_have_downloaded_is_not_downloaded_again(
    pulled: Pull, hub: LocalHub, tmp_path: Path
) -> None:
    hub.is_plain = True
    hub.repos["u/r"] = files("m.gguf")
    cache = tmp_path / ".cache" / "huggingface" / "hub"
    theirs = hf_hub_download("u/r", "m.gguf", cache_dir=cache, endpoint=hub.url)
    assert hub.downloads() == ["m.gguf"]
    assert pulled("u/r").path == Path(theirs)
    assert hub.downloads() == ["m.gguf"]


def test_offline_uses_the_cache_and_asks_nobody(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m-Q4_K_M.gguf")
    first = pulled("u/r")
    hub.asked.clear()
    assert pulled("u/r", offline=True) == first
    assert hub.asked == []


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_the_variable_of_hugging_face_means_offline(
    pulled: Pull, hub: LocalHub, environ: dict[str, str], value: str
) -> None:
    environ["HF_HUB_OFFLINE"] = value
    with pytest.raises(StoreError, match="HF_HUB_OFFLINE is set"):
        pulled("u/r")
    assert hub.asked == []


def test_offline_counts_only_what_was_downloaded(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m-Q4_K_M.gguf", "m-Q8_0.gguf")
    pulled("u/r")
    with pytest.raises(StoreError, match=r"downloaded part of u/r has no .*Q8_0; there are Q4_K_M"):
        pulled("u/r:Q8_0", offline=True)


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_down_is_no_matter_for_a_cached_model(
    pulled: Pull, hub: LocalHub, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repos["u/r"] = files("m.gguf")
    first = pulled("u/r")
    hub.broken_status = status
    hub.asked.clear()
    assert pulled("u/r") == first
    assert "using the files downloaded before" in caplog.text
    assert len(hub.asked) == 1


def test_a_hub_that_is_down_is_named(pulled: Pull, hub: LocalHub) -> None:
    hub.broken_status = 500
    with pytest.raises(StoreError, match=rf"can't reach the hub {hub.url} \(status 500\)"):
        pulled("u/r")


def test_a_hub_that_does_not_exist_is_named(pulled: Pull, environ: dict[str, str]) -> None:
    environ["HF_ENDPOINT"] = "http://127.0.0.1:1"
    with pytest.raises(StoreError, match=r"can't reach the hub http://127\.0\.0\.1:1 "):
        pulled("u/r")


def test_a_private_repository_opens_with_the_token(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    hub.private.add("u/r")
    with pytest.raises(StoreError, match=r"no repository u/r .* needs --hf-token") as caught:
        pulled("u/r", token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)
    assert pulled("u/r", token=f"{TOKEN}\n").path.name == "m.gguf"
    content = [one for one in hub.asked if "/content/" in one.path]
    assert content
    assert not any("authorization" in one.headers for one in content)


@pytest.mark.parametrize("source", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "a file"])
def test_the_token_comes_from_where_hugging_face_looks(
    pulled: Pull, hub: LocalHub, environ: dict[str, str], tmp_path: Path, source: str
) -> None:
    hub.repos["u/r"] = files("m.gguf")
    hub.private.add("u/r")
    if source == "a file":
        file = tmp_path / ".cache" / "huggingface" / "token"
        file.parent.mkdir(parents=True)
        file.write_text(TOKEN)
    else:
        environ[source] = TOKEN
    assert pulled("u/r").path.name == "m.gguf"


def test_a_damaged_token_is_refused_and_not_shown(pulled: Pull) -> None:
    with pytest.raises(StoreError, match="the Hugging Face token") as caught:
        pulled("u/r", token="hf_secret\nhf_other")
    assert "hf_secret" not in str(caught.value)


def test_a_gated_repository_says_what_to_do(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"] = files("m.gguf")
    hub.gated.add("u/r")
    with pytest.raises(StoreError, match="u/r is gated: accept its terms at"):
        pulled("u/r")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "u/r:Q2_K",
            r"^u/r has no model with quantization Q2_K; there are Q4_K_M \(1\.0 kB\), "
            r"Q8_0 \(8\.2 kB\)$",
        ),
        (
            "https://huggingface.co/u/r/resolve/main/x.gguf",
            r"there is no file x\.gguf in u/r; there are Q4_K_M",
        ),
        ("u/none", "u/none has no GGUF model"),
        ("u/missing", "there is no repository u/missing at"),
        ("just-a-name", "a repository looks like user/repo"),
        ("a/b/c", "a repository looks like user/repo"),
        ("../x", "a repository looks like user/repo|there is no file"),
        ("u/--", "a repository looks like user/repo"),
        ("ftp://x/y.gguf", "none of the schemes that can be pulled"),
    ],
)
def test_failures_are_one_clear_line(
    pulled: Pull, hub: LocalHub, reference: str, message: str
) -> None:
    models = {"m-Q8_0.gguf": gguf_bytes(8192), "m-Q4_K_M.gguf": gguf_bytes(1000)}
    hub.repos = {"u/r": {**models, "mmproj.gguf": gguf_bytes()}, "u/none": files("README.md")}
    with pytest.raises(ModelFileError, match=message) as caught:
        pulled(reference)
    assert "\n" not in str(caught.value)


def test_sizes_are_left_out_where_the_hub_tells_none(pulled: Pull, hub: LocalHub) -> None:
    hub.repos["u/r"], hub.names_sizes = files("m-Q8_0.gguf", "m-Q6_K.gguf"), False
    with pytest.raises(StoreError, match=r"there are Q6_K, Q8_0$"):
        pulled("u/r:Q2_K")


@pytest.mark.parametrize(
    "listing",
    [
        b"<html>hello</html>",
        b"[]",
        b'{"siblings": [{}]}',
        b'{"sha": "../../x", "siblings": []}',
        b"[" * 100_000,
    ],
)
def test_a_server_that_is_no_hub_is_told_apart(pulled: Pull, hub: LocalHub, listing: bytes) -> None:
    hub.repos["u/r"], hub.listing = {}, listing
    with pytest.raises(StoreError, match="doesn't answer like a hub"):
        pulled("u/r")


@pytest.mark.parametrize("name", ["../../../evil.gguf", "/etc/x.gguf", "a//b.gguf", "a\\b.gguf"])
def test_a_hub_cannot_write_outside_of_the_cache(pulled: Pull, hub: LocalHub, name: str) -> None:
    hub.repos["u/r"] = {name: gguf_bytes()}
    with pytest.raises(StoreError, match="u/r has no GGUF model"):
        pulled("u/r")


def test_a_cache_that_cannot_be_written_is_named(
    pulled: Pull, hub: LocalHub, environ: dict[str, str], tmp_path: Path
) -> None:
    hub.repos["u/r"] = files("m.gguf")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    environ["HF_HUB_CACHE"] = str(blocked / "hub")
    with pytest.raises(StoreError, match=rf"downloading m\.gguf to {blocked}.* failed: Not a dir"):
        pulled("u/r")


def test_progress_is_told_from_the_question_to_the_end(
    pulled: Pull, hub: LocalHub, reports: list[PullProgress]
) -> None:
    hub.repos["u/r"] = files("m.gguf")
    pulled("u/r")
    statuses = list(dict.fromkeys(report.status for report in reports))
    assert statuses == [PullStatus.RESOLVING, PullStatus.DOWNLOADING, PullStatus.DONE]
    last = reports[-1]
    assert (last.file, last.total, last.completed) == ("m.gguf", 4096, 4096)
    assert last.digest.startswith("sha256:")


def test_the_settings_and_hf_endpoint_lead_to_the_hub(
    hub: LocalHub, environ: dict[str, str]
) -> None:
    hub.repos["u/r"] = files("m.gguf")
    settings = load_settings(["-hf", "u/r"], {})
    # The content only starts as a model does; the server notices after the download.
    with pytest.raises(ModelFileError, match=r"m\.gguf has GGUF version"):
        resolve_model(settings, environ)
    assert hub.downloads() == ["m.gguf"]


def test_a_file_is_named_beside_the_repository(hub: LocalHub, environ: dict[str, str]) -> None:
    hub.repos["u/r"] = files("m-Q4_K_M.gguf", "m-F16.gguf")
    settings = load_settings(["-hf", "u/r:Q4_K_M", "-hff", "m-F16.gguf"], {})
    with pytest.raises(ModelFileError, match=r"m-F16\.gguf has GGUF version"):
        resolve_model(settings, environ)


def test_the_draft_model_comes_from_the_hub_too(hub: LocalHub, environ: dict[str, str]) -> None:
    hub.repos["u/r"] = files("a.gguf", "b.gguf")
    settings = load_settings(["-hfd", "u/r", "-md", "b.gguf"], {})
    with pytest.raises(ModelFileError, match=r"draft model: .*b\.gguf has GGUF version"):
        resolve_draft(settings, environ)
    assert hub.downloads() == ["b.gguf"]

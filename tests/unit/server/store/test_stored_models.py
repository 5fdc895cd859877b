"""The models of all programs: what is listed, under which names, whose it is, how it goes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from server.store.errors import AmbiguousName, NotOurs, StoreError, UnknownModel
from server.store.folders import Folders, Owner, folders_of
from server.store.model import StoredModel
from server.store.names import find
from server.store.own_files import import_file
from server.store.removal import remove
from server.store.stored_models import stored_models
from server.store.unfinished import remove_unfinished, unfinished_downloads
from tests.support.paths import DEMO_DRAFT

COMMIT = "c0ffee" * 6 + "abcd"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folders(home: Path) -> Folders:
    return folders_of({"HOME": str(home), "OLLAMA_MODELS": str(home / "ollama")})


def write(path: Path, text: str = "GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def in_cache(
    folders: Folders, repo: str, name: str, text: str = "", *, commit: str = COMMIT
) -> Path:
    """A file in the Hugging Face cache; the newest commit is the one of the last call."""
    folder = folders.hugging_face / f"models--{repo.replace('/', '--')}"
    digest = hashlib.sha256((text or name).encode()).hexdigest()
    blob = write(folder / "blobs" / digest, text or name)
    place = folder / "snapshots" / commit / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(blob, place.parent))
    write(folder / "refs" / "main", commit)
    return place


def in_ollama(folders: Folders, steps: str, model: str, *others: str) -> Path:
    """A model of Ollama, with further layers."""
    (folder,) = folders.ollama
    texts = {model: "application/vnd.ollama.image.model"}
    texts |= dict.fromkeys(others, "application/vnd.ollama.image.license")
    layers = []
    for text, media in texts.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        write(folder / "blobs" / f"sha256-{digest}", text)
        layers.append({"mediaType": media, "digest": f"sha256:{digest}"})
    write(folder / "manifests" / steps, json.dumps({"layers": layers}))
    return folder / "blobs" / layers[0]["digest"].replace(":", "-")


def listed(folders: Folders) -> dict[str, Owner]:
    return {model.name: model.owner for model in stored_models(folders)}


def test_a_machine_without_models(folders: Folders) -> None:
    assert stored_models(folders) == []


def test_every_programs_models_are_read_where_they_lie(folders: Folders, home: Path) -> None:
    write(folders.imports / "mine.gguf")
    write(folders.downloads / "0123456789abcdef" / "by-url.gguf")
    write(folders.downloads / "docker" / "ai_smollm2" / "latest" / "smollm2-0123.gguf")
    write(folders.downloads / "ollama" / "library_phi" / "3b" / "phi-0123.gguf")
    in_cache(folders, "u/r", "m-Q4_K_M.gguf")
    (llama_cpp,) = folders.llama_cpp
    write(llama_cpp / "manifest=ggml-org=gemma-GGUF=latest.json", "{}")
    write(llama_cpp / "ggml-org_gemma-GGUF_gemma-Q8_0.gguf")
    write(llama_cpp / "other.gguf")
    write(home / ".lmstudio" / "models" / "pub" / "model-GGUF" / "model.Q6_K.gguf")
    write(home / ".cache" / "lm-studio" / "models" / "old" / "model" / "x-F16.gguf")
    in_ollama(folders, "registry.ollama.ai/library/llama3.2/3b", "llama")
    in_ollama(folders, "registry.ollama.ai/me/mine/latest", "mine")
    in_ollama(folders, "hf.co/u/r-GGUF/Q4_K_M", "hf")
    assert listed(folders) == {
        "mine": Owner.LLAMAPACK,
        "by-url": Owner.LLAMAPACK,
        "ai/smollm2:latest": Owner.LLAMAPACK,
        "phi:3b": Owner.LLAMAPACK,
        "u/r:Q4_K_M": Owner.HUGGING_FACE,
        "ggml-org/gemma-GGUF:Q8_0": Owner.LLAMA_CPP,
        "other": Owner.LLAMA_CPP,
        "pub/model-GGUF:Q6_K": Owner.LM_STUDIO,
        "old/model:F16": Owner.LM_STUDIO,
        "llama3.2:3b": Owner.OLLAMA,
        "me/mine:latest": Owner.OLLAMA,
        "hf.co/u/r-GGUF:Q4_K_M": Owner.OLLAMA,
    }


def test_a_setting_moves_the_folder_of_lm_studio(home: Path) -> None:
    write(home / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": f"{home}/big"}))
    write(home / "big" / "pub" / "model" / "m-Q8_0.gguf")
    assert listed(folders_of({"HOME": str(home)})) == {"pub/model:Q8_0": Owner.LM_STUDIO}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "{}/a"}, "a"),
        ({"HUGGINGFACE_HUB_CACHE": "{}/a"}, "a"),
        ({"HF_HOME": "{}/a"}, "a/hub"),
        ({"XDG_CACHE_HOME": "{}/a"}, "a/huggingface/hub"),
        ({}, ".cache/huggingface/hub"),
        ({"HF_HUB_CACHE": "{}/b", "HF_HOME": "{}/a"}, "b"),
    ],
)
def test_the_cache_lies_where_hugging_face_looks(
    home: Path, variables: dict[str, str], place: str
) -> None:
    given = {name: value.format(home) for name, value in variables.items()}
    assert folders_of({"HOME": str(home), **given}).hugging_face == home / place


def test_what_is_no_whole_model_is_not_listed(folders: Folders) -> None:
    in_cache(folders, "u/r", "m-Q8_0-00001-of-00002.gguf")
    in_cache(folders, "u/r", "mmproj-F16.gguf")
    in_cache(folders, "u/r", "imatrix.gguf")
    in_cache(folders, "u/r", "README.md")
    broken = in_cache(folders, "u/r", "gone-Q4_0.gguf")
    broken.resolve().unlink()
    write(folders.downloads / "0123456789abcdef" / "half.gguf.incomplete")
    write(folders.hugging_face / "models--u--r" / "blobs" / "abc.incomplete")
    assert listed(folders) == {}


def test_parts_of_different_commits_are_no_model(folders: Folders) -> None:
    in_cache(folders, "u/r", "m-Q8_0-00002-of-00002.gguf", commit="a" * 40)
    in_cache(folders, "u/r", "m-Q8_0-00001-of-00002.gguf", commit="b" * 40)
    assert listed(folders) == {}


def test_an_earlier_commit_has_what_the_newest_lacks(folders: Folders) -> None:
    in_cache(folders, "u/r", "m-Q8_0.gguf", "old", commit="a" * 40)
    in_cache(folders, "u/r", "m-Q4_0.gguf", "old", commit="a" * 40)
    in_cache(folders, "u/r", "m-Q8_0.gguf", "new", commit="b" * 40)
    found = {model.name: model.path.read_text() for model in stored_models(folders)}
    assert found == {"u/r:Q4_0": "old", "u/r:Q8_0": "new"}


def test_a_split_model_is_one_model_with_its_projector(folders: Folders) -> None:
    for name in ("q/m-Q8_0-00001-of-00002.gguf", "q/m-Q8_0-00002-of-00002.gguf"):
        in_cache(folders, "u/r", name, "x" * 10 + name)
    in_cache(folders, "u/r", "mmproj-F16.gguf")
    (model,) = stored_models(folders)
    assert model.name == "u/r:Q8_0"
    assert model.size == sum(len("x" * 10 + f"q/{file.name}") for file in model.files)
    assert model.projector is not None
    assert model.digest.startswith("sha256:")


def test_names_are_unique_and_stay(folders: Folders, home: Path) -> None:
    in_cache(folders, "u/r", "a-Q8_0.gguf")
    assert list(listed(folders)) == ["u/r:Q8_0"]
    in_cache(folders, "u/r", "b-Q8_0.gguf")
    in_cache(folders, "u/r", "plain.gguf")
    write(home / ".lmstudio" / "models" / "u" / "r" / "a-Q8_0.gguf")
    write(home / ".cache" / "lm-studio" / "models" / "u" / "r" / "a-Q8_0.gguf")
    assert list(listed(folders)) == [
        "u/r:b-Q8_0",
        "u/r:plain",
        "u/r:Q8_0",
        "u/r:Q8_0@lmstudio",
        "u/r:Q8_0@lmstudio-2",
    ]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("user/Repo-GGUF:Q8_0", "user/Repo-GGUF:Q8_0"),
        ("USER/repo-gguf:q8_0", "user/Repo-GGUF:Q8_0"),
        ("repo-gguf:q8_0", "user/Repo-GGUF:Q8_0"),
        ("single", "user/single:F16"),
        ("user/single", "user/single:F16"),
        ("llama", "llama:latest"),
        ("llama:latest", "llama:latest"),
        ("mine", "mine"),
        ("mine:latest", "mine"),
    ],
)
def test_a_part_of_a_name_is_enough(folders: Folders, asked: str, name: str) -> None:
    in_cache(folders, "user/Repo-GGUF", "m-Q8_0.gguf")
    in_cache(folders, "user/Repo-GGUF", "m-Q4_K_M.gguf")
    in_cache(folders, "user/single", "m-F16.gguf")
    write(folders.imports / "mine.gguf")
    in_ollama(folders, "registry.ollama.ai/library/llama/latest", "llama")
    assert find(asked, stored_models(folders)).name == name


def test_names_that_fit_nobody_or_several(folders: Folders) -> None:
    with pytest.raises(UnknownModel, match="there is no model x; `llamapack pull` gets one"):
        find("x", stored_models(folders))
    in_cache(folders, "user/repo", "m-Q8_0.gguf")
    in_cache(folders, "user/repo", "m-Q4_K_M.gguf")
    models = stored_models(folders)
    with pytest.raises(AmbiguousName, match=r"several .* repo: user/repo:Q4_K_M, user/repo:Q8_0"):
        find("repo", models)
    with pytest.raises(UnknownModel, match=r"did you mean user/repo:Q8_0"):
        find("user/repo:Q8", models)


def one(folders: Folders, name: str) -> StoredModel:
    return find(name, stored_models(folders))


def test_removing_a_model_of_the_cache_keeps_its_neighbours(folders: Folders) -> None:
    for commit in ("a" * 40, "b" * 40):
        for name in ("m-Q8_0.gguf", "m-Q4_0.gguf", "mmproj-F16.gguf"):
            in_cache(folders, "u/r", name, name, commit=commit)
    size = one(folders, "u/r:Q8_0").size
    assert remove(one(folders, "u/r:Q8_0"), folders) == size
    assert list(listed(folders)) == ["u/r:Q4_0"]
    assert one(folders, "u/r:Q4_0").projector is not None
    repo = folders.hugging_face / "models--u--r"
    assert len(list((repo / "blobs").iterdir())) == 2
    remove(one(folders, "u/r:Q4_0"), folders)
    assert not repo.exists()


def test_a_blob_with_two_names_stays_until_the_last_one_goes(folders: Folders) -> None:
    in_cache(folders, "u/r", "a-Q8_0.gguf", "same")
    in_cache(folders, "u/r", "b-Q4_0.gguf", "same")
    assert remove(one(folders, "u/r:Q8_0"), folders) == 0
    assert one(folders, "u/r:Q4_0").path.read_text() == "same"
    assert remove(one(folders, "u/r:Q4_0"), folders) == len("same")


def test_a_download_that_runs_survives_the_removal(folders: Folders) -> None:
    in_cache(folders, "u/r", "m-Q8_0.gguf")
    partial = write(folders.hugging_face / "models--u--r" / "blobs" / "abc.incomplete")
    remove(one(folders, "u/r:Q8_0"), folders)
    assert partial.exists()


def test_what_belongs_to_others_needs_force(folders: Folders, home: Path) -> None:
    write(home / ".lmstudio" / "models" / "pub" / "model" / "m-Q6_K.gguf")
    (llama_cpp,) = folders.llama_cpp
    write(llama_cpp / "m.gguf")
    write(llama_cpp / "m.gguf.json")
    blob = in_ollama(folders, "registry.ollama.ai/library/a/1", "shared", "licence")
    in_ollama(folders, "registry.ollama.ai/library/b/1", "shared")
    for name in ("pub/model:Q6_K", "m", "a:1"):
        with pytest.raises(NotOurs, match=rf"{name} belongs to .* remove it there, or with --forc"):
            remove(one(folders, name), folders)
        assert one(folders, name)
        remove(one(folders, name), folders, force=True)
    assert list(listed(folders)) == ["b:1"]
    assert blob.read_text() == "shared"
    (ollama,) = folders.ollama
    assert len(list((ollama / "blobs").iterdir())) == 1
    assert not list(llama_cpp.iterdir())
    assert not (home / ".lmstudio" / "models" / "pub").exists()


def test_broken_manifests_are_passed_over(folders: Folders) -> None:
    in_ollama(folders, "registry.ollama.ai/library/good/1", "good")
    (folder,) = folders.ollama
    for number, text in enumerate(
        ("", "[]", "{", '{"layers": [5]}', '{"layers": [{"digest": "sha256:../x"}]}', "[" * 99999)
    ):
        write(folder / "manifests" / "registry.ollama.ai" / "library" / "bad" / str(number), text)
    write(folder / "manifests" / "stray", "{}")
    assert list(listed(folders)) == ["good:1"]


@pytest.mark.parametrize("how", ["auto", "copy", "link"])
def test_an_import_gives_a_file_a_name(folders: Folders, tmp_path: Path, how: str) -> None:
    file = tmp_path / "some-model-Q4_0.gguf"
    file.write_bytes(DEMO_DRAFT.read_bytes())
    model = import_file(file, folders, name="mine", how=how)  # type: ignore[arg-type]
    assert one(folders, "mine") == model
    assert model.path.read_bytes() == file.read_bytes()
    assert model.path.samefile(file) == (how != "copy")
    remove(model, folders)
    assert file.exists()
    assert listed(folders) == {}


def test_an_import_checks_the_file_and_the_name(folders: Folders, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(DEMO_DRAFT.read_bytes())
    for name in ("", "../x", "a/b", ".hidden", "a:b", "x" * 200):
        with pytest.raises(StoreError, match="a name has letters"):
            import_file(file, folders, name=name)
    import_file(file, folders)
    with pytest.raises(StoreError, match="there is a model m already"):
        import_file(file, folders)
    broken = write(tmp_path / "broken.gguf")
    with pytest.raises(Exception, match="is incomplete"):
        import_file(broken, folders)
    assert list(listed(folders)) == ["m"]


def test_a_failed_import_leaves_nothing(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(DEMO_DRAFT.read_bytes())

    def full(source: Path, place: Path) -> None:
        place.write_bytes(b"GGUF")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.store.own_files.shutil.copyfile", full)
    with pytest.raises(StoreError, match="No space left"):
        import_file(file, folders, how="copy")
    assert not list(folders.imports.iterdir())


def test_two_imports_of_one_name(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(DEMO_DRAFT.read_bytes())
    tried: list[str] = []

    def copy(source: Path, place: Path) -> None:
        place.write_bytes(source.read_bytes())
        if not tried:
            tried.append("")
            assert unfinished_downloads(folders) == []
            with pytest.raises(StoreError, match="is being written by another process"):
                import_file(file, folders, how="copy")

    monkeypatch.setattr("server.store.own_files.shutil.copyfile", copy)
    import_file(file, folders, how="copy")
    assert tried
    assert one(folders, "m").path.read_bytes() == file.read_bytes()


def test_what_a_killed_import_has_left_is_unfinished(folders: Folders) -> None:
    write(folders.imports / "m.gguf.incomplete")
    (left,) = unfinished_downloads(folders)
    assert remove_unfinished(left) == 4
    assert listed(folders) == {}

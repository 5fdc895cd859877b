"""pull, import, list, show and rm, as a new user types them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.cli import main
from server.commands.description import ago
from tests.support.local_hub import LocalHub, environment, local_hub
from tests.support.paths import DEMO_DRAFT, DEMO_TARGET

Captured = pytest.CaptureFixture[str]
Run = Callable[..., tuple[int, str, str]]

DRAFT = DEMO_DRAFT.read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with local_hub() as hub:
        for name, value in environment(hub, tmp_path).items():
            monkeypatch.setenv(name, value)
        hub.repos["user/repo"] = {"m-Q8_0.gguf": DRAFT, "mmproj-F16.gguf": DRAFT[:-1] + b"x"}
        yield hub


@pytest.fixture
def run(hub: LocalHub, capsys: Captured) -> Run:
    """Runs a command; gives its exit code, its output and its errors."""

    def command(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_the_way_of_a_new_user(run: Run, tmp_path: Path) -> None:
    code, out, err = run("list")
    assert (code, out) == (0, "")
    assert err == "there are no models yet; `llamapack pull USER/REPO` gets one\n"

    code, out, err = run("pull", "user/repo")
    assert code == 0
    assert out.splitlines() == [
        "user/repo:Q8_0  658 kB, with mmproj-F16.gguf",
        "talk to it: llamapack run user/repo:Q8_0",
        "serve it:   llamapack serve -hf user/repo:Q8_0",
    ]
    assert err.splitlines()[-1] == "done mmproj-F16.gguf 658 kB"

    file = tmp_path / "some-file.gguf"
    shutil.copyfile(DEMO_TARGET, file)
    assert run("import", str(file), "--name", "demo")[0] == 0

    code, out, err = run("list")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["NAME", "SIZE", "QUANT", "ARCH", "MODIFIED", "OWNER"]
    assert [(line[0], line[-1]) for line in lines[1:]] == [
        ("demo", "llamapack"),
        ("user/repo:Q8_0", "huggingface"),
    ]
    assert "llama +mmproj" in out
    assert "just now" in out

    code, out, err = run("show", "demo")
    assert code == 0
    assert "architecture  llama" in out
    assert "template      chat, tools, thinking" in out
    assert "attention" in out

    assert run("rm", "--yes", "demo", "repo") == (
        0,
        "removed demo; its content stays elsewhere\n"
        "removed user/repo:Q8_0; 1.3 MB are free again\n",
        "",
    )
    assert run("list")[1] == ""
    assert file.exists()


def test_json_for_scripts(run: Run) -> None:
    lines = [json.loads(line) for line in run("pull", "user/repo", "--json")[1].splitlines()]
    assert {line["status"] for line in lines} >= {"resolving", "downloading", "done", "success"}
    model = lines[-1]["model"]
    assert (model["name"], model["size"]) == ("user/repo:Q8_0", len(DRAFT))
    assert model["digest"].startswith("sha256:")

    (listed,) = json.loads(run("list", "--json")[1])
    assert listed == model
    datetime.fromisoformat(listed["modified"])

    shown = json.loads(run("show", "user/repo", "--json")[1])
    assert shown["architecture"] == "llama"
    assert shown["context_length"] > 0
    assert sum(shown["parts"].values()) == sum(shown["types"].values())
    assert 0 < shown["size"] - sum(shown["parts"].values()) < shown["size"] / 4

    removed = json.loads(run("rm", "user/repo", "--yes", "--json")[1])
    assert removed == [{"name": "user/repo:Q8_0", "freed": 2 * len(DRAFT)}]
    assert json.loads(run("list", "--json")[1]) == []


def test_the_projector_can_be_left_out(run: Run, hub: LocalHub) -> None:
    assert run("pull", "user/repo", "--no-mmproj")[1].startswith("user/repo:Q8_0  658 kB\n")
    assert hub.downloads() == ["m-Q8_0.gguf"]


def test_a_file_and_an_address_are_pulled(run: Run, hub: LocalHub, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    shutil.copyfile(DEMO_DRAFT, file)
    assert run("pull", str(file))[1].startswith("mine  658 kB\ntalk to it: llamapack run mine\n")
    url = f"{hub.content_url}/content/user/repo/m-Q8_0.gguf"
    assert run("pull", url)[1].startswith("m-Q8_0  658 kB\n")


def test_models_of_others_are_shown_on_request(run: Run, tmp_path: Path) -> None:
    place = tmp_path / ".lmstudio" / "models" / "pub" / "model" / "m-Q6_K.gguf"
    place.parent.mkdir(parents=True)
    shutil.copyfile(DEMO_DRAFT, place)
    assert run("list")[2].endswith("1 more model belongs to other programs: llamapack list --all\n")
    assert "pub/model:Q6_K" in run("list", "--all")[1]
    code, _, err = run("rm", "--yes", "pub/model")
    assert code == 1
    assert "belongs to lmstudio" in err
    assert place.exists()
    assert run("rm", "--yes", "--force", "pub/model")[0] == 0
    assert not place.exists()


def test_a_damaged_file_is_listed_and_not_shown(run: Run, tmp_path: Path) -> None:
    place = tmp_path / ".local" / "share" / "llamapack" / "models" / "broken.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"GGUF")
    assert "damaged" in run("list")[1]
    code, out, err = run("show", "broken")
    assert (code, out) == (1, "")
    assert "broken.gguf is incomplete: it ends within its header" in err


def test_a_file_outside_of_the_store_is_shown(run: Run) -> None:
    out = run("show", str(DEMO_TARGET))[1]
    assert out.startswith("demo-target\n")
    assert "owner         nobody" in out
    assert run("show", str(DEMO_TARGET), "--template")[1].strip()
    assert "general.architecture = 'llama'" in run("show", str(DEMO_TARGET), "--metadata")[1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)]
)
def test_rm_asks_before(run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    run("pull", "user/repo")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    found, _, err = run("rm", "user/repo")
    assert found == code
    assert "user/repo:Q8_0  658 kB" in err
    assert bool(run("list")[1]) == bool(code)


def test_what_a_stopped_pull_has_left_is_told_and_removed(
    run: Run, hub: LocalHub, tmp_path: Path
) -> None:
    hub.repos["user/repo"] = {"m-Q8_0.gguf": DRAFT}
    url = f"{hub.content_url}/content/user/repo/m-Q8_0.gguf"
    for reference in ("user/repo", url):
        hub.cuts, hub.refuses_ranges = [300_000], True
        assert run("pull", reference)[0] == 1
    hub.refuses_ranges = False
    assert "unfinished downloads take 600 kB: pull again, or" in run("list")[2]
    assert json.loads(run("rm", "--unfinished", "--yes", "--json")[1])
    assert not list(tmp_path.rglob("*.incomplete*"))
    assert run("rm", "--unfinished")[1] == "removed 0 unfinished; 0 B are free again\n"
    assert "unfinished" not in run("list")[2]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["pull", "user/repo:Q2_K"], 1, "user/repo has no model with quantization Q2_K; there are"),
        (["pull", "user/none"], 1, "there is no repository user/none at"),
        (["pull", "nothing"], 1, "a repository looks like user/repo"),
        (
            ["pull", "--offline", "user/repo"],
            1,
            "offline (--offline or HF_HUB_OFFLINE is set), and",
        ),
        (["show", "nothing"], 1, "there is no model nothing; `llamapack pull` gets one"),
        (["rm", "nothing"], 1, "there is no model nothing"),
        (["import", "/nowhere.gguf"], 1, "there is no file /nowhere.gguf"),
    ],
)
def test_what_goes_wrong_is_one_line(run: Run, words: list[str], code: int, line: str) -> None:
    found, out, err = run(*words)
    assert (found, out) == (code, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"llamapack: error: {line}")


def test_rm_without_a_terminal_wants_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("pull", "user/repo")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run("rm", "user/repo") == (
        2,
        "",
        "llamapack: error: nobody can be asked here; add --yes\n",
    )


@pytest.mark.parametrize("command", ["pull", "import", "list", "show", "rm"])
def test_each_command_has_help(command: str, run: Run, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: llamapack {command}")
    assert "--json" in out


@pytest.mark.parametrize(
    "words",
    [["pull"], ["show"], ["rm"], ["import"], ["list", "--nothing"], ["rm", "x", "--unfinished"]],
)
def test_wrong_usage_is_exit_code_2(words: list[str], run: Run) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86400 * 6, "6 days ago"),
        (86400 * 13, "1 week ago"),
        (86400 * 400, "1 year ago"),
    ],
)
def test_how_long_ago(seconds: int, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == text

"""Downloads that are cut, full disks, wrong content: what is kept, and what is asked again."""

from __future__ import annotations

import shutil
import ssl
import threading
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from server.store.errors import DiskFull, PullCancelled, Refused, StoreError, WrongContent
from server.store.hosts import PullHosts
from server.store.locks import lock_if_free
from server.store.model import StoredModel
from server.store.progress import PullProgress, PullStatus
from server.store.pull import PullOptions, pull
from server.store.unfinished import Unfinished, remove_unfinished, unfinished_downloads
from server.store.web import reason
from tests.support.local_hub import LocalHub, gguf_bytes

Pull = Callable[..., StoredModel]

CONTENT = gguf_bytes(100_000)


@pytest.fixture(autouse=True)
def one_model(hub: LocalHub) -> None:
    hub.repos["u/r"] = {"m.gguf": CONTENT}


def stored_files(home: Path) -> list[str]:
    """What looks like a model to other programs."""
    return [path.name for path in home.rglob("*.gguf") if path.exists()]


def test_a_cut_download_goes_on_where_it_was_cut(pulled: Pull, hub: LocalHub) -> None:
    hub.cuts = [30_000, 20_000]
    assert pulled("u/r").path.read_bytes() == CONTENT
    assert hub.ranges() == [None, "bytes=30000-", "bytes=50000-"]


def test_the_next_pull_goes_on_where_the_last_one_gave_up(
    pulled: Pull, hub: LocalHub, tmp_path: Path, reports: list[PullProgress]
) -> None:
    hub.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError, match=r"the connection was cut .*40\.0 kB are kept"):
        pulled("u/r")
    assert stored_files(tmp_path) == []
    hub.asked.clear()
    hub.cuts = []
    assert pulled("u/r").path.read_bytes() == CONTENT
    assert hub.ranges() == ["bytes=40000-"]
    assert PullStatus.CHECKING in {report.status for report in reports}


def test_a_server_that_knows_no_ranges_sends_all_again(pulled: Pull, hub: LocalHub) -> None:
    hub.cuts, hub.ignores_ranges = [30_000], True
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_patience_ends_without_progress(
    pulled: Pull, hub: LocalHub, reports: list[PullProgress]
) -> None:
    hub.cuts = [0] * 20
    with pytest.raises(StoreError, match="the connection was cut"):
        pulled("u/r")
    waits = [report.reason for report in reports if report.status is PullStatus.RETRYING]
    assert [wait.rpartition(" in ")[2] for wait in waits] == ["1 s", "2 s", "4 s", "8 s"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_waited_for(
    options: PullOptions, hub: LocalHub, reports: list[PullProgress], status: int
) -> None:
    hub.statuses = [(status, {"Retry-After": "7"})]
    pull("u/r", reports.append, options=options)
    (wait,) = [report for report in reports if report.status is PullStatus.RETRYING]
    assert wait.reason == f"status {status}; trying again in 7 s"


@pytest.mark.parametrize("value", ["Fri, 01 Jan 2100 00:00:00 GMT", "4000"])
def test_a_wait_that_is_too_long_ends_the_pull(pulled: Pull, hub: LocalHub, value: str) -> None:
    hub.statuses = [(429, {"Retry-After": value})]
    with pytest.raises(StoreError, match="status 429"):
        pulled("u/r")


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "Fri, 01 Jan 2010 00:00:00 GMT"])
def test_a_wait_that_makes_no_sense_is_short(pulled: Pull, hub: LocalHub, value: str) -> None:
    hub.statuses = [(429, {"Retry-After": value})]
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_a_refusal_is_not_repeated(pulled: Pull, hub: LocalHub) -> None:
    hub.statuses = [(403, {})] * 9
    with pytest.raises(StoreError, match=r"refuses access to u/r \(status 403\)"):
        pulled("u/r")
    assert len(hub.statuses) == 8


def test_changed_content_is_deleted(pulled: Pull, hub: LocalHub, tmp_path: Path) -> None:
    hub.tampered = True
    with pytest.raises(WrongContent, match="was changed on the way: its SHA256 is"):
        pulled("u/r")
    assert not list(tmp_path.rglob("*incomplete*"))
    assert stored_files(tmp_path) == []
    hub.tampered = False
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_a_leftover_of_other_content_is_found_out(
    pulled: Pull, hub: LocalHub, tmp_path: Path
) -> None:
    hub.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled("u/r")
    (partial,) = tmp_path.rglob("*.incomplete")
    partial.write_bytes(b"x" * 40_000)
    hub.cuts = []
    with pytest.raises(WrongContent, match="changed on the way"):
        pulled("u/r")
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_a_leftover_that_is_too_long_is_not_used(
    pulled: Pull, hub: LocalHub, tmp_path: Path
) -> None:
    hub.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled("u/r")
    (partial,) = tmp_path.rglob("*.incomplete")
    partial.write_bytes(CONTENT * 2)
    hub.cuts = []
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_a_complete_leftover_is_only_checked(pulled: Pull, hub: LocalHub, tmp_path: Path) -> None:
    hub.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled("u/r")
    (partial,) = tmp_path.rglob("*.incomplete")
    partial.write_bytes(CONTENT)
    hub.asked.clear()
    assert pulled("u/r").path.read_bytes() == CONTENT
    assert hub.downloads() == []


def test_a_page_instead_of_a_model_is_refused_at_once(
    pulled: Pull, hub: LocalHub, tmp_path: Path
) -> None:
    hub.repos["u/r"] = {"m.gguf": b"<html>" + bytes(100_000)}
    with pytest.raises(WrongContent, match="is not a GGUF file: it starts with b'<htm'"):
        pulled("u/r")
    assert not list(tmp_path.rglob("*incomplete*"))


def test_a_disk_without_room_is_told_before_the_first_byte(
    pulled: Pull, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=99_999)
    monkeypatch.setattr("server.store.transfer.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"has 100 kB free, and the download needs 100 kB"):
        pulled("u/r")
    assert hub.downloads() == []


def test_all_parts_must_fit_before_the_first_one_is_pulled(
    pulled: Pull, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["u/r"] = {f"m-0000{part}-of-00002.gguf": CONTENT + bytes([part]) for part in (1, 2)}
    usage = shutil.disk_usage("/")._replace(free=150_000)
    monkeypatch.setattr("server.store.transfer.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"has 150 kB free, and the download needs 200 kB"):
        pulled("u/r")
    assert hub.downloads() == []


def test_a_disk_that_fills_up_meanwhile(
    pulled: Pull, hub: LocalHub, tmp_path: Path, options: PullOptions
) -> None:
    hub.cuts = [0] * 6
    with pytest.raises(StoreError):
        pulled("u/r")
    (partial,) = tmp_path.rglob("*.incomplete")
    partial.unlink()
    partial.symlink_to("/dev/full")  # every write fails as on a full disk
    with pytest.raises(DiskFull, match=r"No space left .*make room and pull again"):
        pulled("u/r")
    assert stored_files(tmp_path) == []
    partial.unlink()
    assert pulled("u/r").path.read_bytes() == CONTENT


def test_two_pulls_of_one_model_share_one_download(hub: LocalHub, options: PullOptions) -> None:
    hub.piece_seconds = 0.002
    reports: list[list[PullProgress]] = [[], []]
    models: list[StoredModel] = []

    def run(number: int) -> None:
        models.append(pull("u/r", reports[number].append, options=options))

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models[0] == models[1]
    assert hub.downloads() == ["m.gguf"]
    waiting = [one for some in reports for one in some if one.status is PullStatus.WAITING]
    assert all(one.reason == "another pull downloads it" for one in waiting)


def test_a_cancelled_pull_leaves_no_model_and_is_resumed(
    hub: LocalHub, options: PullOptions, tmp_path: Path
) -> None:
    seen: list[PullProgress] = []
    with pytest.raises(PullCancelled):
        pull(
            "u/r",
            seen.append,
            options=options,
            is_cancelled=lambda: any(one.status is PullStatus.DOWNLOADING for one in seen),
        )
    assert stored_files(tmp_path) == []
    assert pull("u/r", options=options).path.read_bytes() == CONTENT


def test_a_cancelled_pull_does_not_wait_for_its_pause(hub: LocalHub, options: PullOptions) -> None:
    hub.broken_status = 503
    waited: list[PullProgress] = []
    with pytest.raises(PullCancelled):
        pull("u/r", waited.append, options=options, is_cancelled=lambda: len(waited) > 1)


@pytest.mark.parametrize("allowed", [(), ("other.example",), ("127.0.0.1:1",)])
def test_other_hosts_are_not_asked(pulled: Pull, hub: LocalHub, allowed: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match=r"pulls may not use the host 127\.0\.0\.1"):
        pulled("u/r", hosts=PullHosts(allowed))
    assert hub.asked == []


def test_a_redirection_must_lead_to_an_allowed_host(pulled: Pull, hub: LocalHub) -> None:
    with pytest.raises(StoreError, match="pulls may not use the host localhost"):
        pulled("u/r", hosts=PullHosts(["127.0.0.1"]))
    assert hub.downloads() == []
    port = hub.content_url.rpartition(":")[2]
    hosts = PullHosts(["127.0.0.1", f"localhost:{port}"])
    assert pulled("u/r", hosts=hosts).path.read_bytes() == CONTENT


def test_errors_of_certificates_say_what_helps() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    assert "SSL_CERT_FILE" in reason(urllib.error.URLError(error))


def test_a_status_tells_its_number() -> None:
    assert str(Refused(418, {})) == "status 418"


def test_a_download_that_runs_is_not_unfinished(
    hub: LocalHub, options: PullOptions, tmp_path: Path
) -> None:
    hub.piece_seconds = 0.01
    url = f"{hub.content_url}/content/u/r/m.gguf"
    for reference in ("u/r", url):
        found: list[Unfinished] = []

        def look(progress: PullProgress, found: list[Unfinished] = found) -> None:
            if progress.status is PullStatus.DOWNLOADING:
                assert list(tmp_path.rglob("*.incomplete"))
                found += unfinished_downloads(options.folders)

        pull(reference, look, options=options)
        assert found == []


def test_a_download_that_begins_meanwhile_is_not_removed(
    pulled: Pull, hub: LocalHub, options: PullOptions
) -> None:
    hub.cuts = [40_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError):
        pulled("u/r")
    (left,) = unfinished_downloads(options.folders)
    assert left.size == 40_000
    with lock_if_free(left.lock) as is_held:
        assert is_held
        assert remove_unfinished(left) == 0
    assert left.path.exists()
    assert remove_unfinished(left) == 40_000
    assert unfinished_downloads(options.folders) == []

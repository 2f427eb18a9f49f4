"""Fetching a data set: resumed, checked, unpacked, ready for batch and training."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import stat
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import h5py
import numpy as np
import pytest

from napari_medxai import cli, fetch
from napari_medxai.download import Resuming
from napari_medxai.errors import FetchError, OutputError
from napari_medxai.fetch import Archive, Dataset
from napari_medxai.io import find_cases, load_study
from napari_medxai.training import read_samples

RNG = np.random.default_rng(5)


def slice_bytes(label: int, patient: str) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("cjdata")
        group["image"] = RNG.integers(0, 900, (12, 9), dtype=np.int16)
        group["label"] = np.array([[float(label)]])
        group["PID"] = np.array([[ord(c)] for c in patient], dtype=np.uint16)
        group["tumorMask"] = np.eye(12, 9, dtype=np.uint8)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SLICES = {f"{n}.mat": slice_bytes(n % 3 + 1, f"P{n // 2}") for n in range(1, 6)}


def folds_bytes() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["cvind"] = np.array([[1.0, 2, 3, 4, 5]])
    return buffer.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves bytes with Range; breaks off, refuses or ignores Range as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, str | None]] = []
        self.cuts: list[int] = []  # of the next answers so many bytes are sent
        self.failures: list[int] = []  # status of the next answers
        self.ranges = True
        self.kind = "application/zip"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.log.append((self.path[1:], wanted))
        content = self.server.files.get(self.path[1:])
        if self.server.failures:
            return self.send_error(self.server.failures.pop(0))
        if content is None:
            return self.send_error(404)
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        cut = self.server.cuts.pop(0) if self.server.cuts else len(rest)
        self.wfile.write(rest[:cut])
        if cut < len(rest):
            self.close_connection = True
        return None

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("napari_medxai.download.time.sleep", lambda seconds: None)
    one = Server()
    one.files = {
        "a.zip": zipped({k: v for k, v in SLICES.items() if k < "4"}),
        "b.zip": zipped({f"in/{k}": v for k, v in SLICES.items() if k >= "4"}),
        "cvind.mat": folds_bytes(),
    }
    thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.fixture
def data(server) -> Dataset:
    def archive(name: str) -> Archive:
        content = server.files[name]
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return Archive(name, f"{server.url}/{name}", md5)

    return Dataset(
        name="tiny",
        title="Tiny (2026)",
        page="https://example.org/tiny",
        licence="CC0",
        archives=(archive("a.zip"), archive("b.zip")),
        folds=archive("cvind.mat"),
        count=5,
    )


def test_everything_lies_where_batch_and_training_look(data, tmp_path, capsys) -> None:
    out = tmp_path / "data"
    classes = fetch.fetch(data, out, quiet=True)
    assert dict(classes) == {"glioma": 2, "meningioma": 1, "pituitary": 2}
    assert sorted(p.name for p in out.iterdir()) == [
        "cvind.mat",
        "fetched.json",
        "images",
        "labels.csv",
    ]
    for name, content in SLICES.items():
        assert (out / "images" / name).read_bytes() == content
    assert (out / "labels.csv").read_text() == (
        "file,label,patient,fold\n"
        "1.mat,glioma,P0,1\n"
        "2.mat,pituitary,P1,2\n"
        "3.mat,meningioma,P1,3\n"
        "4.mat,glioma,P2,4\n"
        "5.mat,pituitary,P2,5\n"
    )
    found = find_cases(out)
    assert (found.cases[0].name, found.cases[0].patient) == ("images/1.mat", "P0")
    assert load_study(found.cases[0].path).masks["tumour"].sum() == 9
    samples = read_samples(out)
    assert [(s.label, s.fold) for s in samples][:2] == [
        ("glioma", "1"),
        ("pituitary", "2"),
    ]
    assert capsys.readouterr().err == ""


def test_a_second_run_asks_for_nothing(data, server, tmp_path) -> None:
    fetch.fetch(data, tmp_path, quiet=True)
    (tmp_path / "labels.csv").write_text("file,label\n1.mat,mine\n")
    server.log.clear()
    assert dict(fetch.fetch(data, tmp_path, quiet=True)) == {"mine": 1}
    assert server.log == []
    # A slice that is gone brings back its archive alone.
    (tmp_path / "images" / "5.mat").unlink()
    fetch.fetch(data, tmp_path, quiet=True)
    assert server.log == [("b.zip", None)]
    assert (tmp_path / "images" / "5.mat").read_bytes() == SLICES["5.mat"]


def test_a_broken_connection_continues_where_it_stopped(data, server, tmp_path) -> None:
    size = len(server.files["a.zip"])
    server.cuts = [700, 900]
    fetch.fetch(data, tmp_path, quiet=True)
    asked = [wanted for name, wanted in server.log if name == "a.zip"]
    assert asked == [None, "bytes=700-", "bytes=1600-"]
    assert size > 1600
    record = json.loads((tmp_path / "fetched.json").read_text())
    expected = hashlib.sha256(server.files["a.zip"]).hexdigest()
    assert record["a.zip"]["sha256"] == expected


def test_an_interrupted_run_continues_in_the_next(data, server, tmp_path) -> None:
    server.cuts = [700, 0, 0, 0, 0]
    with pytest.raises(FetchError, match=r"700 of \d+ bytes.*put it into"):
        fetch.fetch(data, tmp_path, quiet=True)
    assert (tmp_path / "a.zip.part").stat().st_size == 700
    assert not (tmp_path / "a.zip").exists()
    server.log.clear()
    server.cuts = []
    fetch.fetch(data, tmp_path, quiet=True)
    assert server.log[0] == ("a.zip", "bytes=700-")
    assert (tmp_path / "images" / "1.mat").read_bytes() == SLICES["1.mat"]
    assert not list(tmp_path.glob("*.part"))


def test_ctrl_c_keeps_what_came(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(fetch.DATASETS, "cheng", data)

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_medxai.download.Resuming._continue", stop)
    assert cli.main(["fetch", "cheng", "--out", str(tmp_path), "--quiet"]) == 130


def test_a_server_without_range_starts_afresh(data, server, tmp_path) -> None:
    server.ranges = False
    (tmp_path / "a.zip.part").write_bytes(b"x" * 300)
    fetch.fetch(data, tmp_path, quiet=True)
    assert (tmp_path / "images" / "1.mat").read_bytes() == SLICES["1.mat"]


def test_a_whole_part_is_taken_and_a_longer_one_is_not(data, server, tmp_path) -> None:
    (tmp_path / "a.zip.part").write_bytes(server.files["a.zip"])
    (tmp_path / "b.zip.part").write_bytes(server.files["b.zip"] + b"more")
    fetch.fetch(data, tmp_path, quiet=True)
    assert [w for n, w in server.log if n == "b.zip"][-1] is None
    assert (tmp_path / "images" / "4.mat").read_bytes() == SLICES["4.mat"]


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(data, server, tmp_path, status) -> None:
    server.failures = [status, status]
    fetch.fetch(data, tmp_path, quiet=True)
    assert [name for name, _ in server.log][:3] == ["a.zip"] * 3


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_told_at_once_with_the_way_by_hand(
    data, server, tmp_path, status
) -> None:
    server.failures = [status]
    with pytest.raises(FetchError) as caught:
        fetch.fetch(data, tmp_path, quiet=True)
    assert len(server.log) == 1
    for words in (str(status), data.page, "a.zip", str(tmp_path), "same command"):
        assert words in str(caught.value)


def test_a_web_page_is_no_archive(data, server, tmp_path) -> None:
    server.kind = "text/html"
    with pytest.raises(FetchError, match="answers 200 with text/html"):
        fetch.fetch(data, tmp_path, quiet=True)


def test_no_network(data, server, tmp_path, monkeypatch, capsys) -> None:
    gone = replace(data.archives[0], url="http://127.0.0.1:1/a.zip")
    offline = replace(data, archives=(gone, data.archives[1]))
    monkeypatch.setitem(fetch.DATASETS, "cheng", offline)
    arguments = ["fetch", "cheng", "--out", str(tmp_path / "d"), "--quiet"]
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert "cannot be reached" in said
    assert f"download a.zip from {data.page}, put it into {tmp_path / 'd'}" in said
    # As it says: put there by hand, it is used.
    (tmp_path / "d" / "a.zip").write_bytes(server.files["a.zip"])
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "5 slices (glioma 2, meningioma 1, pituitary 2)" in said
    assert "Tiny (2026), CC0" in said


def test_without_folds_the_rest_is_there(data, server, tmp_path, capsys) -> None:
    folds = server.files.pop("cvind.mat")
    fetch.fetch(data, tmp_path, quiet=True)
    assert "has no folds" in capsys.readouterr().err
    assert (tmp_path / "labels.csv").read_text().splitlines()[1] == "1.mat,glioma,P0,"
    server.files["cvind.mat"] = folds
    fetch.fetch(data, tmp_path, quiet=True)
    assert (tmp_path / "labels.csv").read_text().splitlines()[1] == "1.mat,glioma,P0,1"


def test_a_checksum_is_recorded_and_checked(data, server, tmp_path, capsys) -> None:
    fetch.fetch(data, tmp_path, quiet=True)
    (tmp_path / "images" / "1.mat").unlink()
    server.files["a.zip"] = zipped({"1.mat": b"something else"})
    with pytest.raises(FetchError, match=r"a\.zip: what came is not what was"):
        fetch.fetch(data, tmp_path, quiet=True)
    assert not (tmp_path / "images" / "1.mat").exists()
    assert not (tmp_path / "a.zip").exists()
    # On first download the publisher's own checksum is compared, and told.
    fresh = tmp_path / "fresh"
    fetch.fetch(data, fresh, quiet=True)
    said = capsys.readouterr().err
    assert "a.zip: its MD5 is" in said
    assert data.archives[0].md5 in said


def test_archives_are_kept_when_asked(data, server, tmp_path) -> None:
    fetch.fetch(data, tmp_path, keep=True, quiet=True)
    assert (tmp_path / "a.zip").read_bytes() == server.files["a.zip"]


def linked() -> bytes:
    info = zipfile.ZipInfo("1.mat")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        zipped({"../../1.mat": b"x"}),
        zipped({"/1.mat": b"x"}),
        linked(),
        b"no archive at all",
        zipped({"1.mat": bytes(2**20)})[:-60],
        zipped({"readme.txt": b"x"}),
    ],
)
def test_an_archive_that_is_bad_writes_nothing(data, server, tmp_path, content) -> None:
    out = tmp_path / "data"
    server.files["a.zip"] = content
    with pytest.raises(FetchError, match=r"a\.zip.*[Dd]elete"):
        fetch.fetch(data, out, quiet=True)
    assert not list(tmp_path.rglob("*.mat"))
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert not (out / ".unpacking").exists()


def test_an_archive_that_grows_too_large_is_refused(
    data, server, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 1000)
    with pytest.raises(FetchError, match=r"a\.zip.*more than"):
        fetch.fetch(data, tmp_path, quiet=True)


def test_a_folder_that_cannot_be_written(data, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        fetch.fetch(data, tmp_path / "file" / "d", quiet=True)


def test_the_bar_starts_where_the_download_does(server, tmp_path, capsys) -> None:
    content = bytes(10_000)
    server.files["x"] = content
    (tmp_path / "x.part").write_bytes(content[:6000])
    Resuming(tmp_path / "x.part", label="1 of 4")(
        f"{server.url}/x", str(tmp_path / "x"), None
    )
    said = capsys.readouterr().err
    assert "1 of 4:  60%" in said
    assert "10.0k/10.0k" in said
    assert (tmp_path / "x").read_bytes() == content


def test_the_command_line(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["fetch", "nothing"])
    assert caught.value.code == 2
    assert "cheng" in capsys.readouterr().err
    urls = [archive.url for archive in fetch.CHENG.archives]
    numbers = {3381290, 3381293, 3381296, 3381302}
    assert {int(url.rpartition("/")[2]) for url in urls} == numbers
    assert all(url.startswith("https://") for url in urls)

import hashlib
import http.client
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from miniature import write_split

from asr.corpora import librispeech
from asr.corpora.download import Archive, download
from asr.errors import UserError


@dataclass
class Server:
    """Serves ``files`` on loopback; each entry of ``faults`` spoils one request."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.ranges.append(request.headers.get("Range"))
        fault = self.faults.pop(0) if self.faults else ""
        content = self.files.get(request.path.lstrip("/"))
        if content is None or fault == "busy":
            request.send_error(404 if content is None else 503)
            return
        start = int((self.ranges[-1] or "bytes=0-")[6:].rstrip("-"))
        if fault == "whole":
            start = 0
        if start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + (len(content) - start) // 2 if fault == "cut" else len(content)
        request.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    monkeypatch.setattr("asr.corpora.download._RETRY_DELAYS", (0.0, 0.0))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{listener.server_port}"
        yield state
        listener.shutdown()
        thread.join()


def pack(folder: Path, *more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.gz of a folder, and of members made by hand."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, folder.name)
        for member, content in more:
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


@pytest.fixture
def source(tmp_path) -> Path:
    """What the official archive unpacks to, in miniature."""
    folder = tmp_path / "source" / "LibriSpeech"
    write_split(folder / "train-clean-5", {"19-198-0000": "NORTHANGER ABBEY", "19-198-0001": "GO ON"})
    (folder / "LICENSE.TXT").write_text("CC BY 4.0")
    return folder


@pytest.fixture
def offer(server, monkeypatch):
    """Put bytes on the server as the archive of train-clean-5, with their MD5 sum or another."""

    def put(content: bytes, md5: str | None = None) -> None:
        archive = Archive("31/train-clean-5.tar.gz", md5 or hashlib.md5(content).hexdigest())
        server.files[archive.path] = content
        monkeypatch.setitem(librispeech.ARCHIVES, "train-clean-5", archive)

    return put


@pytest.fixture
def fetch(server, run, tmp_path):
    """``asr prepare librispeech data --download train-clean-5``."""
    arguments = ["--download", "train-clean-5", "--download-url", server.url]
    return lambda: run("librispeech", tmp_path / "data", "--output", tmp_path / "out", *arguments)


def test_a_cut_connection_is_taken_up_where_it_broke(server, offer, fetch, source, tmp_path):
    offer(pack(source))
    server.faults = ["cut", "busy", "cut"]
    result = fetch()
    assert result.exit_code == 0, result.exception
    size = len(server.files["31/train-clean-5.tar.gz"])
    assert server.ranges == [None, *[f"bytes={size // 2}-"] * 2, f"bytes={size // 2 + (size + 1) // 2 // 2}-"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["LICENSE.TXT", "train-clean-5"]
    assert (tmp_path / "data" / "train-clean-5" / ".completed").exists()
    assert "train-clean-5.jsonl: 2 utterances" in result.stdout


def test_what_is_there_is_not_fetched_again(server, offer, fetch, source):
    offer(pack(source))
    assert fetch().exit_code == 0
    requests = len(server.ranges)
    assert fetch().exit_code == 0 and len(server.ranges) == requests


def test_a_stopped_download_goes_on_in_the_next_run(server, offer, fetch, source, tmp_path):
    content = pack(source)
    offer(content)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-clean-5.tar.gz.part").write_bytes(content[:100])
    assert fetch().exit_code == 0
    assert server.ranges == ["bytes=100-"]


def test_a_whole_part_file_is_not_fetched_again(server, offer, fetch, source, tmp_path):
    content = pack(source)
    offer(content)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-clean-5.tar.gz.part").write_bytes(content)
    assert fetch().exit_code == 0
    assert server.ranges == [f"bytes={len(content)}-"]


def test_a_server_without_ranges_starts_again(server, offer, fetch, source):
    offer(pack(source))
    server.faults = ["cut", "whole"]
    assert fetch().exit_code == 0


def test_an_archive_fetched_by_hand_is_used_and_kept(server, offer, fetch, source, tmp_path):
    content = pack(source)
    offer(content)
    (tmp_path / "data").mkdir()
    archive = tmp_path / "data" / "train-clean-5.tar.gz"
    archive.write_bytes(content)
    assert fetch().exit_code == 0
    assert server.ranges == [] and archive.read_bytes() == content


def test_a_wrong_sum_unpacks_nothing_and_the_next_run_starts_afresh(server, offer, fetch, source, tmp_path):
    content = pack(source)
    offer(content[:-9] + b"flipped!!", hashlib.md5(content).hexdigest())
    result = fetch()
    assert isinstance(result.exception, UserError) and "MD5" in str(result.exception)
    assert list((tmp_path / "data").iterdir()) == []
    offer(content)
    assert fetch().exit_code == 0
    assert server.ranges == [None, None]


OUTSIDE = [
    member("../outside.txt", b"x"),
    member("LibriSpeech/../../../outside.txt", b"x"),
    member("LibriSpeech/link", type=tarfile.SYMTYPE, linkname="../../../.."),
    member("LibriSpeech/device", type=tarfile.CHRTYPE),
]


@pytest.mark.parametrize("bad", OUTSIDE, ids=lambda bad: bad[0].name)
def test_an_archive_that_reaches_outside_leaves_nothing(offer, fetch, source, tmp_path, bad):
    offer(pack(source, bad))
    before = set(tmp_path.rglob("*"))
    result = fetch()
    assert isinstance(result.exception, UserError) and "unsafe archive" in str(result.exception)
    left = set(tmp_path.rglob("*")) - before
    assert {path.name for path in left} <= {"data", "train-clean-5.tar.gz.part"}


@pytest.mark.parametrize("content", [b"not an archive", b"\x1f\x8b" + bytes(50)])
def test_what_is_no_archive_is_one_clear_line(offer, fetch, content):
    offer(content)
    result = fetch()
    assert isinstance(result.exception, UserError) and "not a whole .tar.gz archive" in str(result.exception)


def test_an_archive_without_the_split_is_refused(offer, fetch, source):
    (source / "train-clean-5").rename(source / "other")
    offer(pack(source))
    assert "holds no folder LibriSpeech/train-clean-5" in str(fetch().exception)


def test_a_folder_of_the_users_is_never_replaced(server, offer, fetch, source, tmp_path):
    offer(pack(source))
    (tmp_path / "data" / "train-clean-5").mkdir(parents=True)
    assert "is there already" in str(fetch().exception)
    assert server.ranges == []


def test_it_gives_up_when_attempts_bring_nothing(server, tmp_path):
    server.files["x"] = b"1234"
    server.faults = ["cut", "busy", "busy", "busy"]
    with pytest.raises(UserError, match=r"503 .*; run the command again to go on from 2 bytes"):
        download(f"{server.url}/x", tmp_path / "x")
    download(f"{server.url}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"1234"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "{server}/missing", "https://[x"])
def test_a_wrong_address_is_not_tried_again(server, tmp_path, url):
    with pytest.raises(UserError, match=r"404|https|not an address"):
        download(url.format(server=server.url), tmp_path / "x")
    assert len(server.ranges) <= 1 and not (tmp_path / "x").exists()


def test_every_way_in_which_a_connection_ends_is_tried_again(server, tmp_path, monkeypatch):
    server.files["x"] = b"1234"
    reads = [OSError(113, "No route to host")]
    read1 = http.client.HTTPResponse.read1

    def failing(response, size):
        if reads:
            raise reads.pop()
        return read1(response, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", failing)
    download(f"{server.url}/x", tmp_path / "x")
    assert not reads and (tmp_path / "x").read_bytes() == b"1234"


def test_an_unknown_split_names_the_known_ones(run, tmp_path):
    result = run("librispeech", tmp_path, "--download", "train-clean-1000", "--output", tmp_path / "../out")
    assert isinstance(result.exception, UserError) and "train-clean-100, " in str(result.exception)

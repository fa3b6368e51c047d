"""Fetching archives: a download that resumes, an MD5 sum that must match, unpacking that stays inside."""

import gzip
import hashlib
import http.client
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from asr.corpora.preparation import Progress, silent_progress
from asr.errors import UserError

COMPLETED = ".completed"
"""Name of the empty file in a folder that has been unpacked to its last byte."""

_BLOCK = 1 << 20
_TIMEOUT = 60.0
_RETRY_DELAYS = (1.0, 4.0, 16.0)


@dataclass(frozen=True)
class Archive:
    """A ``.tar.gz`` file on a server: its path below the base URL and its MD5 sum in hexadecimal."""

    path: str
    md5: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def fetch_archive(
    archive: Archive,
    base_url: str,
    root: Path,
    member: str,
    progress: Progress = silent_progress,
) -> None:
    """Bring the folder ``member`` of an archive to ``root/<last part of member>``.

    The archive is fetched to ``root/<name>.part``, which is removed once all is unpacked; an archive
    that lies in ``root`` under its own name is used instead, and kept. What is unpacked appears under
    its final name only when it is whole, with a file ``.completed`` in it; a folder with that file is
    not fetched again. Files beside the member (a README, the licence) go to ``root`` too.

    Raises:
        UserError: no connection, a wrong sum, an unsafe archive, a full disk, a folder in the way.
    """
    target = root / Path(member).name
    if (target / COMPLETED).exists():
        return
    if target.exists():
        raise UserError(
            f"{target}: is there already, not (wholly) unpacked by --download; "
            "remove or rename it, or leave out --download"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        local = root / archive.name
        part = root / f"{archive.name}.part"
        if not local.exists():
            download(f"{base_url.rstrip('/')}/{archive.path}", part, progress)
            local = part
        check_md5(local, archive.md5, progress)
        unpack(local, member, root, progress)
        part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror or error}") from error


def download(url: str, path: Path, progress: Progress = silent_progress) -> None:
    """Fetch a file over HTTP, going on from the bytes that ``path`` holds already.

    A connection that breaks is taken up again, after a pause; four attempts in a row that bring nothing
    are the end.

    Raises:
        UserError: the address is wrong or the server cannot be reached; ``path`` keeps what has come.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url}: not an address that starts with https:// or http://")
    try:
        urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UserError(f"{url}: not an address ({error})") from error
    delays = iter(_RETRY_DELAYS)
    while True:
        before = path.stat().st_size if path.exists() else 0
        try:
            if _fetch_rest(url, path, before, progress):
                return
            reason = "the connection was closed early"
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{url}: {reason}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        received = path.stat().st_size if path.exists() else 0
        if received > before:
            delays = iter(_RETRY_DELAYS)
        delay = next(delays, None)
        if delay is None:
            kept = f" to go on from {received} bytes" if received else ""
            raise UserError(f"{url}: {reason}; run the command again{kept}")
        with progress(f"{path.stem}: {reason}; trying again", 0):
            time.sleep(delay)


def _fetch_rest(url: str, path: Path, start: int, progress: Progress) -> bool:
    """One request for the bytes from ``start`` on; whether the file is whole afterwards."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        # The server has no byte at `start`: the file is whole, or it is not the one it was (its sum tells).
        return True
    with closing(response):
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with path.open("r+b" if start else "wb") as file, progress(path.stem, total or 0) as advance:
            file.seek(start)
            advance(start)
            # read1 hands over what has arrived; read could lose it where the connection breaks.
            while block := _received(response):
                file.write(block)
                advance(len(block))
            return total is None or file.tell() == total


def _received(response: http.client.HTTPResponse) -> bytes:
    """What has arrived; every way in which a connection ends is one error, unlike those of the disk."""
    try:
        return response.read1(_BLOCK)
    except OSError as error:
        raise ConnectionError(str(error)) from error


def check_md5(path: Path, md5: str, progress: Progress = silent_progress) -> None:
    """Compare a file's MD5 sum with the expected one; a file that differs is removed if it is a ``.part``.

    Raises:
        UserError: the sums differ.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, progress(f"{path.name}: MD5 sum", path.stat().st_size) as advance:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block))
    if digest.hexdigest() != md5:
        advice = "remove it and run the command again"
        if path.suffix == ".part":
            path.unlink()
            advice = "it has been removed; run the command again"
        raise UserError(f"{path}: its MD5 sum is {digest.hexdigest()}, not the official {md5}: {advice}")


def unpack(archive: Path, member: str, root: Path, progress: Progress = silent_progress) -> None:
    """Unpack a ``.tar.gz`` file and move its folder ``member``, when whole, to ``root``.

    Raises:
        UserError: the archive is damaged, lacks the member, or would write outside its folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            f"{archive}: this Python ({sys.version.split()[0]}) cannot unpack archives safely; take 3.10.12, "
            "3.11.4, 3.12 or later, or unpack the file with tar and leave out --download"
        )
    target = root / Path(member).name
    scratch = root / f".{target.name}.unpacking"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _extract(archive, scratch, progress)
        source = scratch / member
        if not source.is_dir():
            raise UserError(f"{archive}: holds no folder {member}")
        (source / COMPLETED).touch()
        for beside in source.parent.iterdir():
            if beside.is_file() and not (root / beside.name).exists():
                beside.rename(root / beside.name)
        source.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, folder: Path, progress: Progress) -> None:
    try:
        with (
            archive.open("rb") as file,
            progress(f"{archive.name}: unpacking", archive.stat().st_size) as advance,
            tarfile.open(fileobj=file, mode="r:gz") as members,
        ):
            position = 0
            for member in members:
                members.extract(member, folder, filter="data")
                advance(file.tell() - position)
                position = file.tell()
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: an unsafe archive, nothing of it was kept ({error})") from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: not a whole .tar.gz archive ({error})") from error

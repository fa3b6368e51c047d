"""Reading the text that language models are built from and measured on."""

import gzip
import lzma
import os
import sys
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias

from asr.errors import UserError
from asr.files import BROKEN_DATA, decompressed
from asr.lm.table import BEGIN, END
from asr.manifest import json_object
from asr.tokenizer import SPACE

UNITS = ("words", "characters")

PathLike: TypeAlias = str | os.PathLike[str]
Report: TypeAlias = Callable[[str, float], None]
"""Called with the name of a stage and the fraction of it that is done."""

_BLOCK = 1 << 22


def no_report(_stage: str, _fraction: float) -> None:
    """The report of those who do not want one."""


def read_blocks(path: PathLike, report: Report = no_report, stage: str = "reading") -> Iterator[bytes]:
    """Yield a file's text, some megabytes of whole lines at a time.

    Names ending in ``.gz`` and ``.xz`` are decompressed, of manifests (``.jsonl``, ``.json``) the texts
    are taken, and ``-`` is standard input.

    Raises:
        UserError: the file is missing, unreadable, its compressed data are broken or it is no manifest.
    """
    blocks = _raw_blocks(path, report, stage)
    name = str(path).removesuffix(".gz").removesuffix(".xz")
    return _manifest_texts(blocks, path) if name.endswith((".jsonl", ".json")) else blocks


def read_lines(path: PathLike) -> Iterator[bytes]:
    """Yield a file's lines, newlines included; arguments and errors as in :func:`read_blocks`."""
    for block in read_blocks(path):
        yield from block.splitlines(keepends=True)


def split_units(block: bytes, unit: str, path: PathLike) -> list[bytes]:
    """Split lines into words or characters, each line between ``<s>`` and ``</s>``.

    Among characters the space between words is ``|``, as in the acoustic model's tokens.

    Raises:
        UserError: ``<s>`` or ``</s>`` stands in the text, or it is not UTF-8; names the file at ``path``.
    """
    begin, end = BEGIN.encode(), END.encode()
    if begin in block or end in block:
        raise UserError(f"{path}: {BEGIN} or {END} stands in the text: they mark sentences, take them out")
    try:
        lines = block.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the text is not UTF-8 ({error})") from error
    if unit == "characters":
        block = "\n".join(" ".join(SPACE.join(line.split())) for line in lines).encode()
    marked = block.rstrip(b"\n").replace(b"\n", b" %b %b " % (end, begin))
    return [begin, *marked.split(), end]


def _raw_blocks(path: PathLike, report: Report, stage: str) -> Iterator[bytes]:
    try:
        if str(path) == "-":
            yield from _whole_lines(sys.stdin.buffer)
            return
        size = max(Path(path).stat().st_size, 1)
        with Path(path).open("rb") as raw, decompressed(raw, path) as stream:
            for block in _whole_lines(stream):
                report(stage, min(raw.tell() / size, 1.0))
                yield block
    except BROKEN_DATA as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _whole_lines(stream: IO[bytes] | gzip.GzipFile | lzma.LZMAFile) -> Iterator[bytes]:
    # Editors on Windows put a mark before UTF-8.
    rest = stream.read(len(BOM_UTF8)).removeprefix(BOM_UTF8)
    while data := stream.read(_BLOCK):
        lines, newline, after = data.rpartition(b"\n")
        if newline:
            yield rest + lines + newline
            rest = after
        else:
            rest += data
    if rest:
        yield rest + b"\n"


def _manifest_texts(blocks: Iterator[bytes], path: PathLike) -> Iterator[bytes]:
    number = 0
    for block in blocks:
        texts = []
        for line in block.splitlines():
            number += 1
            if not line.strip():
                continue
            try:
                texts.append(" ".join(json_object(line, path, number)["text"].split()))
            except (UserError, KeyError, AttributeError) as error:
                raise UserError(f"{path}, line {number}: no manifest line with a text") from error
        yield "".join(f"{text}\n" for text in texts).encode()

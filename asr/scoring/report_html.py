"""The report as one page without anything outside it: aligned words, search, sorting, audio to listen to.

The page is a template and the data as JSON; its script makes rows as they are scrolled to, so that ten
thousand utterances open at once. The worst utterances carry their audio, the others link to it.
"""

import base64
import html
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from asr.audio import probe, read_samples
from asr.errors import UserError
from asr.files import atomic_write
from asr.scoring.analysis import analyse
from asr.scoring.report import Report
from asr.scoring.report_text import method

PAGE_LIMIT = 20_000_000

_LONGEST_LIST = 30
_OPERATIONS = np.frombuffer(b"CSDI", np.uint8)
_MEDIA_TYPES = {".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@dataclass(frozen=True)
class Clip:
    """Where the audio of an utterance is: a file, and offset and duration in seconds within it."""

    path: Path
    offset: float
    duration: float | None


def write_page(path: Path, report: Report, embed: int, tell: Callable[[str], None]) -> None:
    """Write the page.

    Args:
        path: The HTML file; links to audio are relative to its folder.
        report: What is shown.
        embed: How many of the worst utterances carry their audio, as far as the page stays below
            ``PAGE_LIMIT`` bytes.
        tell: Told what was left out.
    """
    analysis = analyse(report.aligned, _LONGEST_LIST)
    clips = _clips(report)
    title = f"{report.hypothesis.path.name}: {report.score.wer:.2f} % WER"
    data = {
        "title": title,
        "reference": report.reference.path.name,
        "hypothesis": report.hypothesis.path.name,
        "unit": report.options.unit,
        "score": report.to_json(),
        "method": method(report).split("\n"),
        "groups": _groups(report),
        "analysis": analysis.to_json(report.evaluation.ids),
        "utterances": _utterances(report, clips, path.resolve().parent),
    }
    # "</script>" or "<!--" in a text would end the script element that holds the data, or open a comment.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files("asr.scoring").joinpath("report.html").read_text(encoding="utf-8")
    budget = PAGE_LIMIT - len(template.encode()) - len(text.encode())
    worst = [report.evaluation.ids[index] for index in analysis.worst[:embed]]
    audio = _embedded({name: clips[name] for name in worst if name in clips}, budget, tell)
    page = Template(template).substitute(title=html.escape(title), data=text, audio=audio)
    with atomic_write(path) as stream:
        stream.write(page)


def _clips(report: Report) -> dict[str, Clip]:
    """Where the audio of each utterance is, for references that say so."""
    clips = {}
    for name, entry in report.reference.attributes.items():
        audio = entry.get("audio_filepath")
        if isinstance(audio, str):
            offset, duration = (_number(entry.get(key)) for key in ("offset", "duration"))
            clips[name] = Clip(report.reference.path.parent / audio, offset, duration or None)
    return clips


def _number(value: Any) -> float:
    """A manifest's number; 0 where there is none, or something else."""
    return value if isinstance(value, int | float) and value else 0


def _groups(report: Report) -> dict[str, list[dict[str, Any]]]:
    return {
        key: [
            {
                "value": row.label,
                "utterances": row.utterances,
                "tokens": row.tokens,
                "rate": row.rate,
                "interval": row.interval.to_json() if row.interval else None,
                "substitutions": row.substitutions,
                "deletions": row.deletions,
                "insertions": row.insertions,
            }
            for row in rows
        ]
        for key, rows in report.tables.items()
    }


def _utterances(report: Report, clips: dict[str, Clip], folder: Path) -> list[list[Any]]:
    """A list of each utterance's fields, in the order that the page's script names them."""
    evaluation, aligned = report.evaluation, report.aligned
    letters = _OPERATIONS[aligned.alignments.operations].tobytes().decode("ascii")
    offsets = aligned.alignments.offsets.tolist()
    counts = aligned.alignments.counts.tolist()
    totals = aligned.totals.tolist()
    rows = []
    for index, name in enumerate(evaluation.ids):
        _, substitutions, deletions, insertions = counts[index]
        reference, hypothesis = evaluation.references[index], evaluation.hypotheses[index]
        attributes = report.reference.attributes.get(name, {})
        right = reference == hypothesis
        clip = clips.get(name)
        rows.append(
            [
                name,
                str(attributes.get("speaker") or ""),
                _number(attributes.get("duration")),
                totals[index],
                substitutions,
                deletions,
                insertions,
                reference,
                0 if right else hypothesis,
                "" if right else letters[offsets[index] : offsets[index + 1]],
                [_link(clip.path, folder), clip.offset] if clip else 0,
            ]
        )
    return rows


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path.resolve(), folder)).as_posix())


def _embedded(clips: dict[str, Clip], budget: int, tell: Callable[[str], None]) -> str:
    """Audio as script elements that are read when they are played, in total at most ``budget`` bytes."""
    elements: list[str] = []
    problems: list[str] = []
    left_out = 0
    for name, clip in clips.items():
        try:
            media_type, content = _encode(clip)
        except UserError as error:
            problems.append(str(error))
            continue
        text = base64.b64encode(content).decode("ascii")
        element = (
            f'<script type="text/plain" data-audio="{html.escape(name)}" data-type="{media_type}">{text}'
            "</script>\n"
        )
        if len(element.encode()) > budget:
            left_out += 1
            continue
        budget -= len(element.encode())
        elements.append(element)
    if left_out:
        limit = PAGE_LIMIT // 1_000_000
        tell(f"the audio of {left_out} utterances is linked, not embedded, to keep the page below {limit} MB")
    if problems:
        tell(f"{len(problems)} audio files could not be embedded; the first: {problems[0]}")
    return "".join(elements)


def _encode(clip: Clip) -> tuple[str, bytes]:
    """Media type and bytes of a clip: the file itself where it is compressed and nothing else, else MP3.

    Raises:
        UserError: the file is missing or no audio.
    """
    media_type = _MEDIA_TYPES.get(clip.path.suffix.lower())
    if media_type and not clip.offset:
        whole = probe(clip.path).duration
        if clip.duration is None or abs(whole - clip.duration) < 0.1:
            return media_type, clip.path.read_bytes()
    samples, rate = read_samples(clip.path, clip.offset, clip.duration)
    buffer = io.BytesIO()
    compressed = rate in _MP3_RATES
    soundfile.write(buffer, samples.mean(axis=1), rate, format="MP3" if compressed else "FLAC")
    return "audio/mpeg" if compressed else "audio/flac", buffer.getvalue()

"""Manifests to batches of waveforms and targets."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from asr.audio import read_audio
from asr.augmentation import WaveformAugmentation
from asr.batching import Item, with_durations
from asr.denominator import UnitNgram
from asr.errors import UserError
from asr.files import atomic_write
from asr.loss import frames_needed
from asr.manifest import PHONES_KEY, WORD_BREAK, Utterance, evenly_spread, read_manifest
from asr.model import Model
from asr.padding import padded
from asr.tokenizer import PhoneTokenizer, Tokenizer, UnknownSymbol
from asr.training.config import DataConfig, Recipe

DECODED_AHEAD = 256


@dataclass
class Batch:
    """Waveforms float32 ``(batch, samples)``, their lengths, texts, and per head targets with their lengths.

    A target length of -1 leaves the utterance out of that head's loss.
    """

    ids: list[str]
    texts: list[str]
    waveforms: Tensor
    lengths: Tensor
    targets: dict[str, tuple[Tensor, Tensor]]


@dataclass
class Dropped:
    """Utterances that cannot be trained on, by reason."""

    ids: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, identifier: str) -> None:
        """Count and name one."""
        self.ids.setdefault(reason, []).append(identifier)

    def update(self, others: "Dropped") -> None:
        """Add those of another source."""
        for reason, ids in others.ids.items():
            self.ids.setdefault(reason, []).extend(ids)

    def lines(self) -> list[str]:
        """One line a reason: how many, and the first few."""
        return [
            f"left out {len(ids)}: {reason} ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''})"
            for reason, ids in self.ids.items()
        ]


class AudioStore:
    """Waveforms of utterances, decoded at each call or read from a cache of 16-bit samples."""

    def __init__(self, utterances: Sequence[Utterance], sample_rate: int, cache: str = "") -> None:
        self.utterances, self.sample_rate = utterances, sample_rate
        self._samples: np.ndarray | None = None
        self._offsets = np.zeros(0, dtype=np.int64)
        if cache and utterances:
            self._open(build_audio_cache(utterances, sample_rate, Path(cache)))

    def _open(self, path: Path) -> None:
        self._offsets = np.asarray(json.loads(path.with_suffix(".json").read_text()), dtype=np.int64)
        self._samples = np.memmap(path, dtype=np.int16, mode="r")

    def __getitem__(self, index: int) -> Tensor:
        """Waveform ``(samples,)`` of one utterance."""
        if self._samples is not None:
            stored = self._samples[self._offsets[index] : self._offsets[index + 1]]
            return torch.from_numpy(stored.astype(np.float32) * np.float32(1 / 32768))
        utterance = self.utterances[index]
        return read_audio(utterance.audio_filepath, self.sample_rate, utterance.offset, utterance.duration)


def build_audio_cache(utterances: Sequence[Utterance], sample_rate: int, folder: Path) -> Path:
    """Decode utterances once into one file of 16-bit samples; free where that file exists.

    The file's name follows from the utterances and from the size and time of their files, so another
    selection, or a recording that has changed, makes another file.
    """
    files = {item.audio_filepath: _size_and_time(item.audio_filepath) for item in utterances}
    names = [
        f"{item.audio_filepath} {files[item.audio_filepath]} {item.offset} {item.duration}"
        for item in utterances
    ]
    named = "\n".join([str(sample_rate), *names]).encode(errors="surrogateescape")
    key = hashlib.sha256(named).hexdigest()[:16]
    path = folder / f"{key}.int16"
    if path.exists() and path.with_suffix(".json").exists():
        return path

    def decode(utterance: Utterance) -> np.ndarray:
        waveform = read_audio(utterance.audio_filepath, sample_rate, utterance.offset, utterance.duration)
        # Files of floats may be louder than 16 bits can say.
        if len(waveform):
            waveform = waveform / waveform.abs().max().clamp(min=1.0)
        return (waveform * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy()

    offsets = [0]
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with atomic_write(path, "wb") as stream, ThreadPoolExecutor() as pool, bar:
        # A stretch at a time: what is decoded ahead of the disk lies in memory.
        for start in bar.track(range(0, len(utterances), DECODED_AHEAD), description="decoding audio"):
            for samples in pool.map(decode, utterances[start : start + DECODED_AHEAD]):
                stream.write(samples.tobytes())
                offsets.append(offsets[-1] + len(samples))
    with atomic_write(path.with_suffix(".json")) as stream:
        json.dump(offsets, stream)
    return path


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:
        return 0, 0  # reading it tells what is wrong
    return status.st_size, status.st_mtime_ns


class TrainingData:
    """The utterances of a recipe with their targets.

    Attributes:
        utterances: Those that can be trained on.
        durations: Seconds of each, as numpy array.
        sources: Indices of each source's utterances, and its share.
        dropped: Those that cannot, by reason.
        denominators: Of each head that has one, the n-gram over the units of its targets.
    """

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self.dropped = Dropped()
        self.augmentation = WaveformAugmentation(recipe.augment, recipe.frontend.sample_rate, self._voice)
        self._seed = recipe.training.seed
        self._targets: dict[str, list[list[int] | None]] = {name: [] for name in model.tokenizers}
        self.utterances: list[Utterance] = []
        self.sources: list[tuple[np.ndarray, float]] = []
        for source in recipe.data.train:
            first, dropped = len(self.utterances), Dropped()
            for utterance in with_durations(read_manifest(source.manifest)):
                if utterance.confidence < source.min_confidence:
                    dropped.add("confidence below data.train.min_confidence", utterance.id)
                elif self._add_targets(utterance, recipe, model, dropped):
                    self.utterances.append(utterance)
            self.sources.append((np.arange(first, len(self.utterances)), source.share))
            if first == len(self.utterances):
                reasons = "; ".join(dropped.lines())
                raise UserError(f"{source.manifest}: has no utterance that can be trained on: {reasons}")
            self.dropped.update(dropped)
        self.denominators = {
            name: UnitNgram.estimate(
                [target for target in self._targets[name] if target],
                len(model.tokenizers[name].tokens),
                head.denominator,
            )
            for name, head in model.config.heads.items()
            if head.denominator
        }
        self.durations = np.asarray([utterance.duration for utterance in self.utterances])
        self.audio = AudioStore(self.utterances, recipe.frontend.sample_rate, recipe.data.cache)

    def _add_targets(self, utterance: Utterance, recipe: Recipe, model: Model, dropped: Dropped) -> bool:
        if model.tokenizers and not (utterance.text and utterance.text.strip()):
            dropped.add("no text", utterance.id)
            return False
        if not utterance.duration:
            dropped.add("empty, or audio that cannot be read", utterance.id)
            return False
        if not recipe.batching.min_duration <= utterance.duration <= recipe.batching.max_duration:
            dropped.add("duration outside batching.min_duration and max_duration", utterance.id)
            return False
        samples = int(utterance.duration / max(recipe.augment.speed) * recipe.frontend.sample_rate)
        frames = math.ceil(int(model.frontend.frames(samples)) / recipe.encoder.subsampling_factor)
        targets = {
            name: _encode(utterance, tokenizer, frames, dropped)
            for name, tokenizer in model.tokenizers.items()
        }
        if targets and not any(targets.values()):
            return False
        for name, target in targets.items():
            self._targets[name].append(target)
        return True

    def _voice(self, draw: np.random.Generator) -> Tensor:
        return self.audio[int(draw.integers(len(self.utterances)))]

    def _hear(self, item: Item, epoch: int) -> tuple[Tensor, bool]:
        """The waveform ``(samples,)`` of an utterance, and whether it is but noise in its place."""
        draw = np.random.default_rng((self._seed, epoch, 1 + item.index, item.copy))
        waveform = self.augmentation(self.audio[item.index], item.speed, draw)
        if len(waveform) and draw.random() < self.augmentation.config.noise.alone:
            return self.augmentation.noise_alone(waveform, draw), True
        return waveform, False

    def load(self, items: Sequence[Item], epoch: int) -> Batch:
        """Read, vary and pad the waveforms of one process's part of a batch."""
        waveforms, texts = [], []
        targets: dict[str, list[list[int] | None]] = {name: [] for name in self._targets}
        for item in items:
            waveform, is_noise = self._hear(item, epoch)
            waveforms.append(waveform)
            text = "" if is_noise else self.utterances[item.index].text or ""
            texts.append(" ".join(text.split()))
            for name, labels in self._targets.items():
                targets[name].append([] if is_noise else labels[item.index])
        batch, lengths = padded(waveforms)
        ids = [self.utterances[item.index].id for item in items]
        return Batch(ids, texts, batch, lengths, {name: _pad_targets(each) for name, each in targets.items()})


def _encode(utterance: Utterance, tokenizer: Tokenizer, frames: int, dropped: Dropped) -> list[int] | None:
    """Labels of an utterance, or None (counted) where a head cannot learn from it."""
    try:
        labels = encode_utterance(utterance, tokenizer)
    except UnknownSymbol:
        dropped.add(f"cannot be written in {tokenizer.units}", utterance.id)
        return None
    if frames_needed(labels) > frames:
        dropped.add(f"too short for its {tokenizer.units}", utterance.id)
        return None
    return labels


def encode_utterance(utterance: Utterance, tokenizer: Tokenizer) -> list[int]:
    """Token ids of what an utterance says; for a phone head as it was said, where the manifest knows.

    Raises:
        UnknownSymbol: the tokens cannot write it.
    """
    text, phones = utterance.text or "", utterance.extra.get(PHONES_KEY)
    if phones is None or not isinstance(tokenizer, PhoneTokenizer):
        return tokenizer.encode(text)
    if not isinstance(phones, str) or not phones.split():
        raise UnknownSymbol(f"{PHONES_KEY!r} must be phones with spaces between them, not {phones!r}")
    words = [word.split() for word in phones.split(WORD_BREAK)]
    if tokenizer.has_word_ends and len(words) == 1 < len(text.split()):
        raise UnknownSymbol(f"{PHONES_KEY!r} must have {WORD_BREAK!r} between words: {phones!r}")
    return [token for word in words for token in tokenizer.encode_phones(word, text)]


def development_utterances(config: DataConfig, with_text: bool = True) -> list[Utterance]:
    """The development set, or ``dev_utterances`` of it, evenly spread; only what has a text, if asked."""
    if not config.dev:
        return []
    utterances = [each for each in read_manifest(config.dev) if each.text or not with_text]
    if not utterances:
        raise UserError(f"{config.dev}: no utterance has a text to compare with")
    return with_durations(evenly_spread(utterances, config.dev_utterances))


def _pad_targets(labels: Sequence[list[int] | None]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([-1 if each is None else len(each) for each in labels], dtype=torch.int64)
    padded = torch.zeros(len(labels), max([1, *lengths.tolist()]), dtype=torch.int64)
    for row, each in zip(padded, labels, strict=True):
        if each:
            row[: len(each)] = torch.tensor(each)
    return padded, lengths


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Prepare the next batch in a thread while this one is worked on (for a GPU)."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch

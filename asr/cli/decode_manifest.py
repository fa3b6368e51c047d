"""What ``asr decode`` and ``asr evaluate`` share: a manifest to hypotheses, with progress."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.output import exit_if_failed, quiet_libraries, tell
from asr.files import utf8_name
from asr.manifest import with_text
from asr.transcript import mean_confidence

if TYPE_CHECKING:
    from asr.decoding.options import DecodingOptions
    from asr.manifest import Utterance
    from asr.transcript import Hypothesis


@dataclass(frozen=True)
class Decoded:
    """Utterances with their n-best lists; ``failures`` says what could not be read."""

    utterances: "list[Utterance]"
    hypotheses: "list[list[Hypothesis]]"
    failures: list[str]

    def lines(self, nbest: bool) -> Iterator[str]:
        """JSON lines with ``id`` and ``text``, in the manifest's order."""
        for utterance, hypotheses in zip(self.utterances, self.hypotheses, strict=True):
            if hypotheses:
                yield json.dumps(_line(utterance.id, hypotheses, nbest), ensure_ascii=False) + "\n"

    def exit_if_failed(self) -> None:
        """Exit with status 1 where an utterance could not be read."""
        exit_if_failed(len(self.failures), len(self.utterances))

    def references(self) -> dict[str, str]:
        """Texts of the utterances that have one, by id."""
        return {each.id: each.text for each in self.utterances if each.text is not None}

    def best(self) -> "dict[str, Hypothesis]":
        """The best hypothesis of each utterance that has a text and was decoded, by id."""
        return {
            utterance.id: hypotheses[0]
            for utterance, hypotheses in zip(self.utterances, self.hypotheses, strict=True)
            if hypotheses and utterance.text is not None
        }

    def labelled(self) -> "Iterator[Utterance]":
        """Utterances with the hypothesis as text and its confidence, ready to train on."""
        for utterance, hypotheses in zip(self.utterances, self.hypotheses, strict=True):
            if hypotheses:
                best = hypotheses[0]
                yield with_text(utterance, best.text, mean_confidence(best.words))


def decode_manifest(
    model_name: str,
    manifest: Path,
    utterances: "Sequence[Utterance]",
    options: "DecodingOptions",
    precision: str,
    threads: int,
    batch_seconds: float,
) -> Decoded:
    """Load a model and decode the utterances of a manifest; unreadable ones are named on stderr.

    Exits with status 1 where none could be read, so that nothing is written or counted.
    """
    from asr.cli.torch_import import import_torch

    import_torch()
    from asr.batching import with_durations
    from asr.cli.progress import show_progress
    from asr.decoding.head import choose_head
    from asr.decoding.loading import load_decoder
    from asr.model import find_model
    from asr.recognition import decode_utterances
    from asr.transcriber import load_acoustic_model

    utterances = with_durations(utterances)
    folder = find_model(model_name)
    model = load_acoustic_model(folder, options, precision=precision)
    seconds = sum(utterance.duration for utterance in utterances)
    with (
        quiet_libraries(),
        ThreadPoolExecutor(1) as loader,
        show_progress(f"decoding {manifest}", seconds, "seconds") as advance,
    ):
        # The network has something to do meanwhile. A mistake of the user's is told by the first result.
        loaded = loader.submit(load_decoder, folder, model, options)
        found = decode_utterances(
            model,
            lambda emissions, lengths: loaded.result().decode(emissions, lengths),
            utterances,
            choose_head(model.config, options),
            batch_seconds,
            threads,
            advance,
        )
        loaded.result()
    for message in (*found.warnings, *found.failures):
        tell(message)
    decoded = Decoded(utterances, [nbest or [] for nbest in found.results], found.failures)
    if not any(decoded.hypotheses):
        decoded.exit_if_failed()
    return decoded


def _line(identifier: str, hypotheses: "list[Hypothesis]", nbest: bool) -> dict[str, Any]:
    best = hypotheses[0]
    line: dict[str, Any] = {"id": utf8_name(identifier), "text": best.text, "score": round(best.score, 4)}
    if best.words:
        line["words"] = [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in best.words
        ]
    if nbest:
        line["nbest"] = [{"text": each.text, "score": round(each.score, 4)} for each in hypotheses]
    return line

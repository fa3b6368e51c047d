"""Latency and word error rate of streaming against look-ahead, beside the same utterances offline.

    python benchmarks/streaming.py MANIFEST [--model en] [--look-ahead 0.3 0.5 1 2 4] [--limit 200]
        [--decoder greedy] [--threads 1]

Each utterance is a stream of its own, fed in blocks of 0.1 s as fast as they are taken. A one-directional
model has one row, since it looks at nothing ahead. Columns, as Markdown on stdout:

- WER in percent, and against offline;
- shown: seconds of audio from the end of a word until the text on the screen (settled and partial) has
  that word in its place and keeps it: mean and 90th percentile;
- settled: the same until it is in settled text; an utterance's end settles all;
- speed: seconds of audio a second, all partial texts included (a terminal shows at most ten a second).

What computing takes comes on top of the latencies; a chunk of audio takes chunk length divided by speed.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from asr.audio import read_audio
from asr.manifest import Utterance, read_manifest
from asr.scoring import score
from asr.streaming import Stream
from asr.transcriber import Transcriber, load_model

BLOCK = 0.1


@dataclass
class Row:
    """What one way of transcribing gave.

    Attributes:
        texts: Hypothesis of each utterance, by its id.
        seconds: Time it took.
        shown, settled: Latency of each word, in seconds.
    """

    texts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    shown: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)


def blocks(samples: torch.Tensor, rate: int) -> Iterator[torch.Tensor]:
    """Pieces of ``BLOCK`` seconds."""
    return iter(samples.split(round(BLOCK * rate)))


def stream_utterance(stream: Stream, samples: torch.Tensor, rate: int, row: Row, name: str) -> None:
    """Transcribe one utterance, and note when each of its words came."""
    began = time.perf_counter()
    words, screens = [], []  # settled words; what was on the screen, and when
    for block in [*blocks(samples, rate), None]:
        segments = stream.finish() if block is None else stream.feed(block)
        for word in (word for segment in segments for word in segment.words):
            words.append(word)
            row.settled.append(stream.seconds - word.end)
        screens.append((stream.seconds, [word.text for word in words] + stream.partial().split()))
    row.seconds += time.perf_counter() - began
    row.texts[name] = " ".join(word.text for word in words)
    for position, word in enumerate(words):
        since = stream.seconds
        for seconds, screen in reversed(screens):
            if screen[position : position + 1] != [word.text]:
                break
            since = seconds
        row.shown.append(max(since - word.end, 0.0))


def measure(
    transcriber: Transcriber, utterances: Sequence[Utterance], look_ahead: float | None, offline: bool
) -> Row:
    """Transcribe all utterances one way."""
    row, rate = Row(), transcriber.sample_rate
    for utterance in utterances:
        samples = read_audio(utterance.audio_filepath, rate, utterance.offset, utterance.duration or None)
        if offline:
            began = time.perf_counter()
            row.texts[utterance.id] = transcriber.transcribe(samples).text
            row.seconds += time.perf_counter() - began
        else:
            stream_utterance(transcriber.stream(look_ahead), samples, rate, row, utterance.id)
    return row


def cells(latencies: Sequence[float]) -> str:
    """Mean and 90th percentile."""
    if not latencies:
        return "– | –"
    return f"{np.mean(latencies):.2f} | {np.percentile(latencies, 90):.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--model", default="en")
    parser.add_argument("--look-ahead", type=float, nargs="+", default=[0.3, 0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--limit", type=int, default=0, help="utterances, evenly spread (0: all)")
    parser.add_argument("--decoder", choices=["greedy", "beam"], help="default: the model's own")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    utterances = read_manifest(arguments.manifest)
    if arguments.limit:
        utterances = utterances[:: max(len(utterances) // arguments.limit, 1)][: arguments.limit]
    transcriber = load_model(arguments.model, decoder=arguments.decoder)
    transcriber.transcribe(np.random.default_rng(0).normal(0, 0.01, 16_000))  # what is compiled at first use
    references = {utterance.id: utterance.text for utterance in utterances}
    duration = sum(utterance.duration for utterance in utterances)

    print(f"{len(utterances)} utterances, {duration / 60:.1f} minutes, {arguments.threads} thread(s)\n")
    print("| look-ahead | WER | against offline | shown, mean | 90 % | settled, mean | 90 % | × real time |")
    print("|---|---|---|---|---|---|---|---|")
    whole = measure(transcriber, utterances, None, offline=True)
    offline = score(references, whole.texts).wer
    print(f"| offline | {offline:.2f} | | – | – | – | – | {duration / whole.seconds:.1f} |", flush=True)
    bidirectional = transcriber.model.config.encoder.bidirectional
    for look_ahead in arguments.look_ahead if bidirectional else [None]:
        row = measure(transcriber, utterances, look_ahead, offline=False)
        wer = score(references, row.texts).wer
        label = "none" if look_ahead is None else f"{look_ahead:g} s"
        print(
            f"| {label} | {wer:.2f} | {wer - offline:+.2f} | {cells(row.shown)} | {cells(row.settled)} | "
            f"{duration / row.seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

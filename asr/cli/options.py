"""Decoding flags that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asr.decoding.options import DecodingOptions

PANEL, LIVE = "Decoding", "Live"
BATCH_SECONDS = 120.0

DecoderFlag = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        help="greedy (of a head that writes words) or beam (default: the model's own).",
        rich_help_panel=PANEL,
    ),
]
HeadFlag = Annotated[
    str | None, typer.Option("--head", help="CTC head that is decoded.", rich_help_panel=PANEL)
]
LMFlag = Annotated[
    str | None,
    typer.Option(
        "--lm", help="Folder of a word n-gram, or none (default: the model's).", rich_help_panel=PANEL
    ),
]
LexiconFlag = Annotated[
    str | None,
    typer.Option("--lexicon", help="Lexicon file, or none (default: the model's).", rich_help_panel=PANEL),
]
BeamSizeFlag = Annotated[
    int | None, typer.Option("--beam-size", min=1, help="Prefixes kept.", rich_help_panel=PANEL)
]
LMWeightFlag = Annotated[
    float | None, typer.Option("--lm-weight", help="Weight of the LM.", rich_help_panel=PANEL)
]
WordScoreFlag = Annotated[
    float | None, typer.Option("--word-score", help="Added for every word.", rich_help_panel=PANEL)
]
HotwordsFlag = Annotated[
    Path | None,
    typer.Option("--hotwords", help="File of words to favour, one a line.", rich_help_panel=PANEL),
]
RescoreFlag = Annotated[
    str | None,
    typer.Option(
        "--rescore", help="Folder of a recurrent LM, or none (default: the model's).", rich_help_panel=PANEL
    ),
]
NBestFlag = Annotated[
    int | None,
    typer.Option(
        "--nbest",
        min=1,
        help="Hypotheses for each utterance (transcribe: of up to 40 s).",
        rich_help_panel=PANEL,
    ),
]
PauseFlag = Annotated[
    float | None,
    typer.Option(
        "--pause",
        min=0.0,
        help="Search what is between pauses of so many seconds by itself (0: no cuts; default: the model's).",
        rich_help_panel=PANEL,
    ),
]

NoSpeechGateFlag = Annotated[
    bool,
    typer.Option(
        "--no-speech-gate",
        help="Look for words also where nobody seems to speak.",
        rich_help_panel=PANEL,
    ),
]

PrecisionFlag = Annotated[
    str,
    typer.Option(
        "--precision",
        help="fp32, bf16, int8, or auto: bf16 where the CPU computes it fast, else fp32.",
        rich_help_panel="Computing",
    ),
]
ThreadsFlag = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        max=256,
        help="CPU threads (0: all cores; of a live stream one).",
        rich_help_panel="Computing",
    ),
]
BatchSecondsFlag = Annotated[
    float,
    typer.Option(
        "--batch-seconds", min=1.0, help="Audio in a batch, in seconds.", rich_help_panel="Computing"
    ),
]
LookAheadFlag = Annotated[
    float | None,
    typer.Option(
        "--look-ahead",
        help="Seconds a bidirectional model hears beyond what it decides on (default: 1).",
        rich_help_panel=LIVE,
    ),
]


def decoding_options(
    *,
    decoder: str | None,
    head: str | None,
    lm: str | None,
    lexicon: str | None,
    beam_size: int | None,
    lm_weight: float | None,
    word_score: float | None,
    hotwords: Path | None,
    rescore: str | None,
    nbest: int | None = None,
    pause: float | None = None,
    no_speech_gate: bool = False,
) -> "DecodingOptions":
    """The shared flags as one record."""
    from asr.decoding.options import DecodingOptions

    settings: dict[str, Any] = {"beam_size": beam_size, "lm_weight": lm_weight, "word_score": word_score}
    return DecodingOptions(
        decoder=decoder,
        head=head,
        lm=lm,
        lexicon=lexicon,
        hotwords=hotwords,
        rescore=rescore,
        nbest=nbest,
        pause=pause,
        speech_gate=False if no_speech_gate else None,
        settings={key: value for key, value in settings.items() if value is not None},
    )

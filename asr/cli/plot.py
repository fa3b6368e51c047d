"""``asr plot``: pictures of speech, models and results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import options as flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from torch import Tensor

    from asr.aligner import Aligner
    from asr.transcript import Word

app = typer.Typer(no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or en.")]
AudioArgument = Annotated[Path, typer.Argument(metavar="AUDIO", help="Recording.")]
TextFlag = Annotated[str | None, typer.Option("--text", "-t", help="What the recording says.")]
LexiconFlag = Annotated[
    Path | None, typer.Option(help="Pronunciations for a phone model (default: the model's lexicon.txt).")
]
StartFlag = Annotated[float, typer.Option("--offset", min=0.0, help="Where in the recording to begin (s).")]
LengthFlag = Annotated[float | None, typer.Option("--duration", min=0.01, help="How much of it to draw (s).")]
OutputFlag = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Picture: .png, .svg or .pdf (default: named after the command)."),
]


def register(application: typer.Typer) -> None:
    """Add the commands to the application."""
    application.add_typer(app, name="plot", help="Pictures of speech, models and results.")


@app.command()
def spectrogram(
    audio: AudioArgument, offset: StartFlag = 0.0, duration: LengthFlag = None, output: OutputFlag = None
) -> None:
    """Waveform and spectrogram of a recording, at its own sample rate."""

    def draw() -> "Figure":
        from asr.audio import read_samples
        from asr.plots.spectra import spectrogram

        samples, rate = read_samples(audio, offset, duration)
        return spectrogram(_mono(samples, audio), rate, audio.name)

    _picture("spectrogram", output, draw)


@app.command()
def fbank(
    audio: AudioArgument,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Whose features (default: the usual ones).")
    ] = None,
    offset: StartFlag = 0.0,
    duration: LengthFlag = None,
    output: OutputFlag = None,
) -> None:
    """Log-mel filter-bank features, as a model hears them."""

    def draw() -> "Figure":
        from asr.frontend import Frontend, FrontendConfig
        from asr.model import find_model, read_config
        from asr.plots.spectra import fbank

        config = FrontendConfig() if model is None else read_config(find_model(model)).frontend
        return fbank(Frontend(config), _read(audio, config.sample_rate, offset, duration), audio.name)

    _picture("fbank", output, draw)


@app.command()
def emissions(
    model: ModelArgument,
    audio: AudioArgument,
    head: flags.HeadFlag = None,
    offset: StartFlag = 0.0,
    duration: LengthFlag = None,
    output: OutputFlag = None,
) -> None:
    """Probabilities of the tokens over time, with those that are decoded."""

    def draw() -> "Figure":
        from asr.aligner import Aligner
        from asr.plots.emissions import emissions

        aligner = Aligner.load(model, head)
        waveform = _read(audio, aligner.sample_rate, offset, duration)
        return emissions(aligner.model, waveform, aligner.head, audio.name)

    _picture("emissions", output, draw)


@app.command()
def alignment(
    model: ModelArgument,
    audio: AudioArgument,
    text: Annotated[str, typer.Option("--text", "-t", help="What the recording says.")],
    head: flags.HeadFlag = None,
    lexicon: LexiconFlag = None,
    offset: StartFlag = 0.0,
    duration: LengthFlag = None,
    output: OutputFlag = None,
) -> None:
    """A text aligned with its recording."""

    def draw() -> "Figure":
        from asr.aligner import Aligner
        from asr.plots.emissions import alignment

        aligner = Aligner.load(model, head, lexicon)
        return alignment(aligner, _read(audio, aligner.sample_rate, offset, duration), text, audio.name)

    _picture("alignment", output, draw)


@app.command()
def unfold(
    model: ModelArgument,
    audio: AudioArgument,
    text: TextFlag = None,
    layer: Annotated[int, typer.Option(min=0, help="Recurrent layer, from 1 (0: the top one).")] = 0,
    units: Annotated[int, typer.Option(min=1, help="Hidden units drawn.")] = 32,
    steps: Annotated[int, typer.Option(min=2, max=24, help="Steps of the unfolded network.")] = 10,
    start: Annotated[
        float | None, typer.Option(min=0.0, help="Where these begin, in seconds (default: a long word).")
    ] = None,
    lexicon: LexiconFlag = None,
    offset: StartFlag = 0.0,
    duration: LengthFlag = None,
    output: OutputFlag = None,
) -> None:
    """The network unfolded in time: each step's hidden state and gates over the words being said."""

    def draw() -> "Figure":
        from asr.aligner import Aligner
        from asr.plots.unfold import unfolded

        aligner = Aligner.load(model, None, lexicon)
        waveform = _read(audio, aligner.sample_rate, offset, duration)
        words = _words(aligner, model, waveform, text, lexicon)
        return unfolded(aligner.model, waveform, words, layer, units, steps, start, audio.name)

    _picture("unfold", output, draw)


@app.command()
def training(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of training runs.")],
    output: OutputFlag = None,
) -> None:
    """Loss, error rates, learning rate, gradients, speed and padding of training runs."""

    def draw() -> "Figure":
        from asr.plots.training import read_run, training

        return training([read_run(run) for run in runs])

    _picture("training", output, draw)


@app.command()
def gradients(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL…]", help="Model directories (default: each cell, untrained)."),
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="What the models hear.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Longest lag.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of random weights, inputs and directions.")] = 1,
    output: OutputFlag = None,
) -> None:
    """Norm of d output(t) / d input(t - k) against k: the vanishing gradient, and what gates do about it."""

    def draw() -> "Figure":
        from asr.errors import UserError
        from asr.gradients import model_reach, untrained_cells
        from asr.model import load_network
        from asr.plots.gradients import gradients

        if not models:
            if audio is not None:
                raise UserError("--audio: is what models hear; name some")
            return gradients(untrained_cells(steps, seed))
        if audio is None:
            raise UserError("--audio: say which recording the models hear, some seconds of speech")
        reaches = []
        for name in models:
            model = load_network(name)
            waveform = _read(audio, model.config.frontend.sample_rate, 0.0, None)
            reaches.append(model_reach(_short_name(name), model, waveform, steps, seed))
        return gradients(reaches)

    _picture("gradients", output, draw)


@app.command()
def augment(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Training recipe (.yaml).")],
    audio: AudioArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE…]", help="Values in place of the recipe's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 1,
    offset: StartFlag = 0.0,
    duration: LengthFlag = None,
    output: OutputFlag = None,
) -> None:
    """A recording before and after each augmentation of a recipe."""

    def draw() -> "Figure":
        from asr.plots.augment import augment
        from asr.training.config import load_recipe

        loaded = load_recipe(recipe, overrides or [])
        waveform = _read(audio, loaded.frontend.sample_rate, offset, duration)
        return augment(loaded.augment, loaded.frontend, waveform, seed, audio.name)

    _picture("augment", output, draw)


@app.command()
def wer(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Manifest with texts.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Hypotheses, as for asr score.")],
    by: Annotated[str, typer.Option(metavar="KEY", help="speaker, duration or any key.")] = "speaker",
    cer: Annotated[bool, typer.Option("--cer", help="Characters, not words.")] = False,
    normalize: Annotated[str, typer.Option(metavar="NAME", help="As for asr score.")] = "none",
    output: OutputFlag = None,
) -> None:
    """Word error rate of each speaker (or other group), with 95 % intervals."""

    def draw() -> "Figure":
        from asr.plots.wer import wer
        from asr.scoring.normalizers import normalizer
        from asr.scoring.report import Options, report
        from asr.scoring.texts import read

        options = Options(normalizer(normalize), "character" if cer else "word", (by,))
        return wer(report(read(reference), read(hypothesis, hypotheses=True), options), by)

    _picture("wer", output, draw)


def _picture(name: str, output: Path | None, draw: "Callable[[], Figure]") -> None:
    """Check matplotlib and the picture's name before the work, then draw and write."""
    from asr.plots import style

    path = output or Path(f"{name}.png")
    style.check_format(path)
    style.save(draw(), path)
    typer.echo(f"wrote {path}", err=True)


def _short_name(model: str) -> str:
    """The folder's name; where that is ``model``, the name of the run it lies in."""
    path = Path(model).resolve()
    return path.parent.name if path.name == "model" else path.name


def _read(audio: Path, sample_rate: int, offset: float, duration: float | None) -> "Tensor":
    from asr.audio import read_audio
    from asr.errors import UserError

    waveform = read_audio(audio, sample_rate, offset, duration)
    if not len(waveform):
        raise UserError(f"{audio}: holds no samples{f' from {offset:g} s on' if offset else ''}")
    return waveform


def _mono(samples: "object", audio: Path) -> "Tensor":
    import numpy as np
    import torch

    from asr.errors import UserError

    assert isinstance(samples, np.ndarray)
    if not len(samples):
        raise UserError(f"{audio}: holds no samples")
    return torch.from_numpy(samples.mean(axis=1))


def _words(
    aligner: "Aligner", model: str, waveform: "Tensor", text: str | None, lexicon: Path | None
) -> "tuple[Word, ...]":
    """Words of the text where they are said; without a text those that the model recognises."""
    if text is not None:
        return aligner.align(waveform, text).transcript.words
    from asr.transcriber import load_model

    return load_model(model, lexicon=None if lexicon is None else str(lexicon)).transcribe(waveform).words

"""``asr listen``: the microphone to text, as it is said."""

from typing import Annotated

import typer

from asr.cli import options as flags


def listen(
    model: Annotated[str, typer.Option("--model", "-m", help="Model directory, or en.")] = "en",
    microphone: Annotated[
        str | None,
        typer.Option(
            "--microphone", help="Name or number (default: the system's).", rich_help_panel=flags.LIVE
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Name the microphones, and end.", rich_help_panel=flags.LIVE)
    ] = False,
    look_ahead: flags.LookAheadFlag = None,
    decoder: flags.DecoderFlag = None,
    head: flags.HeadFlag = None,
    lm: flags.LMFlag = None,
    lexicon: flags.LexiconFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    lm_weight: flags.LMWeightFlag = None,
    word_score: flags.WordScoreFlag = None,
    hotwords: flags.HotwordsFlag = None,
    rescore: flags.RescoreFlag = None,
    no_speech_gate: flags.NoSpeechGateFlag = False,
    threads: flags.ThreadsFlag = 0,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:N or mps.", rich_help_panel="Computing")
    ] = "cpu",
    precision: flags.PrecisionFlag = "auto",
) -> None:
    r"""Write what the microphone hears until Ctrl-C: a line a pause, on a terminal also what may change.

    Needs the package sounddevice: pip install 'asr-ctc\[listen]'.
    """
    from asr.errors import UserError
    from asr.live import import_sounddevice, open_microphone

    sounddevice = import_sounddevice()
    if show:
        devices = enumerate(sounddevice.query_devices())
        found = [f"{number}\t{entry['name']}" for number, entry in devices if entry["max_input_channels"]]
        if not found:
            raise UserError("there is no microphone here that PortAudio knows")
        typer.echo("\n".join(found))
        return

    from asr.cli.live import LiveText, follow, latency_line, use_threads
    from asr.cli.output import tell
    from asr.recording import Recording, model_blocks
    from asr.transcriber import load_model

    options = flags.decoding_options(
        decoder=decoder,
        head=head,
        lm=lm,
        lexicon=lexicon,
        beam_size=beam_size,
        lm_weight=lm_weight,
        word_score=word_score,
        hotwords=hotwords,
        rescore=rescore,
        no_speech_gate=no_speech_gate,
    )
    use_threads(threads)
    transcriber = load_model(model, options, device, precision)
    stream = transcriber.stream(look_ahead)
    name = int(microphone) if microphone and microphone.isdecimal() else microphone

    with open_microphone(name, transcriber.sample_rate, tell) as reader, LiveText() as text:
        tell(f"listening until Ctrl-C: {latency_line(stream)}")
        blocks = model_blocks(Recording(reader.name), reader, transcriber.sample_rate, tell)
        went_away = follow(stream, blocks, text)
    if went_away:
        raise UserError(f"{reader.name}: went away")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(listen)

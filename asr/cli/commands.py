"""Which module holds which command."""

import typer


def register(app: typer.Typer) -> None:
    """Add every command to the application."""
    from asr.cli import decode, evaluate, info, lexicon, lm, plot, prepare, score, train, transcribe

    for module in (transcribe, train, decode, evaluate):
        module.register(app)
    for module in (prepare, score, lm, lexicon, plot, info):
        module.register(app)

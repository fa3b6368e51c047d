"""Which module holds which command; the order is that of ``asr --help``."""

from importlib import import_module

import typer

MODULES = (
    "transcribe",
    "listen",
    "train",
    "pretrain",
    "average",
    "decode",
    "evaluate",
    "tune",
    "score",
    "compare",
    "align",
    "export",
    "plot",
    "prepare",
    "lexicon",
    "lm",
    "info",
)


def register(app: typer.Typer) -> None:
    """Let every command module add its commands to the application."""
    for name in MODULES:
        import_module(f"asr.cli.{name}").register(app)

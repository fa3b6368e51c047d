"""``asr info``: what is installed and found here, or what a model is."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asr.environment import Environment
    from asr.model_facts import ModelFacts

Section = tuple[str, list[tuple[str, str]]]
"""A heading, and labels with what they say."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("info")(info)


def info(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Model directory, or en: its card and main facts.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Versions, devices, cache, models and optional parts: paste it into a bug report."""
    if model is None:
        from asr.environment import describe

        environment = describe()
        if as_json:
            typer.echo(json.dumps(environment.to_json()))
        else:
            _print(_environment_sections(environment))
        return
    from asr.model_facts import read_facts

    facts = read_facts(model)
    if as_json:
        typer.echo(json.dumps(facts.to_json(), ensure_ascii=False))
        return
    _print(_model_sections(facts))
    if facts.card:
        _print_card(facts.card)


def _environment_sections(found: "Environment") -> list[Section]:
    from asr.environment import PROGRAMS

    cache = found.cache
    state = f"{cache.kernels} kernels, {_bytes(cache.size)}"
    state += "" if cache.writable else "; cannot be written, so every process compiles anew (NUMBA_CACHE_DIR)"
    sections: list[Section] = [
        ("asr", [("version", found.asr), ("Python", found.python), ("platform", found.platform)]),
        ("packages", [(name, version or "missing") for name, version in found.versions.items()]),
        (
            "computing",
            [
                *((device.name, _device(device)) for device in found.devices),
                ("threads", f"{found.threads} of torch, {found.cores} cores for this process"),
                ("numba cache", f"{cache.folder} ({state})"),
                *found.variables.items(),
            ],
        ),
        (
            "models",
            [(model.name, f"{model.folder} ({_bytes(model.size)})") for model in found.models]
            or [("none", "asr train makes one")],
        ),
        (
            "optional",
            [(name, path or f"missing: {PROGRAMS[name]}") for name, path in found.programs.items()]
            + [(extra, _extra(extra, packages)) for extra, packages in found.extras.items()],
        ),
    ]
    if found.problems:
        sections.append(("problems", [("!", problem) for problem in found.problems]))
    return sections


def _model_sections(facts: "ModelFacts") -> list[Section]:
    config = facts.config
    parts = ", ".join(f"{part} {count:,}" for part, count in facts.parameters.items())
    files = ", ".join(f"{name} {_bytes(size)}" for name, size in facts.sizes.items() if size >= 100_000)
    frontend = config.frontend
    sections: list[Section] = [
        (
            "model",
            [
                ("folder", str(facts.folder)),
                ("size", f"{_bytes(sum(facts.sizes.values()))} ({files})"),
                ("parameters", f"{sum(facts.parameters.values()):,} ({parts}), stored as {facts.dtype}"),
                ("hears", f"{frontend.sample_rate} Hz, {frontend.mel_bins} mel bins, CMVN {frontend.cmvn}"),
                ("encoder", facts.encoder),
                *((f"head {name}", _head(facts, name)) for name in config.heads),
            ],
        )
    ]
    for title, settings in (("decoding", config.decoding), ("training", config.training)):
        if settings:
            sections.append((title, [(str(key), _value(value)) for key, value in settings.items()]))
    return sections


def _head(facts: "ModelFacts", name: str) -> str:
    head = facts.config.heads[name]
    layer = f"layer {head.layer}" if head.layer else "top layer"
    count = f"{facts.tokens[name]} tokens, " if name in facts.tokens else ""
    return f"{count}{head.units}, {layer}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _device(device: Any) -> str:
    memory = f", {_bytes(device.memory)}" if device.memory else ""
    return f"{device.description}{memory}, {'fast' if device.bf16 else 'no fast'} bf16"


def _extra(extra: str, packages: dict[str, str | None]) -> str:
    if all(packages.values()):
        return ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"missing: pip install 'asr-ctc[{extra}]'"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _print(sections: list[Section]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        for title, rows in sections:
            typer.echo(f"{title}:")
            for label, value in rows:
                typer.echo(f"  {label}: {value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for number, (title, rows) in enumerate(sections):
        if number:
            table.add_row("", "")
        table.add_row(Text(title, "bold"), "")
        for label, value in rows:
            style = "yellow" if value.startswith("missing") or title == "problems" else ""
            table.add_row(f"  {label}", Text(value, style))
    Console().print(table)


def _print_card(card: str) -> None:
    if not sys.stdout.isatty():
        typer.echo("\n" + card.rstrip())
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.rule import Rule

    console = Console()
    console.print(Rule(style="dim"))
    console.print(Markdown(card))

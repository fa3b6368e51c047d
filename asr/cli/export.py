"""``asr export``: a model for other programs."""

from pathlib import Path
from typing import Annotated

import typer

SUFFIX = ".onnx"


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or en.")],
    file_format: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Weights of recurrent layers in 8 bits.")] = False,
    source: Annotated[str, typer.Option("--input", help="waveforms or features.")] = "waveforms",
    head: Annotated[
        str | None, typer.Option("--head", help="CTC head (default: the one that is decoded).")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE|FOLDER", help="A name in .onnx, or a folder.")
    ] = Path(),
) -> None:
    """Write the network as one file, from waveforms (or features) to log-probabilities of its tokens."""
    from asr.errors import UserError
    from asr.export import export_onnx, require_onnx
    from asr.files import (
        atomic_write,
        check_folder_writable,
        check_writable,
        escape_name,
        exists,
        is_folder,
    )
    from asr.model import find_model, load_network

    if file_format != "onnx":
        raise UserError(f"--format: {file_format!r} is not onnx")
    names_file = output.suffix.lower() == SUFFIX and not is_folder(output)
    if not names_file and exists(output) and not is_folder(output):
        raise UserError(f"{escape_name(output)}: is a file; -o takes a name in {SUFFIX}, or a folder")
    require_onnx()
    if names_file:
        check_writable(output)
    else:
        check_folder_writable(output)
    folder = find_model(model)
    network = load_network(folder)
    graph = export_onnx(network, network.config.find_head(head), int8, source)
    name = f"{folder.resolve().name}{'.int8' if int8 else ''}{SUFFIX}"
    path = output if names_file else output / name
    with atomic_write(path, "wb") as stream:
        stream.write(graph)
    typer.echo(f"{path}: {len(graph) / 1e6:.1f} MB")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)

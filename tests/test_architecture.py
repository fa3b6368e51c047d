"""The rooms of docs/architecture.md: nothing is missing there, and imports go one way."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import asr

PACKAGE = Path(asr.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
OUTERMOST = {"asr", "__main__", "cli"}
MODULES = {
    ".".join(("asr", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports_of(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, wherever in it, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def layers() -> dict[str, int]:
    """The number of the line on which the document names a room."""
    lines = re.findall(r"^\| (\d+) \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(number) for number, rooms in lines for name in re.findall(r"`(\w+)`", rooms)}


IMPORTS = {module: set(imports_of(path)) - {module} for module, path in MODULES.items()}
ROOMS = {room(module) for module in MODULES} - OUTERMOST


def test_no_module_imports_itself_by_way_of_others() -> None:
    graphlib.TopologicalSorter(IMPORTS).prepare()


def test_every_room_stands_on_one_line() -> None:
    assert layers().keys() == ROOMS


def test_rooms_import_from_lines_above_their_own() -> None:
    line = layers()
    wrong = [
        f"{module} imports {imported}"
        for module, others in IMPORTS.items()
        for imported in others
        if room(module) not in OUTERMOST and room(imported) != room(module) and room(imported) != "asr"
        if line[room(imported)] >= line[room(module)]
    ]
    assert wrong == []


def test_every_file_is_described() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    described = {path.stem for path in PACKAGE.glob("*.py")} & ROOMS
    assert [name for name in sorted(described) if not re.search(rf"[`/]{name}\.py`", text)] == []

"""``asr compare``: two systems, in words and as a picture."""

import json
import random
import sys
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from asr.cli.compare import register
from asr.errors import UserError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    random_ = random.Random(1)
    texts = {f"u{i}": " ".join(random_.choices(["A", "B", "C", "D", "E", "F", "G"], k=12)) for i in range(60)}
    (tmp_path / "ref.jsonl").write_text("".join(
        json.dumps({"id": name, "text": text, "speaker": f"s{place % 3}"}) + "\n"
        for place, (name, text) in enumerate(texts.items())
    ))  # fmt: skip
    for system, share in (("base", 0.3), ("new", 0.2)):
        (tmp_path / f"{system}.trn").write_text("".join(
            " ".join(w if random_.random() > share else "X" for w in text.split()) + f" ({name})\n"
            for name, text in texts.items()
        ))  # fmt: skip
    return [tmp_path / name for name in ("ref.jsonl", "base.trn", "new.trn")]


def run(*arguments: object) -> str:
    app = Typer()
    register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_picture_names_systems_units_and_groups(files, tmp_path):
    pytest.importorskip("matplotlib")
    output = tmp_path / "compare.svg"
    text = run(*files, "-o", output, "--by", "speaker", "--labels", "old", "better", "--bootstrap", 200)
    assert "matched pairs (MAPSSWE)" in text
    drawn = output.read_text()
    for words in ("WER, better − old (percentage points)", "By speaker", "s2", "bootstrap replicates"):
        assert f"<!-- {words} -->" in drawn


def test_png_is_drawn_without_groups_and_of_characters(files, tmp_path):
    pytest.importorskip("matplotlib")
    run(*files, "-o", tmp_path / "compare.png", "--cer", "--bootstrap", 100)
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_another_ending_is_refused_before_the_work(files, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(UserError, match="pictures are"):
        run(*files, "-o", tmp_path / "compare.gif")
    assert not (tmp_path / "compare.gif").exists()


def test_labels_without_a_picture_are_refused(files):
    with pytest.raises(UserError, match="--labels: are those of the picture"):
        run(*files, "--labels", "OLD", "NEW")


def test_without_output_nothing_is_drawn(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asr.plots.comparison", None)
    before = sorted(tmp_path.iterdir())
    assert "matched pairs (MAPSSWE)" in run(*files, "--bootstrap", 200)
    assert sorted(tmp_path.iterdir()) == before

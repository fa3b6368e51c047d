"""A model directory that decodes with beam, lexicon and language model, all tiny."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.lm.build import build_table
from asr.lm.ngram import NGram
from asr.lm.table import NGramTable

LEXICON = {"A": "AH", "AN": "AE N", "TEA": "T IY", "SEA": "S IY", "EAT": "IY T", "AT": "AE T", "TO": "T UW"}


@pytest.fixture(scope="session")
def beam_model(make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of characters and phones whose default is the beam search; to be read only."""
    from asr.model import HeadConfig, save_network

    folder = tmp_path_factory.mktemp("models") / "beam"
    model = make_model(heads={"characters": HeadConfig(), "phones": HeadConfig(units="phones")})
    model.config.decoding = {"head": "characters", "decoder": "beam", "lm_weight": 1.0, "word_score": 1.0}
    save_network(folder, model)
    NGram.from_table(small_table(folder.parent, "A SEA AT A TEA\nTO EAT\n")).save(folder / "lm")
    return folder


@pytest.fixture(scope="session")
def other_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of other words than the model's own."""
    folder = tmp_path_factory.mktemp("lm")
    NGram.from_table(small_table(folder, "MINE OWN\nOWN\n")).save(folder / "lm")
    return folder / "lm"


@pytest.fixture(scope="session")
def phone_lexicon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language model's words in phones."""
    path = tmp_path_factory.mktemp("lexicon") / "phones.txt"
    path.write_text("".join(f"{word}\t{phones}\n" for word, phones in LEXICON.items()))
    return path


@pytest.fixture
def copied_model(beam_model: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(beam_model, tmp_path / "copy"))


def small_table(folder: Path, text: str) -> NGramTable:
    """A 2-gram of a few words."""
    (folder / "text.txt").write_text(text * 50)
    return build_table([folder / "text.txt"], 2)

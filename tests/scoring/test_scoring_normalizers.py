"""What each normaliser does; a change of any line here needs a new version of the normaliser."""

import sys

import pytest

from asr.errors import UserError
from asr.scoring.normalizers import normalizer


def normalized(name: str, text: str) -> str:
    return " ".join(normalizer(name)({"id": text})["id"].split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It’s “Zoë’s” 3rd café—not mine!", "IT'S ZOE'S 3RD CAFE NOT MINE"),
        ("rock 'n' roll, 'tis so", "ROCK 'N' ROLL 'TIS SO"),
        ("well-known ' word", "WELL KNOWN WORD"),
    ],
)
def test_librispeech_keeps_letters_digits_and_apostrophes_at_words(text, expected):
    assert normalizer("librispeech").version == "1"
    assert normalized("librispeech", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grüße, ＡＢＣ!", "grüsse abc"),
        ("It’s 5 € (about)", "it's 5 about"),
        ("Привет, мир", "привет мир"),
        ("हिन्दी।", "हिन्दी"),
        ("co\u00adoperate می\u200cخواهم", "cooperate میخواهم"),
        ("one\u200btwo", "one two"),
    ],
)
def test_basic_folds_case_and_drops_punctuation_in_any_script(text, expected):
    assert normalizer("basic").version == "2"
    assert normalized("basic", text) == expected


def test_whisper_spells_contractions_and_numbers_alike():
    pytest.importorskip("whisper_normalizer")
    assert normalizer("whisper-en").version.startswith("whisper-normalizer ")
    assert normalized("whisper-en", "She'll see twenty-five colours, um") == "she will see 25 colors"


def test_none_leaves_texts_as_they_are():
    assert normalizer("none")({"id": "As, It is"})["id"] == "As, It is"


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="none, librispeech, basic, whisper-en"):
        normalizer("kaldi")


def test_whisper_without_its_package_says_how_to_get_it(monkeypatch):
    def missing(name: str) -> str:
        raise sys.modules["importlib.metadata"].PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(UserError, match=r"pip install 'asr-ctc\[normalize\]'"):
        normalizer("whisper-en")

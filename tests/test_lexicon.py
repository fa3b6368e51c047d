"""Lexicon files, dictionary files, rules of word formation, and the lexicon built of them."""

import gzip
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from asr.cli.lexicon import register
from asr.errors import UserError
from asr.lexicon import (
    WordRules,
    build_lexicon,
    find_lexicon,
    read_dictionary,
    read_lexicon,
    read_words,
    write_lexicon,
)

DICTIONARY = """\
;;; a comment of old releases
a AH0
a(2) EY1
humble HH AH1 M B AH0 L
ask AE1 S K
box B AA1 K S
color K AH1 L ER0
don't D OW1 N T
happy HH AE1 P IY0
hop HH AA1 P
hope HH OW1 P
house HH AW1 S # as a noun
hearth HH AA1 R TH
record R AH0 K AO1 R D
record(2) R EH1 K ER0 D
record(3) R EH2 K ER0 D
stammer S T AE1 M ER0
traveled T R AE1 V AH0 L D
want W AA1 N T
"""


@pytest.fixture
def dictionary_file(tmp_path: Path) -> Path:
    path = tmp_path / "cmudict.dict"
    path.write_text(DICTIONARY, encoding="utf-8")
    return path


@pytest.fixture
def rules(dictionary_file: Path) -> WordRules:
    return WordRules(read_dictionary(dictionary_file))


def phones(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def test_a_dictionary_loses_stress_comments_and_variants_that_differ_in_stress_alone(dictionary_file):
    dictionary = read_dictionary(dictionary_file)
    assert dictionary["A"] == (phones("AH"), phones("EY"))
    assert dictionary["HOUSE"] == (phones("HH AW S"),)
    assert dictionary["RECORD"] == (phones("R AH K AO R D"), phones("R EH K ER D"))


def test_a_lexicon_comes_back_as_it_was_written(tmp_path):
    entries = [("THE", phones("DH AH")), ("THE", phones("DH IY")), ("DON'T", phones("D OW N T"))]
    write_lexicon(tmp_path / "lexicon.txt", entries)
    assert (tmp_path / "lexicon.txt").read_text() == "THE DH AH\nTHE DH IY\nDON'T D OW N T\n"
    assert read_lexicon(tmp_path / "lexicon.txt") == entries


def test_the_mark_before_utf_8_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "lexicon.txt").write_text("THE DH AH\n", encoding="utf-8-sig")
    assert read_lexicon(tmp_path / "lexicon.txt") == [("THE", phones("DH AH"))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("THE DH AH\nCAT\n", "line 2: 'CAT' has no phones"),
        ("\nthe DH AH\n", "line 2: 'the' is not upper case"),
        ("THE DH AH0\n", "line 1: the phones carry stress digits"),
        ("\n", "empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_broken_lexicon_is_named_by_line(tmp_path, content, message):
    path = tmp_path / "lexicon.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as error:
        read_lexicon(path)
    assert str(path) in str(error.value)


def test_a_lexicon_whose_name_ends_in_gz_is_compressed(tmp_path):
    entries = [("THE", phones("DH AH")), ("DON'T", phones("D OW N T"))]
    write_lexicon(tmp_path / "lexicon.txt.gz", entries)
    assert gzip.decompress((tmp_path / "lexicon.txt.gz").read_bytes()) == b"THE DH AH\nDON'T D OW N T\n"
    assert read_lexicon(tmp_path / "lexicon.txt.gz") == entries
    assert find_lexicon(tmp_path) == tmp_path / "lexicon.txt.gz"


@pytest.mark.parametrize("content", [b"THE DH AH\n", gzip.compress(b"THE DH AH\n" * 99)[:-20]])
def test_a_damaged_compressed_lexicon_is_one_line(tmp_path, content):
    (tmp_path / "lexicon.txt.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"lexicon\.txt\.gz: cannot be read"):
        read_lexicon(tmp_path / "lexicon.txt.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the DH AH0\ncat K AE1 Q\n", "line 2: 'Q' is not one of"),
        ("the\n", "line 1: 'THE' has no"),
        ("", "empty"),
    ],
)
def test_a_broken_dictionary_is_named_by_line(tmp_path, content, message):
    (tmp_path / "dict").write_text(content)
    with pytest.raises(UserError, match=message):
        read_dictionary(tmp_path / "dict")


def test_a_missing_file_is_one_line(tmp_path):
    for read in (read_lexicon, read_dictionary, read_words):
        with pytest.raises(UserError, match="nowhere"):
            read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("HOPE'S", "HH OW P S"),
        ("BOX'S", "B AA K S IH Z"),
        ("HAPPY'S", "HH AE P IY Z"),
        ("BOXES", "B AA K S IH Z"),
        ("HOUSES", "HH AW S IH Z"),
        ("ASKED", "AE S K T"),
        ("WANTED", "W AA N T IH D"),
        ("HOPED", "HH OW P T"),
        ("HOPPED", "HH AA P T"),
        ("HOPING", "HH OW P IH NG"),
        ("HOPPING", "HH AA P IH NG"),
        ("HOPIN'", "HH OW P IH N"),
        ("STAMMERED", "S T AE M ER D"),
        ("HAPPINESS", "HH AE P IY N AH S"),
        ("HAPPILY", "HH AE P AH L IY"),
        ("HOPELESSLY", "HH OW P L AH S L IY"),
        ("HUMBLY", "HH AH M B L IY"),
        ("UNHAPPY", "AH N HH AE P IY"),
        ("UNASKED", "AH N AE S K T"),
        ("COLOUR", "K AH L ER"),
        ("COLOURED", "K AH L ER D"),
        ("TRAVELLED", "T R AE V AH L D"),
        ("DONT", "D OW N T"),
        ("'WANT", "W AA N T"),
        ("HEARTHLIKE", "HH AA R TH L AY K"),
    ],
)
def test_rules_derive_words_from_those_of_the_dictionary(rules, word, expected):
    assert rules(word)[0] == phones(expected)


def test_rules_keep_every_pronunciation_of_the_base(rules):
    assert rules("RECORDS") == (phones("R AH K AO R D Z"), phones("R EH K ER D Z"))


def test_no_rule_makes_a_word_of_nothing(rules):
    for word in ("ZYX", "HOPEHOUSE", "S", "'S", "'", "ED", "INGS", ""):
        assert rules(word) == ()


def test_a_lexicon_is_built_from_dictionary_then_rules_then_model(dictionary_file):
    asked = []

    def guess(words):
        asked.extend(words)
        return {
            word: [(phones("F UW"), -1.0), (phones("F OW"), -1.5), (phones("F AA"), -9.0)] for word in words
        }

    built = build_lexicon(
        ["RECORD", "HOPES", "FOO", "FOO'S", "XI'S", "R2D2", "'"],
        read_dictionary(dictionary_file),
        guess,
        variants=4,
    )
    assert asked == ["FOO", "XI'S"], "a possessive is its owner's pronunciation and an ending"
    assert built.sources == {"dictionary": 1, "rules": 1, "g2p": 3}
    assert built.missing == ["R2D2", "'"]
    assert built.entries == [
        ("RECORD", phones("R AH K AO R D")),
        ("RECORD", phones("R EH K ER D")),
        ("HOPES", phones("HH OW P S")),
        ("FOO", phones("F UW")),
        ("FOO", phones("F OW")),
        ("FOO'S", phones("F UW Z")),
        ("FOO'S", phones("F OW Z")),
        ("XI'S", phones("F UW")),
        ("XI'S", phones("F OW")),
    ]


def test_variants_limits_the_pronunciations_of_a_word(dictionary_file):
    built = build_lexicon(["RECORD", "A"], read_dictionary(dictionary_file), variants=1)
    assert [word for word, _ in built.entries] == ["RECORD", "A"]


def test_a_word_list_may_have_counts_or_be_a_language_model(tmp_path):
    (tmp_path / "words.txt").write_text("<s>\n</s>\n<unk>\nthe 120\nCAT\nThe 3\n\n")
    expected = ["THE", "CAT"]
    assert read_words(tmp_path / "words.txt") == expected
    assert read_words(tmp_path) == expected
    (tmp_path / "empty.txt").write_text("<s>\n")
    with pytest.raises(UserError, match="no words"):
        read_words(tmp_path / "empty.txt")


def test_the_command_says_where_the_words_came_from(tmp_path, dictionary_file):
    app = typer.Typer()
    register(app)
    (tmp_path / "words").write_text("want 9\nWANTED 3\nzyx 1\n")
    output = tmp_path / "lexicon.txt"
    arguments = [
        "lexicon",
        "build",
        str(tmp_path / "words"),
        "--dictionary",
        str(dictionary_file),
        "-o",
        str(output),
    ]
    result = CliRunner().invoke(app, [*arguments, "--g2p", "none"])
    assert result.exit_code == 0
    assert "2 words (1 dictionary, 1 rules, 0 g2p)" in result.stdout
    assert "1 left out" in result.stderr and "ZYX" in result.stderr
    assert read_lexicon(output) == [("WANT", phones("W AA N T")), ("WANTED", phones("W AA N T IH D"))]
    result = CliRunner().invoke(app, [*arguments, "--g2p", "none", "--json"])
    assert json.loads(result.stdout) == {"words": 2, "dictionary": 1, "rules": 1, "g2p": 0, "missing": 1}
    without_output = CliRunner().invoke(app, [*arguments[:-2], "--g2p", "none"])
    assert without_output.stdout == output.read_text()
    assert "2 words" in without_output.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"audio_filepath": "a.wav"}\n', "words.txt: is a manifest"),
        ("\\data\\\nngram 1=3\n", "words.txt: is an ARPA file"),
        ("123\n4.5\n", "nothing gives a pronunciation of any word, such as '123'"),
    ],
)
def test_what_holds_no_words_to_pronounce_leaves_no_lexicon(
    run_asr, tmp_path, dictionary_file, content, message
):
    (tmp_path / "words.txt").write_text(content)
    output = tmp_path / "lexicon.txt"
    ran = run_asr("lexicon", "build", tmp_path / "words.txt", "--dictionary", dictionary_file, "-o", output)
    assert ran.status == 1
    assert message in ran.stderr
    assert not output.exists()

"""Which form a file of texts has is seen from its content; ids pair texts, never line numbers."""

import json
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.scoring import read, read_texts, score
from asr.scoring.report import Options, report
from asr.scoring.timed import cut_into_segments

EXPECTED = {"1-a": "HELLO THERE", "2-b": "", "3-c": "I"}

FORMS = {
    "json": '{"id": "1-a", "text": "HELLO THERE"}\n{"id": "2-b", "text": ""}\n\n{"id": "3-c", "text": "I"}\n',
    "kaldi": "1-a HELLO THERE\n2-b\n3-c I\n",
    "trn": ";; a comment\nHELLO THERE (1-a)\n(2-b)\nI  (3-c)\n",
}


def write(folder: Path, content: str, name: str = "texts") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_texts_whatever_the_file_is_called(tmp_path, form):
    texts = read(write(tmp_path, FORMS[form], "some.dat"))
    assert texts.form == form
    assert {name: text.strip() for name, text in texts.texts.items()} == EXPECTED


@pytest.mark.parametrize("form", FORMS)
def test_forms_pair_with_each_other_in_any_order(tmp_path, form):
    references = read_texts(write(tmp_path, FORMS["json"]))
    lines = [line for line in FORMS[form].splitlines() if line and not line.startswith(";;")]
    shuffled = write(tmp_path, "\n".join(reversed(lines)), "hyp")
    assert score(references, read_texts(shuffled)).errors == 0


def test_a_manifest_line_without_id_is_named_by_its_audio_and_offset(tmp_path):
    lines = [
        {"audio_filepath": "a.flac", "duration": 1, "text": "A"},
        {"audio_filepath": "a.flac", "offset": 12.5, "duration": 1, "text": "B"},
        {"id": 7, "audio_filepath": "a.flac", "duration": 1, "text": "C"},
    ]
    path = write(tmp_path, "".join(json.dumps(line) + "\n" for line in lines))
    assert read_texts(path) == {"a.flac": "A", "a.flac@12.5": "B", "7": "C"}


def test_hypotheses_of_nemo_are_read_from_pred_text_not_from_the_reference_beside_it(tmp_path):
    path = write(
        tmp_path, '{"audio_filepath": "a.wav", "duration": 1, "text": "SAID", "pred_text": "HEARD"}\n'
    )
    assert read_texts(path) == {"a.wav": "SAID"}
    assert read_texts(path, hypotheses=True) == {"a.wav": "HEARD"}


def test_a_name_with_spaces_before_a_tab_stays_whole(tmp_path):
    path = write(tmp_path, "my file.flac\tHELLO THERE\nother.flac\tYES\n")
    assert read_texts(path) == {"my file.flac": "HELLO THERE", "other.flac": "YES"}


@pytest.mark.parametrize("content", ["HELLO THERE\nGOOD DAY\n", "I\n", "hello (there) you\nyes\n"])
def test_plain_text_without_ids_is_refused_with_the_forms_that_are_read(tmp_path, content):
    with pytest.raises(UserError, match=r"no utterance ids.*JSON lines.*Kaldi text.*trn.*stm.*ctm"):
        read_texts(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n  \n", "empty"),
        ('{"id": "a", "text": "A"}\n{"id": "b"\n', "line 2 is not JSON"),
        ('{"id": "a", "text": "A"}\n[1]\n', "line 2 is not a JSON object"),
        ('{"id": "a", "text": "A"}\n{"id": "b"}\n', "line 2 has no 'text'"),
        ('{"text": "A"}\n', "line 1 has neither 'id' nor 'audio_filepath'"),
        ('{"id": "a", "text": "A"}\n{"id": "a", "text": "B"}\n', "line 2.*'a'.*second time"),
        ("A (x-1)\nB (x-1)\n", "line 2.*'x-1'.*second time"),
        ("{ A / B } C (x-1)\n", "line 1: alternatives"),
    ],
)
def test_broken_files_are_refused_by_line_number(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_texts(write(tmp_path, content))


def test_missing_files_folders_and_binary_are_refused(tmp_path):
    (tmp_path / "audio").write_bytes(b"\xff\xfe\x00\x80" * 10)
    for name in ("nothing", ".", "audio"):
        with pytest.raises(UserError, match="cannot be read"):
            read_texts(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path):
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbf" + b"a-1 YES\r\nb-2 NO\r\n")
    assert read_texts(tmp_path / "bom") == {"a-1": "YES", "b-2": "NO"}


STM = """;; comment
talk 1 anna 0.00 2.00 <o,f> HELLO THERE
talk 1 bert 2.00 3.50 <o,m> YES
talk 1 inter 3.50 4.00 ignore_time_segment_in_scoring
call A carl 0.00 1.00 ONE
call B dora 0.00 1.00 TWO
"""
CTM = """talk 1 0.10 0.30 HELLO 0.9
talk 1 2.10 0.30 YES
talk 1 0.50 0.30 THERE
talk 1 3.60 0.20 COUGH
talk 1 9.00 0.20 LATE
call A 0.20 0.30 ONE
"""


def test_stm_segments_have_ids_times_and_speakers(tmp_path):
    texts = read(write(tmp_path, STM))
    assert texts.form == "stm"
    assert texts.texts == {"talk": "HELLO THERE", "talk@2": "YES", "call-A": "ONE", "call-B": "TWO"}
    assert texts.attribute("speaker")["talk@2"] == "bert"
    assert texts.attribute("duration")["talk@2"] == 1.5


def test_words_of_a_ctm_go_by_time_into_the_segments_of_an_stm(tmp_path):
    references, hypotheses = read(write(tmp_path, STM, "ref")), read(write(tmp_path, CTM, "hyp"))
    assert hypotheses.form == "ctm"
    assert hypotheses.texts["talk"] == "HELLO THERE YES COUGH LATE"
    cut = cut_into_segments(references.timed, hypotheses.timed)
    # What was said where nothing is scored is left out; so is what is nearest to that stretch.
    assert cut == {"talk": "HELLO THERE", "talk@2": "YES", "call-A": "ONE"}
    result = report(references, hypotheses, Options(replicates=0))
    assert result.score.missing == ("call-B",)
    assert (result.score.words, result.score.errors) == (5, 1)


def test_digits_spoken_are_not_mistaken_for_times(tmp_path):
    texts = read(write(tmp_path, "a-1 1 5 3 4\nb-2 2 2 0 9 1\n"))
    assert texts.form == "kaldi"
    assert texts.texts == {"a-1": "1 5 3 4", "b-2": "2 2 0 9 1"}


def test_speakers_of_kaldi_text_come_from_utt2spk_or_the_id(tmp_path):
    path = write(tmp_path, "84-121-0001 A\n84-121-0002 B\n", "text")
    assert read(path).attribute("speaker") == {"84-121-0001": "84", "84-121-0002": "84"}
    write(tmp_path, "84-121-0001 anna\n84-121-0002 bert\n", "utt2spk")
    assert set(read(path).attribute("speaker").values()) == {"anna", "bert"}


def test_a_key_that_no_utterance_has_is_refused_with_those_there_are(tmp_path):
    texts = read(write(tmp_path, '{"id": "a", "text": "A", "snr": 3, "corpus": "x"}\n'))
    with pytest.raises(UserError, match="no utterance has the key 'speaker'; it has corpus, snr"):
        texts.attribute("speaker")


def test_an_stm_may_have_whole_seconds(tmp_path):
    texts = read(write(tmp_path, "talk 1 anna 0 10 <o,f0> HELLO\ntalk 1 bert 10 12 <o,m> YES\n"))
    assert texts.texts == {"talk": "HELLO", "talk@10": "YES"}


def test_the_only_channel_of_a_file_is_one_whatever_it_is_called(tmp_path):
    stm = read(write(tmp_path, "m A x 0.0 5.0 FIVE SIX\nm A y 5.0 10.0 SEVEN EIGHT\n", "ref"))
    ctm = "m 1 0.5 0.2 FIVE\nm 1 1.5 0.2 SIX\nm 1 6.5 0.2 SEVEN\nm 1 7.5 0.2 EIGHT\n"
    assert report(stm, read(write(tmp_path, ctm, "hyp")), Options(replicates=0)).score.errors == 0
    two = read(write(tmp_path, ctm + "m 2 0.5 0.2 YES\n", "two"))
    with pytest.raises(UserError, match="m: the ctm calls its channels 1, 2, the stm A"):
        cut_into_segments(stm.timed, two.timed)


def test_segments_that_overlap_are_refused_where_words_are_cut_into_them(tmp_path):
    stm = read(write(tmp_path, "m 1 x 0.0 10.0 ONE TWO\nm 1 y 5.0 7.0 YEAH\n", "ref"))
    with pytest.raises(UserError, match="m: the stm's segments of channel 1 that begin at 0 and 5 s overlap"):
        cut_into_segments(stm.timed, read(write(tmp_path, "m 1 0.5 0.2 ONE\n", "hyp")).timed)
    said = '{"id": "m", "text": "ONE TWO"}\n{"id": "m@5", "text": "YEAH"}\n'
    assert report(stm, read(write(tmp_path, said, "said")), Options(replicates=0)).score.errors == 0

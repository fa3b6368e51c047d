import json
import os
from pathlib import Path

import pytest
from miniature import write_audio

from asr.corpora.folder import prepare_folder
from asr.corpora.text import to_letters
from asr.errors import UserError
from asr.manifest import read_manifest

COMMON_VOICE = (
    "client_id\tpath\tsentence_id\tsentence\tup_votes\tgender\tsegment\n"
    'abc\tcommon_voice_en_1.mp3\t7\t"Why not?", she said.\t2\tfemale\t\n'
    "def\tcommon_voice_en_2.mp3\t8\tIt's naïve — really\t3\t\t\n"
    "ghi\tcommon_voice_en_3.mp3\t9\tRoom 101\t2\t\t\n"
    "ghi\tcommon_voice_en_4.mp3\t9\tThe clip is gone\t2\t\t\n"
)


@pytest.fixture
def recordings(tmp_path) -> Path:
    root = tmp_path / "recordings"
    for name, text in {"one": "Hello\nthere", "alice/two": "good  bye"}.items():
        write_audio(root / f"{name}.wav").with_suffix(".txt").write_text(text)
    return root


@pytest.fixture
def common_voice(tmp_path) -> Path:
    root = tmp_path / "en"
    for number in (1, 2, 3):
        write_audio(root / "clips" / f"common_voice_en_{number}.mp3")
    (root / "train.tsv").write_text(COMMON_VOICE)
    return root


def kinds(problems) -> list[str]:
    return [problem.kind for problem in problems]


def test_text_files_beside_the_audio_are_its_texts(recordings, tmp_path, run):
    result = run("folder", recordings, "--output", tmp_path / "all.jsonl", "--strict")
    assert result.exit_code == 0, result.exception
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    texts = {line["id"]: line["text"] for line in lines}
    assert texts == {"alice/two": "good bye", "one": "Hello there"}
    assert lines[0]["audio_filepath"] == "recordings/alice/two.wav" and lines[0]["duration"] == 0.5


def test_links_to_folders_are_followed_and_a_link_that_leads_back_is_no_end(recordings, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "linked").symlink_to(recordings)
    (recordings / "back").symlink_to(tmp_path / "corpus")
    assert prepare_folder(tmp_path / "corpus", tmp_path / "all.jsonl").utterances == 2
    (recordings / "a_link").symlink_to(recordings / "alice")
    manifest = prepare_folder(recordings, tmp_path / "all.jsonl").manifest
    assert [utterance.id for utterance in read_manifest(manifest)] == ["alice/two", "one"]


def test_second_run_is_free_and_new_files_are_seen(recordings, tmp_path):
    output = tmp_path / "all.jsonl"
    assert [prepare_folder(recordings, output).reused for _ in range(2)] == [False, True]
    assert not prepare_folder(recordings, output, letters=True).reused
    write_audio(recordings / "three.ogg").with_suffix(".txt").write_text("more")
    assert prepare_folder(recordings, output).utterances == 3


def test_each_problem_of_a_folder_is_named(recordings, tmp_path):
    write_audio(recordings / "no text.flac")
    (recordings / "no audio.txt").write_text("alone")
    write_audio(recordings / "blank.wav").with_suffix(".txt").write_text(" \n")
    write_audio(recordings / "latin.wav").with_suffix(".txt").write_bytes("déjà".encode("latin-1"))
    write_audio(recordings / "one.flac")
    (recordings / "broken.wav").write_text("RIFF")
    (recordings / "broken.txt").write_text("broken")
    write_audio(recordings / ".hidden.wav")
    prepared = prepare_folder(recordings, tmp_path / "all.jsonl")
    assert kinds(prepared.problems) == [
        *("audio without text", "duplicate id", "empty text"),
        *("text without audio", "unreadable audio", "unreadable text"),
    ]
    assert [utterance.id for utterance in read_manifest(tmp_path / "all.jsonl")] == ["alice/two", "one"]


def test_a_file_name_that_is_not_utf8_is_a_problem_not_a_crash(recordings, tmp_path, run):
    stem = os.fsencode(recordings) + b"/caf\xe9"
    try:
        write_audio(recordings / "x.wav").rename(os.fsdecode(stem + b".wav"))
    except OSError:
        pytest.skip("this file system refuses such names")
    Path(os.fsdecode(stem + b".txt")).write_text("coffee")
    result = run("folder", recordings, "--output", tmp_path / "all.jsonl")
    assert result.exit_code == 0, result.exception
    assert "file name is not UTF-8 (1)" in result.stderr
    assert "\\xe9" in (tmp_path / "all.problems.txt").read_text()


def test_common_voice_table_with_quotation_marks_and_clips_folder(common_voice, tmp_path, run):
    arguments = ["--table", common_voice / "train.tsv", "--output", tmp_path / "train.jsonl"]
    result = run("folder", common_voice, *arguments)
    assert result.exit_code == 0, result.exception
    utterances = read_manifest(tmp_path / "train.jsonl")
    assert [utterance.text for utterance in utterances] == [
        *('"Why not?", she said.', "It's naïve — really", "Room 101"),
    ]
    assert utterances[0].speaker == "abc" and utterances[0].id == "common_voice_en_1"
    assert utterances[0].extra == {"sentence_id": "7", "up_votes": "2", "gender": "female"}
    assert "missing audio (1)" in result.stderr and "common_voice_en_4.mp3" in result.stderr


def test_letters_bring_sentences_into_the_models_spelling(common_voice, tmp_path):
    prepared = prepare_folder(common_voice, tmp_path / "x.jsonl", common_voice / "train.tsv", letters=True)
    texts = [utterance.text for utterance in read_manifest(prepared.manifest)]
    assert texts == ["WHY NOT SHE SAID", "IT'S NAIVE REALLY"]
    assert kinds(prepared.problems) == ["missing audio", "text with digits or foreign letters"]


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("“Don’t—” he said… ‘now’", "DON'T HE SAID NOW"),
        ("'quoted' 'tis the dogs' bone ' x", "QUOTED 'TIS THE DOGS' BONE X"),
        ("twenty-one Café & Co.", "TWENTY ONE CAFE AND CO"),
        ("ﬁne naı̈ve", "FINE NAIVE"),
        ("‘It’s the dogs’ bone’ ‘tis ‛twas", "IT'S THE DOGS BONE' 'TIS 'TWAS"),
        ("* ...", ""),
        ("ten % of it", None),
        ("a + b = c", None),
        ("five € each", None),
        ("Straße", "STRASSE"),
        ("exam\u00adple™", "EXAMPLE"),
        ("catch 22", None),
        ("Ω", None),
        ("½", None),
    ],
)
def test_to_letters(text, letters):
    assert to_letters(text) == letters


def test_the_table_is_not_replaced_by_its_manifest(recordings, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,text\na.flac,HELLO\n")
    with pytest.raises(UserError, match=r"table\.csv: is read or written already"):
        prepare_folder(recordings, table, table)
    assert table.read_text().startswith("path,text")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_tables_with_any_usual_separator_and_column_names(recordings, tmp_path, separator):
    table = tmp_path / "table.csv"
    header, first, second = "ID Audio_Filepath Transcript", "u1 one.wav first", "u2 alice/two.wav second"
    table.write_text("\ufeff" + "\r\n".join([header, first, second]).replace(" ", separator))
    prepared = prepare_folder(recordings, tmp_path / "x.jsonl", table)
    pairs = [(utterance.id, utterance.text) for utterance in read_manifest(prepared.manifest)]
    assert pairs == [("u1", "first"), ("u2", "second")]


def test_each_problem_of_a_table_is_named(recordings, tmp_path):
    table = tmp_path / "table.csv"
    rows = [
        'one.wav,"a, b"',
        "one.wav,again",
        "gone.wav,lost",
        ",no path",
        "alice/two.wav,",
        "short",
        ".,folder",
        f"{'x' * 300},long",
        "alice/two.wav,a text, and its end",
        "one.wav,whole,,",
    ]
    table.write_text("\n".join(["path,text", *rows]))
    prepared = prepare_folder(recordings, tmp_path / "x.jsonl", table)
    assert kinds(prepared.problems) == [
        *("duplicate id", "duplicate id", "empty text", *["missing audio"] * 4),
        *("more fields than columns (quote texts with separators in them)", "text without audio"),
    ]
    assert [utterance.text for utterance in read_manifest(prepared.manifest)] == ["a, b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"wave,words\na.wav,hello\n", "no column for the audio; its first line has 'wave', 'words'"),
        (b"path,words\na.wav,hello\n", "no column for the text; its first line has 'path', 'words'"),
        (b"", "no column for the audio"),
        (b"path,text\n", "nothing to write"),
        (b"path,text\na.wav,\xe9\n", "cannot read this table"),
        (b'path,text\n"a"b.wav,hello\n', "cannot read this table"),
    ],
)
def test_a_table_that_is_none_is_one_clear_line(recordings, tmp_path, run, content, message):
    (tmp_path / "table.csv").write_bytes(content)
    result = run("folder", recordings, "--table", tmp_path / "table.csv", "-o", tmp_path / "x.jsonl")
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("root", "output", "message"),
    [
        ("nowhere", "x.jsonl", "no such folder"),
        ("recordings/one.wav", "x.jsonl", "is a file"),
        ("empty", "x.jsonl", "holds no audio"),
        ("recordings", "recordings/x.jsonl", "never written to"),
    ],
)
def test_a_folder_that_is_none_is_one_clear_line(recordings, tmp_path, run, root, output, message):
    (tmp_path / "empty").mkdir()
    result = run("folder", tmp_path / root, "-o", tmp_path / output)
    assert isinstance(result.exception, UserError) and message in str(result.exception)


def test_a_manifest_may_go_to_the_null_device(recordings):
    assert prepare_folder(recordings, Path(os.devnull)).utterances == 2
    assert not Path(os.devnull).with_name(".null.completed").exists()


def test_rows_may_be_stretches_of_one_recording(recordings, tmp_path):
    write_audio(recordings / "long.wav", 6.0)
    table = tmp_path / "table.csv"
    rows = [
        "long.wav,first,0,2.5,0.9",
        "long.wav,second,2.5,,",
        "long.wav,beyond,5,3,1",
        "long.wav,odd,x,1,1",
    ]
    table.write_text("\n".join(["path,text,Offset,duration,confidence", *rows, "long.wav,percent,1,1,95"]))
    prepared = prepare_folder(recordings, tmp_path / "x.jsonl", table)
    first, second = read_manifest(prepared.manifest)
    assert (first.text, first.offset, first.duration, first.confidence) == ("first", 0.0, 2.5, 0.9)
    assert (second.text, second.offset, second.duration, second.confidence) == ("second", 2.5, 3.5, 1.0)
    assert kinds(prepared.problems) == [
        *["no offset or duration in seconds, or confidence up to 1"] * 2,
        "outside of the audio",
    ]


def test_a_duration_without_offset_is_that_of_the_file(recordings, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,text,duration\none.wav,first,4711\n")
    prepared = prepare_folder(recordings, tmp_path / "x.jsonl", table)
    assert [utterance.duration for utterance in read_manifest(prepared.manifest)] == [0.5]


def test_a_segment_without_length_is_a_problem_and_two_who_speak_at_once_are_two_utterances(
    recordings, tmp_path
):
    table = tmp_path / "table.csv"
    rows = ["one.wav,EMPTY,0.1,0", "one.wav,ONE,0,0.2", "one.wav,OTHER,0,0.3", "one.wav,REST,0.1,"]
    rows += ["one.wav,OTHER,0,0.3", "one.wav,ENDLESS,0.2,inf"]
    table.write_text("\n".join(["path,text,offset,duration", *rows]))
    prepared = prepare_folder(recordings, tmp_path / "x.jsonl", table)
    assert kinds(prepared.problems) == [
        "duplicate id",
        "no offset or duration in seconds, or confidence up to 1",
        "outside of the audio",
    ]
    found = {each.id: (each.text, each.duration) for each in read_manifest(tmp_path / "x.jsonl")}
    assert found["one-0"] == ("ONE", 0.2)
    assert found["one-0-row3"] == ("OTHER", 0.3)
    assert [text for text, _ in found.values()].count("REST") == 1

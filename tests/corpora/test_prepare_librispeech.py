import json
import os
import shutil
from pathlib import Path

import pytest
from miniature import write_audio, write_split

from asr.corpora import preparation
from asr.corpora.librispeech import find_splits, prepare_librispeech
from asr.corpora.preparation import Problem, is_audio
from asr.errors import UserError
from asr.manifest import read_manifest


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]
    }


def problems_of(root: Path, output: Path) -> set[tuple[str, str]]:
    (prepared,) = prepare_librispeech(root, output)
    return {(problem.kind, problem.name) for problem in prepared.problems}


def test_every_split_becomes_a_manifest_with_paths_relative_to_it(corpus, tmp_path, run):
    before = state_of(corpus)
    result = run("librispeech", corpus, "--output", tmp_path / "manifests", "--strict")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == (
        f"{tmp_path / 'manifests' / 'dev-clean.jsonl'}: 2 utterances, 0.00 h, 1 speakers"
    )
    lines = (tmp_path / "manifests" / "dev-clean.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {
        "id": "84-121123-0001",
        "audio_filepath": "../LibriSpeech/dev-clean/84/121123/84-121123-0001.flac",
        "duration": 0.5,
        "text": "DON'T STOP",
        "speaker": "84",
        "sample_rate": 16000,
        "chapter": "121123",
    }
    (train,) = read_manifest(tmp_path / "manifests" / "train-clean-5.jsonl")
    assert train.duration == 0.25 and Path(train.audio_filepath).exists()
    assert state_of(corpus) == before, "the corpus was written to"


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".opus", ".ogg", ".mp3", ".FLAC"])
def test_durations_come_from_the_headers_of_every_format(tmp_path, suffix):
    write_split(tmp_path / "corpus" / "dev", {"1-2-0000": "A", "1-2-0001": "B"}, suffix)
    (prepared,) = prepare_librispeech(tmp_path / "corpus", tmp_path / "out")
    durations = [utterance.duration for utterance in read_manifest(prepared.manifest)]
    # MP3 pads the signal to whole frames of 36 ms.
    assert durations == pytest.approx([0.25, 0.5], abs=0.12 if suffix == ".mp3" else 1e-4)


@pytest.mark.parametrize("root", ["LibriSpeech", ".", "LibriSpeech/dev-clean"])
def test_the_root_may_be_the_tree_the_folder_above_or_one_split(corpus, tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = ["dev-clean"] if root.endswith("dev-clean") else ["dev-clean", "train-clean-5"]
    assert list(find_splits(Path(root))) == expected
    monkeypatch.chdir(root)
    assert list(find_splits(Path())) == expected


def test_second_run_reads_no_audio_and_reports_the_same(corpus, tmp_path, monkeypatch):
    (corpus / "dev-clean" / "84" / "121123" / "84-121123-0000.flac").unlink()
    first = list(prepare_librispeech(corpus, tmp_path / "out"))
    monkeypatch.setattr(preparation, "probe", lambda path: pytest.fail(f"{path} was read again"))
    monkeypatch.chdir(corpus)  # the same corpus under another name
    second = list(prepare_librispeech(Path("../LibriSpeech/."), tmp_path / "out"))
    assert [prepared.reused for prepared in second] == [True, True]
    for old, new in zip(first, second, strict=True):
        assert (old.utterances, old.seconds, old.speakers, old.problems) == (
            new.utterances,
            new.seconds,
            new.speakers,
            new.problems,
        )
    assert first[0].problems == (Problem("text without audio", "84-121123-0000"),)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda root, out: touch(root / "dev-clean/84/121123/84-121123-0000.flac"),
        lambda root, out: write_audio(root / "dev-clean/84/121123/84-121123-0002.flac"),
        lambda root, out: (root / "dev-clean/84/121123/84-121123-0000.flac").unlink(),
        lambda root, out: (root / "dev-clean/84/121123/84-121123.trans.txt").write_text("84-121123-0001 NO"),
        lambda root, out: (out / "dev-clean.jsonl").unlink(),
        lambda root, out: (out / "dev-clean.jsonl").write_text(""),
        lambda root, out: (out / ".dev-clean.completed").write_text("{"),
    ],
    ids=["audio", "more audio", "less audio", "text", "no manifest", "edited manifest", "broken marker"],
)
def test_what_has_changed_is_read_again(corpus, tmp_path, change):
    list(prepare_librispeech(corpus, tmp_path / "out"))
    change(corpus, tmp_path / "out")
    assert [prepared.reused for prepared in prepare_librispeech(corpus, tmp_path / "out")] == [False, True]


def test_manifests_that_were_moved_are_written_anew(corpus, tmp_path):
    list(prepare_librispeech(corpus, tmp_path / "out"))
    (tmp_path / "deeper").mkdir()
    moved = (tmp_path / "out").rename(tmp_path / "deeper" / "out")
    assert [prepared.reused for prepared in prepare_librispeech(corpus, moved)] == [False, False]
    assert all(Path(each.audio_filepath).is_file() for each in read_manifest(moved / "dev-clean.jsonl"))


def test_a_list_of_problems_that_is_gone_is_written_again(corpus, tmp_path):
    (corpus / "dev-clean" / "84" / "121123" / "84-121123-0000.flac").unlink()
    list(prepare_librispeech(corpus, tmp_path / "out"))
    (tmp_path / "out" / "dev-clean.problems.txt").unlink()
    first, _ = prepare_librispeech(corpus, tmp_path / "out")
    assert first.reused
    assert "84-121123-0000" in (tmp_path / "out" / "dev-clean.problems.txt").read_text()


def test_a_split_that_cannot_be_prepared_harms_no_other(corpus, tmp_path, run):
    for path in (corpus / "dev-clean").rglob("*.flac"):
        path.unlink()
    ran = run("librispeech", corpus, "-o", tmp_path / "out")
    assert ran.exit_code == 1
    assert "dev-clean.jsonl: nothing to write" in ran.stderr
    assert "1 of 2 failed" in ran.stderr
    assert read_manifest(tmp_path / "out" / "train-clean-5.jsonl")


def test_a_byte_order_mark_costs_no_utterance(corpus, tmp_path):
    path = corpus / "dev-clean" / "84" / "121123" / "84-121123.trans.txt"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    first, _ = prepare_librispeech(corpus, tmp_path / "out")
    assert first.problems == ()


def test_each_problem_is_counted_and_named(corpus, tmp_path, run):
    chapter = corpus / "dev-clean" / "84" / "121123"
    write_audio(chapter / "84-121123-0002.flac")
    write_audio(chapter / "84-121123-0001.wav")
    (chapter / "84-121123-0004.flac").write_bytes(b"")
    (chapter / "84-121123-0005.flac").write_text("no audio at all")
    write_audio(chapter / "84-121123-0006.flac")
    write_audio(chapter / "84-121123-0007.flac", seconds=0)
    with (chapter / "84-121123.trans.txt").open("a") as transcripts:
        transcripts.write("84-121123-0003 TEXT ALONE\n84-121123-0000 TWICE\n\n")
        transcripts.write("84-121123-0004 EMPTY FILE\n84-121123-0005 NO AUDIO\n84-121123-0006 \n")
        transcripts.write("84-121123-0007 NO SAMPLES\n")
    (corpus / "dev-clean" / "84" / "9").mkdir()
    (corpus / "dev-clean" / "84" / "9" / "84-9.trans.txt").write_bytes(b"84-9-0000 \xff\n")

    split = corpus / "dev-clean"
    kinds: dict[str, list[str]] = {}
    for kind, name in sorted(problems_of(split, tmp_path / "out")):
        kinds.setdefault(kind, []).append(name)
    assert {kind: len(names) for kind, names in kinds.items()} == {
        "audio without text": 1,
        "duplicate id": 2,
        "empty text": 1,
        "text without audio": 1,
        "unreadable audio": 3,
        "unreadable transcript": 1,
    }
    assert kinds["text without audio"] == ["84-121123-0003"]
    manifest = tmp_path / "out" / "dev-clean.jsonl"
    assert [utterance.id for utterance in read_manifest(manifest)] == ["84-121123-0000", "84-121123-0001"]
    assert read_manifest(manifest)[1].audio_filepath.endswith(".flac"), "of two formats the lossless one"

    arguments = ("librispeech", split, "--output", tmp_path / "out")
    lenient, strict = run(*arguments), run(*arguments, "--strict")
    assert (lenient.exit_code, strict.exit_code) == (0, 1)
    assert "dev-clean: audio without text (1): 84-121123-0002\n" in lenient.stderr
    assert len((tmp_path / "out" / "dev-clean.problems.txt").read_text().splitlines()) == 9
    assert lenient.stdout == strict.stdout and lenient.stderr == strict.stderr


def test_audio_without_a_length_in_its_header_is_measured(corpus, tmp_path):
    audio = corpus / "dev-clean" / "84" / "121123" / "84-121123-0000.flac"
    content = bytearray(audio.read_bytes())
    content[21] &= 0xF0  # STREAMINFO's total samples: 36 bits, 0 where the encoder wrote to a pipe
    content[22:26] = bytes(4)
    (before,) = prepare_librispeech(corpus / "dev-clean", tmp_path / "before")
    audio.write_bytes(content)
    (after,) = prepare_librispeech(corpus / "dev-clean", tmp_path / "after")
    assert not after.problems
    durations = [
        [utterance.duration for utterance in read_manifest(prepared.manifest)] for prepared in (before, after)
    ]
    assert durations[0] == durations[1]


def test_only_the_first_names_of_many_problems_are_shown(corpus, tmp_path, run):
    with (corpus / "dev-clean" / "84" / "121123" / "84-121123.trans.txt").open("a") as transcripts:
        transcripts.writelines(f"84-121123-1{number:03} GONE\n" for number in range(50))
    result = run("librispeech", corpus, "--output", tmp_path / "out")
    assert "text without audio (50): 84-121123-1000; 84-121123-1001" in result.stderr
    assert "84-121123-1005" not in result.stderr and "; and 45 more" in result.stderr
    assert len((tmp_path / "out" / "dev-clean.problems.txt").read_text().splitlines()) == 50


def test_a_mended_corpus_leaves_no_list_of_problems(corpus, tmp_path):
    audio = corpus / "dev-clean" / "84" / "121123" / "84-121123-0000.flac"
    kept = audio.read_bytes()
    audio.unlink()
    assert problems_of(corpus / "dev-clean", tmp_path / "out")
    audio.write_bytes(kept)
    assert not problems_of(corpus / "dev-clean", tmp_path / "out")
    assert not (tmp_path / "out" / "dev-clean.problems.txt").exists()


def test_links_to_folders_and_files_are_followed_and_broken_ones_named(corpus, tmp_path):
    linked = tmp_path / "linked" / "dev-clean"
    linked.mkdir(parents=True)
    (linked / "84").symlink_to(corpus / "dev-clean" / "84")
    chapter = linked / "1" / "2"
    chapter.mkdir(parents=True)
    (chapter / "1-2-0000.flac").symlink_to(tmp_path / "nowhere.flac")
    (chapter / "1-2.trans.txt").write_text("1-2-0000 GONE\n")
    ((kind, name),) = problems_of(linked, tmp_path / "out")
    assert kind == "unreadable audio" and "1-2-0000.flac" in name


def empty_folder(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def only_text(root: Path) -> None:
    for path in root.rglob("*.*"):
        if not path.name.endswith(".txt"):
            path.unlink()


def file_instead(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (file_instead, "is a file"),
        (empty_folder, "holds no LibriSpeech split"),
    ],
)
def test_a_corpus_that_is_none_is_one_clear_line(corpus, tmp_path, run, damage, message):
    damage(corpus)
    result = run("librispeech", corpus, "--output", tmp_path / "out")
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert not list(tmp_path.glob("out/*"))


def test_every_split_without_audio_is_one_clear_line(corpus, tmp_path, run):
    only_text(corpus)
    result = run("librispeech", corpus, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "no utterance has both audio and text (text without audio: 84-121123-0000)" in result.stderr
    assert len(result.stderr.splitlines()) == 3
    assert result.stderr.endswith("2 of 2 failed\n")
    assert not list(tmp_path.glob("out/*"))


def test_an_output_that_is_a_file_is_one_clear_line(corpus, tmp_path, run):
    (tmp_path / "file").write_text("mine")
    result = run("librispeech", corpus, "--output", tmp_path / "file")
    assert isinstance(result.exception, UserError) and "is a file" in str(result.exception)
    assert (tmp_path / "file").read_text() == "mine"


def test_manifests_never_go_into_the_corpus(corpus, run, monkeypatch):
    monkeypatch.chdir(corpus)
    for arguments in ([corpus], [".", "--output", "manifests"], [".", "--download", "dev-clean"]):
        result = run("librispeech", *arguments)
        assert isinstance(result.exception, UserError) and "--output" in str(result.exception)
    assert {path.name for path in corpus.iterdir()} == {"dev-clean", "train-clean-5"}


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="needs ASR_CORPORA")
def test_a_real_split_has_no_problems(tmp_path, monkeypatch):
    root = Path(os.environ["ASR_CORPORA"], "LibriSpeech", "dev-clean")
    (prepared,) = prepare_librispeech(root, tmp_path)
    assert prepared.problems == ()
    assert prepared.utterances == sum(is_audio(path.name) for path in root.rglob("*"))

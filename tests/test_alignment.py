"""Forced alignment: the path itself, spelling and pronunciations, and the command."""

import itertools
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from asr import alignment
from asr.aligner import Aligner, Speller, align_words, recording_emissions
from asr.alignment import align, word_times
from asr.errors import UserError
from asr.manifest import Utterance, read_manifest
from asr.model import HeadConfig
from asr.tokenizer import WORD_END_PHONES, CharacterTokenizer, PhoneTokenizer, UnknownSymbol


def emissions(frames: int, vocabulary: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, vocabulary, generator=generator).mul(3).log_softmax(-1)


def labels(result: alignment.Alignment) -> list[int]:
    """The token of every frame, 0 for a blank."""
    return [int(result.tokens[at]) if at >= 0 else 0 for at in result.path]


@pytest.mark.parametrize("block", [1, 2, 7, 64, 1024])
def test_path_equals_torchaudio(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(alignment, "BLOCK", block)
    draw = np.random.default_rng(block)
    for seed in range(25):
        frames, vocabulary = int(draw.integers(1, 120)), int(draw.choice([3, 5, 29]))
        tokens = draw.integers(1, vocabulary, int(draw.integers(1, frames // 2 + 2))).tolist()
        if len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens)) > frames:
            continue
        scores = emissions(frames, vocabulary, seed)
        targets = torch.tensor([tokens], dtype=torch.int32)
        path, chosen = torchaudio.functional.forced_align(scores[None], targets)
        ours = align(scores, tokens)
        assert labels(ours) == path[0].tolist()
        assert ours.score == pytest.approx(float(chosen.sum()), abs=1e-3)
        spans = torchaudio.functional.merge_tokens(path[0], chosen[0])
        assert [(span.start, span.end) for span in spans] == list(
            zip(ours.starts.tolist(), ours.ends.tolist(), strict=True)
        )
        np.testing.assert_allclose([span.score for span in spans], ours.scores, atol=1e-4)


def test_no_path_of_a_tiny_trellis_is_likelier() -> None:
    for seed, tokens in enumerate([[1], [1, 1], [1, 2], [2, 1, 2], [2, 2, 1]]):
        scores = emissions(6, 3, seed).numpy()
        best = max(
            sum(scores[time, token] for time, token in enumerate(path))
            for path in itertools.product(range(3), repeat=6)
            if [token for token, _ in itertools.groupby(path) if token] == tokens
        )
        assert align(scores, tokens).score == pytest.approx(best, abs=1e-4)


def test_text_of_exactly_the_recordings_length_fits_and_one_token_more_does_not() -> None:
    scores = emissions(4, 5, 0)
    assert labels(align(scores, [1, 2, 3, 4])) == [1, 2, 3, 4]
    with pytest.raises(UserError, match="5 tokens need at least 5 frames, the recording has 4"):
        align(scores, [1, 2, 3, 4, 1])


def test_equal_neighbours_need_a_blank_between_them() -> None:
    assert labels(align(emissions(3, 3, 1), [1, 1])) == [1, 0, 1]
    with pytest.raises(UserError, match="need at least 3 frames"):
        align(emissions(2, 3, 1), [1, 1])


def test_no_tokens_are_all_blank() -> None:
    result = align(emissions(7, 3, 2), [])
    assert labels(result) == [0] * 7
    assert len(result.starts) == 0


@pytest.mark.parametrize(("value", "message"), [(math.nan, "NaN"), (-math.inf, "no probability")])
def test_broken_emissions_are_refused(value: float, message: str) -> None:
    scores = emissions(6, 3, 3)
    scores[:, 2] = value
    with pytest.raises(UserError, match=message):
        align(scores, [1, 2])


def test_words_last_from_their_first_token_to_their_last_and_end_with_the_recording() -> None:
    scores = torch.full((6, 4), -20.0)
    for frame, token in enumerate([0, 1, 2, 3, 1, 1]):
        scores[frame, token] = 0.0
    result = align(scores, [1, 2, 3, 1])
    words = word_times(result, ["AB", "A"], [(0, 2), (3, 4)], 0.04, duration=0.23)
    assert [(word.text, word.start, word.end) for word in words] == [("AB", 0.04, 0.12), ("A", 0.16, 0.23)]
    assert words[0].confidence == pytest.approx(1.0)


class TestSpeller:
    def test_ordinary_spelling_becomes_letters_with_separators(self) -> None:
        speller = Speller(CharacterTokenizer())
        words = ["“Don’t,", "well-known", "Zoë!"]
        spelling = speller.join([speller.variants(word)[0] for word in words])
        text = "".join(speller.tokenizer.tokens[token] for token in spelling.tokens)
        assert text == "DON'T|WELL|KNOWN|ZOE"
        assert [text[begin:end] for begin, end in spelling.spans] == ["DON'T", "WELL|KNOWN", "ZOE"]

    def test_bare_punctuation_is_not_said(self) -> None:
        assert Speller(CharacterTokenizer()).variants("—") == []

    @pytest.mark.parametrize("word", ["1865", "мир"])
    def test_what_cannot_be_spelled_is_named(self, word: str) -> None:
        with pytest.raises(UnknownSymbol, match=f"'{word}'.*write it out"):
            Speller(CharacterTokenizer()).variants(word)

    def test_letters_of_the_models_own_are_kept(self) -> None:
        tokenizer = CharacterTokenizer(["<blank>", "|", "м", "и", "р"])
        assert Speller(tokenizer).variants("мир") == [[2, 3, 4]]

    def test_all_pronunciations_of_a_word_and_the_first_of_its_parts(self) -> None:
        ways = {"THE": [("DH", "AH"), ("DH", "IY")], "END": [("EH", "N", "D")]}
        speller = Speller(PhoneTokenizer(), ways)
        assert len(speller.variants("the")) == 2
        assert len(speller.variants("The-end")) == 1

    def test_the_last_phone_of_every_word_is_the_one_that_ends_words(self) -> None:
        tokenizer = PhoneTokenizer(WORD_END_PHONES)
        (way,) = Speller(tokenizer, {"THE": [("DH", "AH")], "END": [("EH", "N", "D")]}).variants("The-end")
        assert [tokenizer.tokens[token] for token in way] == ["DH", "AH#", "EH", "N", "D#"]

    def test_an_unknown_phone_is_named(self) -> None:
        with pytest.raises(UnknownSymbol, match="'XX', a phone of 'the'"):
            Speller(PhoneTokenizer(), {"THE": [("XX",)]}).variants("the")


def test_only_phones_lose_the_mark_of_a_words_end(make_model: Callable) -> None:
    for tokenizer, text, names in (
        (CharacterTokenizer(["<blank>", "|", "A", "#"]), "A#", [["A", "#"]]),
        (PhoneTokenizer(["<blank>", "T", "AE", "T#"]), "at", [["AE", "T"]]),
    ):
        model = make_model(heads={"tokens": HeadConfig()})
        model.heads["tokens"].output = torch.nn.Linear(
            model.heads["tokens"].output.in_features, len(tokenizer.tokens)
        )
        model.tokenizers["tokens"] = tokenizer
        aligned = Aligner(model, pronunciations={"AT": [("AE", "T")]}).align(torch.randn(16000), text)
        assert [[token.text for token in word] for word in aligned.tokens] == names


def test_the_pronunciation_that_was_said_is_chosen() -> None:
    tokenizer = PhoneTokenizer()
    speller = Speller(tokenizer, {"THE": [("DH", "AH"), ("DH", "IY")], "END": [("EH", "N", "D")]})
    said = [tokenizer.tokens.index(phone) for phone in ("DH", "IY", "EH", "N", "D", "DH", "AH")]
    scores = torch.full((14, len(tokenizer.tokens)), -9.0)
    scores[range(14), [token for phone in said for token in (phone, 0)]] = 0.0
    variants = [speller.variants(word) for word in ("the", "end", "the")]
    result, spelling = align_words(scores.numpy(), variants, speller)
    assert spelling.tokens == said
    assert result.score == pytest.approx(0.0)


def test_the_utterance_does_not_depend_on_how_it_comes(make_model: Callable) -> None:
    model = make_model()
    waveform = torch.randn(50_000, generator=torch.Generator().manual_seed(1)) * 0.1
    whole, seconds = recording_emissions(model, waveform, "characters")
    pieces, _ = recording_emissions(model, waveform.split(7_000), "characters")
    np.testing.assert_array_equal(whole, pieces)
    assert seconds == pytest.approx(50_000 / 16_000)


def test_long_recordings_are_heard_in_windows_and_aligned_as_one(make_model: Callable) -> None:
    aligner = Aligner(make_model())
    waveform = torch.randn(16_000 * 95, generator=torch.Generator().manual_seed(2)) * 0.1
    heard: list[float] = []
    result = aligner.align(waveform, "one two\n\nthree " * 20, advance=heard.append)
    assert len(heard) > 2
    assert sum(heard) == pytest.approx(95.0)
    words = result.transcript.words
    assert len(words) == 60
    assert all(before.end <= after.start for before, after in itertools.pairwise(words))
    assert len(result.transcript.segments) == 21
    assert result.transcript.segments[1].text == "three one two"


def test_a_manifest_comes_back_in_order_with_failures_named(make_model: Callable, clips: Path) -> None:
    utterances = read_manifest(clips)[:3]
    broken = Utterance("broken", "missing.flac", 1.0, text="A")
    silent = Utterance("silent", utterances[0].audio_filepath, 1.0)
    results = list(Aligner(make_model()).align_all([utterances[0], broken, silent, utterances[1]], 2))
    assert [str(result).split(":")[0] for result in results if isinstance(result, UserError)] == [
        "broken",
        "silent",
    ]
    assert [result.id for result in results if not isinstance(result, UserError)] == [
        utterances[0].id,
        utterances[1].id,
    ]


class TestCommand:
    def test_json_has_words_and_tokens_with_times_and_scores(
        self, run_asr: Callable, model_directory: Path, examples: Path
    ) -> None:
        audio = examples.parent / "river.flac"
        ran = run_asr("align", model_directory, audio, "--text", "It was – a day.")
        assert ran.status == 0
        line = json.loads(ran.stdout)
        assert [word["text"] for word in line["words"]] == ["It", "was", "a", "day."]
        assert line["text"] == "It was – a day."
        assert [token["text"] for token in line["words"][3]["tokens"]] == ["D", "A", "Y"]
        for word in line["words"]:
            assert word["start"] == word["tokens"][0]["start"] < word["end"] <= line["duration"]
            assert 0 <= word["score"] <= 1

    def test_every_format_of_a_manifest(
        self, run_asr: Callable, model_directory: Path, clips: Path, tmp_path: Path
    ) -> None:
        ctm = run_asr("align", model_directory, clips, "--format", "ctm").stdout
        words = sum(len(utterance.text.split()) for utterance in read_manifest(clips))
        assert len(ctm.splitlines()) == words
        for name, extension in (("textgrid", "TextGrid"), ("srt", "srt")):
            ran = run_asr("align", model_directory, clips, "-f", name, "-o", tmp_path)
            assert ran.status == 0
            assert len(list(tmp_path.glob(f"*.{extension}"))) == 8
        grid = next(tmp_path.glob("*.TextGrid")).read_text()
        assert [f'name = "{tier}"' in grid for tier in ("segments", "words", "characters")] == [True] * 3

    def test_a_long_recording_becomes_a_manifest_to_train_on(
        self, run_asr: Callable, examples: Path, tmp_path: Path
    ) -> None:
        said = [json.loads(line) for line in examples.read_text().splitlines()][:3]
        clips = [soundfile.read(examples.parent / each["audio_filepath"], dtype="int16") for each in said]
        rate, silence = clips[0][1], np.zeros(clips[0][1], np.int16)
        chapter, text, manifest = tmp_path / "chapter.wav", tmp_path / "chapter.txt", tmp_path / "out.jsonl"
        soundfile.write(
            chapter, np.concatenate([part for clip, _ in clips for part in (clip, silence)]), rate
        )
        text.write_text("\n".join(each["text"].lower() for each in said))
        ran = run_asr(
            *("align", "en", chapter, "--text-file", text, "--manifest-out", manifest, "--pause", 0.7)
        )
        assert ran.status == 0
        pieces = read_manifest(manifest)
        assert [piece.text for piece in pieces] == [each["text"] for each in said]
        assert min(piece.confidence for piece in pieces) > 0.5
        words = [piece.extra["phones"].split(" | ") for piece in pieces]
        assert [len(said) for said in words] == [len((piece.text or "").split()) for piece in pieces]
        phones = [len(" ".join(said).split()) for said in words]
        letters = [len(piece.text or "") for piece in pieces]
        assert all(0.4 < said / written < 1 for said, written in zip(phones, letters, strict=True))
        starts = np.cumsum([0] + [len(clip) + len(silence) for clip, _ in clips]) / rate
        for piece, start, clip in zip(pieces, starts, clips, strict=False):
            assert start - 0.5 < piece.offset < start + 0.6
            assert abs(piece.offset + piece.duration - start - len(clip[0]) / rate) < 0.6
        assert f"{manifest}: 3 utterances" in ran.stderr
        assert run_asr("evaluate", "en", manifest).status == 0

    def test_pieces_of_a_manifest_lie_where_its_utterances_do_and_failures_are_left_out(
        self, run_asr: Callable, examples: Path, tmp_path: Path
    ) -> None:
        said = json.loads(examples.read_text().splitlines()[0])
        clip, rate = soundfile.read(examples.parent / said["audio_filepath"], dtype="int16")
        soundfile.write(tmp_path / "two.wav", np.concatenate([clip, clip]), rate)
        seconds = len(clip) / rate
        lines = [
            {"id": "first", "offset": 0.0, "text": said["text"]},
            {"id": "second", "offset": seconds, "text": said["text"]},
            {"id": "digits", "offset": 0.0, "text": "in 1865"},
        ]
        source, target = tmp_path / "two.jsonl", tmp_path / "deeper" / "pieces.jsonl"
        place = {"audio_filepath": "two.wav", "duration": seconds}
        source.write_text("".join(json.dumps(place | line) + "\n" for line in lines))
        ran = run_asr("align", "en", source, "--manifest-out", target, "--pause", 9)
        assert ran.status == 1
        pieces = read_manifest(target)
        assert [piece.id for piece in pieces] == ["first-0000", "second-0000"]
        assert [piece.text for piece in pieces] == [said["text"]] * 2
        assert pieces[1].offset - pieces[0].offset == pytest.approx(seconds, abs=0.1)
        assert Path(pieces[0].audio_filepath).resolve() == (tmp_path / "two.wav").resolve()

    def test_a_manifest_without_pieces_is_not_written(
        self, run_asr: Callable, model_directory: Path, examples: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "out.jsonl"
        manifest.write_text("of before")
        arguments = ("--text", "a boat", "--manifest-out", manifest, "--longest", "0.1", "--shortest", "0")
        ran = run_asr("align", model_directory, examples.parent / "boat.flac", *arguments)
        assert ran.status == 1
        assert "no piece was fit to train on" in ran.stderr
        assert manifest.read_text() == "of before"

    def test_where_nothing_could_be_aligned_nothing_is_written(
        self, run_asr: Callable, model_directory: Path, examples: Path, tmp_path: Path
    ) -> None:
        output, manifest = tmp_path / "out.json", tmp_path / "out.jsonl"
        for path in (output, manifest):
            path.write_text("of before")
        arguments = ("--text", "in 1865", "-o", output, "--manifest-out", manifest)
        ran = run_asr("align", model_directory, examples.parent / "boat.flac", *arguments)
        assert ran.status == 1
        assert "'1865' cannot be spelled" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert output.read_text() == manifest.read_text() == "of before"

    def test_no_utterances_make_no_file(
        self, run_asr: Callable, model_directory: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "none.jsonl").touch()
        ran = run_asr("align", model_directory, tmp_path / "none.jsonl", "-o", tmp_path / "out.json")
        assert (ran.status, ran.stderr) == (
            1,
            f"asr: {tmp_path}/none.jsonl: no utterances in this manifest\n",
        )
        assert not (tmp_path / "out.json").exists()

    def test_texts_whose_files_would_have_one_name_are_refused_before_the_work(
        self, run_asr: Callable, model_directory: Path, examples: Path, tmp_path: Path
    ) -> None:
        manifest = tmp_path / "two.jsonl"
        audio = str(examples.parent / "boat.flac")
        lines = [
            {"id": name, "audio_filepath": audio, "duration": 1.0, "text": "A"} for name in ("a/b", "a_b")
        ]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        ran = run_asr("align", model_directory, manifest, "-f", "tsv", "-o", tmp_path / "out")
        assert ran.status == 1
        assert "2 texts would be called a_b" in ran.stderr
        assert not (tmp_path / "out").exists()
        ran = run_asr("align", model_directory, manifest, "-f", "ctm")
        assert ran.status == 0, ran.stderr
        manifest.write_text(manifest.read_text().replace("a/b", "a b"))
        ran = run_asr("align", model_directory, manifest, "-f", "ctm")
        assert ran.stderr == "asr: 2 texts would be called a_b: give them other ids\n"

    def test_a_folder_is_not_called_like_a_file(
        self, run_asr: Callable, model_directory: Path, clips: Path, tmp_path: Path
    ) -> None:
        ran = run_asr("align", model_directory, clips, "-f", "srt", "-o", tmp_path / "one.srt")
        assert ran.stderr == "asr: --format srt: of several texts goes into files: give -o FOLDER\n"
        assert not (tmp_path / "one.srt").exists()

    def test_a_pipe_is_refused_in_a_line(
        self, run_asr: Callable, model_directory: Path, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe.wav")
        ran = run_asr("align", model_directory, tmp_path / "pipe.wav", "--text", "A")
        assert ran.status == 1
        assert "pipe.wav: is a pipe" in ran.stderr

    def test_a_byte_order_mark_is_no_part_of_the_text(
        self, run_asr: Callable, model_directory: Path, examples: Path, tmp_path: Path
    ) -> None:
        text = tmp_path / "text.txt"
        text.write_text("A boat\n", encoding="utf-8-sig")
        audio = examples.parent / "boat.flac"
        ran = run_asr("align", model_directory, audio, "--text-file", text, "-f", "tsv")
        assert ran.stdout.splitlines()[1].split("\t")[2] == "A boat"

    def test_subtitles_keep_what_nobody_says(
        self, run_asr: Callable, model_directory: Path, examples: Path
    ) -> None:
        audio = examples.parent / "boat.flac"
        ran = run_asr("align", model_directory, audio, "--text", "— A — boat, no …", "-f", "srt")
        assert ran.stdout.splitlines()[2] == "— A — boat, no …"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["{clips}", "-f", "srt"], "several texts goes into files: give -o FOLDER"),
            (["{clips}", "--text", "A"], "a manifest has its own texts"),
            (["{clips}", "-f", "doc"], "'doc' is not one of json"),
            (["{clips}", "--head", "bass"], "'bass' is not one of characters"),
            (["{audio}"], "say what it says with --text or --text-file"),
            (["{audio}", "--text", "—"], "the text has no words"),
            (["{audio}", "--text", "A " * 500], "does not fit the recording"),
            (["{audio}", "--text", "in 1865"], "'1865' cannot be spelled"),
            (["{audio}", "--text-file", "none.txt"], "none.txt: cannot be read"),
            (["{audio}", "--text", "A", "--lexicon", "none.txt"], "--lexicon: is for heads of phones"),
            (
                ["{clips}", "--shortest", "9", "--longest", "8", "--manifest-out", "{folder}/m.jsonl"],
                "--shortest 9: is more than --longest 8",
            ),
            (["{clips}", "--shortest", "1"], "--shortest: goes with --manifest-out"),
            (["{clips}", "-o", "{folder}"], "{folder}: cannot be written (is a directory)"),
            (["{clips}", "--manifest-out", "{folder}"], "{folder}: cannot be written (is a directory)"),
            (["{clips}", "--manifest-out", "{clips}"], "is read or written already"),
            (["{clips}", "-o", "{folder}/x", "--manifest-out", "{folder}/x"], "is read or written already"),
            (["none.flac", "--text", "A"], "none.flac: no such file"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        run_asr: Callable,
        model_directory: Path,
        clips: Path,
        examples: Path,
        tmp_path: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        places = {"clips": clips, "audio": examples.parent / "boat.flac", "folder": tmp_path}
        ran = run_asr("align", model_directory, *(part.format(**places) for part in arguments))
        assert ran.status == 1
        assert message.format(**places) in ran.stderr.replace("Is a", "is a")
        assert len(ran.stderr.splitlines()) == 1

    def test_lines_of_a_text_file_are_segments(
        self, run_asr: Callable, model_directory: Path, examples: Path, tmp_path: Path
    ) -> None:
        text = tmp_path / "text.txt"
        text.write_text("It was bright,\n\nand cold.\n")
        audio = examples.parent / "river.flac"
        ran = run_asr("align", model_directory, audio, "--text-file", text, "-f", "tsv")
        assert [line.split("\t")[2] for line in ran.stdout.splitlines()[1:]] == [
            "It was bright,",
            "and cold.",
        ]


def test_a_name_that_is_not_utf8_is_escaped_in_json(
    model_directory: Path, examples: Path, tmp_path: Path, run_asr: Callable
) -> None:
    odd = tmp_path / os.fsdecode(b"na\xefve.flac")
    shutil.copy(examples.parent / "boat.flac", odd)
    done = run_asr("align", model_directory, odd, "--text", "A B", "-o", tmp_path / "out.json")
    assert done.status == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["id"].endswith("na\\xefve")
    manifest = tmp_path / "pieces.jsonl"
    refused = run_asr("align", model_directory, odd, "--text", "A B", "--manifest-out", manifest)
    assert refused.status == 1
    assert "na\\xefve.flac: a manifest holds UTF-8 names only" in refused.stderr
    assert not manifest.exists()

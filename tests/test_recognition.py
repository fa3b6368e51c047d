"""Hypotheses of a manifest: in its order, whatever the batches and threads, and what failed is named."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr.batching import with_durations
from asr.manifest import Utterance, read_manifest
from asr.model import Model
from asr.pipeline import workers
from asr.recognition import decode_utterances


def emissions_of_each(emissions: Tensor, lengths: Tensor) -> list[Tensor]:
    return [row[:length] for row, length in zip(emissions, lengths, strict=True)]


@pytest.mark.parametrize(("seconds", "threads"), [(1.0, 1), (3.0, 2), (100.0, 1), (3.0, 5)])
def test_results_come_in_order_and_do_not_depend_on_batches_or_threads(
    make_model: Callable[..., Model], clips: Path, seconds: float, threads: int
) -> None:
    model, utterances = make_model(), read_manifest(clips)
    expected = [
        decode_utterances(model, emissions_of_each, [each], "characters").results[0] for each in utterances
    ]
    heard: list[float] = []
    found = decode_utterances(
        model, emissions_of_each, utterances, "characters", seconds, threads, advance=heard.append
    )
    assert not found.failures
    assert sum(heard) == pytest.approx(sum(each.duration for each in utterances))
    for result, alone in zip(found.results, expected, strict=True):
        torch.testing.assert_close(result, alone, atol=1e-5, rtol=0)


def test_a_failure_names_its_file_and_leaves_the_others(
    make_model: Callable[..., Model], clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    bad = [Utterance("gone", "gone.flac", 1.0), Utterance("text", str(tmp_path / "text.wav"), 1.0)]
    utterances = [bad[0], *read_manifest(clips), bad[1]]
    found = decode_utterances(make_model(), emissions_of_each, utterances, "characters")
    assert found.results[0] is None
    assert found.results[-1] is None
    assert all(result is not None for result in found.results[1:-1])
    assert sorted("gone.flac" in line for line in found.failures) == [False, True]
    assert sorted("text.wav" in line for line in found.failures) == [False, True]


def test_an_exception_in_a_thread_comes_through_and_the_rest_is_not_done(
    make_model: Callable[..., Model], clips: Path
) -> None:
    calls: list[int] = []

    def decode(emissions: Tensor, lengths: Tensor) -> list[int]:
        calls.append(len(lengths))
        raise KeyboardInterrupt if len(calls) > 1 else ZeroDivisionError

    threads = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        decode_utterances(make_model(), decode, read_manifest(clips) * 20, "characters", batch_seconds=1.0)
    assert len(calls) < 80  # of 160 batches
    assert torch.get_num_threads() == threads


def test_an_utterance_of_unknown_duration_is_read_whole(
    make_model: Callable[..., Model], examples: Path
) -> None:
    (first, *_) = read_manifest(examples)
    unknown = Utterance("x", first.audio_filepath, 0.0)
    known, found = (
        decode_utterances(make_model(), emissions_of_each, [each], "characters").results[0]
        for each in (first, unknown)
    )
    torch.testing.assert_close(found, known, atol=1e-5, rtol=0)


def test_decode_writes_a_line_an_utterance_in_the_manifests_order(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    done = run_asr("decode", model_directory, clips, "-o", tmp_path / "hyps.jsonl", "--batch-seconds", "3")
    assert (done.status, done.stdout) == (0, "")
    lines = [json.loads(line) for line in (tmp_path / "hyps.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [each.id for each in read_manifest(clips)]
    assert all(isinstance(line["text"], str) for line in lines)
    assert run_asr("decode", model_directory, clips).stdout == (tmp_path / "hyps.jsonl").read_text()


def test_evaluate_is_decode_and_score(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    evaluated = run_asr("evaluate", model_directory, clips, "--json", "-o", tmp_path / "hyps.jsonl")
    assert evaluated.status == 0
    found = json.loads(evaluated.stdout)
    scored = json.loads(run_asr("score", clips, tmp_path / "hyps.jsonl", "--json").stdout)
    keys = ("wer", "cer", "sentence_error_rate", "words", "substitutions", "deletions", "insertions")
    assert {key: found[key] for key in (*keys, "utterances")} == {
        key: scored[key] for key in (*keys, "utterances")
    }


@pytest.mark.parametrize("command", ["decode", "evaluate"])
def test_where_nothing_could_be_read_nothing_is_written_or_counted(
    run_asr: Any, model_directory: Path, tmp_path: Path, command: str
) -> None:
    manifest, output = tmp_path / "m.jsonl", tmp_path / "hyps.jsonl"
    manifest.write_text('{"audio_filepath": "missing.wav", "duration": 1.0, "text": "A"}\n')
    output.write_text("of before")
    done = run_asr(command, model_directory, manifest, "-o", output)
    assert (done.status, done.stdout) == (1, "")
    assert "missing.wav: no such file" in done.stderr
    assert output.read_text() == "of before"


@pytest.mark.parametrize("command", [("decode", "-o"), ("decode", "--manifest-out"), ("evaluate", "-o")])
def test_a_place_that_cannot_be_written_is_told_before_any_audio_is_read(
    run_asr: Any, model_directory: Path, tmp_path: Path, command: tuple[str, str]
) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"audio_filepath": "missing.wav", "duration": 1.0, "text": "A"}\n')
    done = run_asr(command[0], model_directory, manifest, command[1], tmp_path)
    assert done.status == 1
    assert done.stderr == f"asr: {tmp_path}: cannot be written (Is a directory)\n"


def test_a_mistake_leaves_no_folder_behind(run_asr: Any, clips: Path, tmp_path: Path) -> None:
    for command in (("decode", "no-model", clips, "-o"), ("transcribe", "-m", "no-model", clips, "-o")):
        assert run_asr(*command, tmp_path / "new" / "deeper").status == 1
        assert not (tmp_path / "new").exists()


def test_a_new_text_keeps_no_phones_of_the_old_one(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    line = json.loads(clips.read_text().splitlines()[0]) | {"phones": "OW L D", "page": 3}
    line["audio_filepath"] = str((clips.parent / line["audio_filepath"]).resolve())
    (tmp_path / "m.jsonl").write_text(json.dumps(line) + "\n")
    out = tmp_path / "labelled.jsonl"
    done = run_asr("decode", model_directory, tmp_path / "m.jsonl", "-o", "/dev/null", "--manifest-out", out)
    assert done.status == 0, done.stderr
    (utterance,) = read_manifest(out)
    assert utterance.extra["page"] == 3
    assert "phones" not in utterance.extra


def test_a_manifest_labelled_by_a_model_can_be_trained_on(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labelled" / "m.jsonl"
    done = run_asr("decode", model_directory, clips, "-o", "/dev/null", "--manifest-out", out)
    assert done.status == 0, done.stderr
    for labelled, original in zip(read_manifest(out), read_manifest(clips), strict=True):
        assert Path(labelled.audio_filepath).resolve() == Path(original.audio_filepath).resolve()
        assert (labelled.id, labelled.offset, labelled.duration) == (
            original.id,
            original.offset,
            original.duration,
        )
        assert 0 <= labelled.confidence <= 1


def test_each_thread_computes_on_one_core(make_model: Callable[..., Model], clips: Path) -> None:
    before, seen = torch.get_num_threads(), []

    def decode(emissions: Tensor, lengths: Tensor) -> list[int]:
        seen.append(torch.get_num_threads())
        return [0] * len(lengths)

    torch.set_num_threads(3)
    try:
        decode_utterances(make_model(), decode, read_manifest(clips), "characters", threads=1)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("first_ends_first", [False, True])
def test_pools_that_overlap_leave_torch_its_cores(first_ends_first: bool) -> None:
    before, pools = torch.get_num_threads(), [ExitStack(), ExitStack()]
    torch.set_num_threads(3)
    try:
        for pool in pools:
            pool.enter_context(workers(1))
        for pool in pools if first_ends_first else reversed(pools):
            pool.close()
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as elsewhere:
            assert elsewhere.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_unknown_durations_do_not_make_one_batch_of_all(
    examples: Path,
) -> None:
    known = read_manifest(examples)
    unknown = [replace(utterance, duration=0.0) for utterance in known]
    assert [each.duration for each in with_durations(unknown)] == pytest.approx(
        [each.duration for each in known], abs=0.01
    )
    gone = Utterance("gone", "gone.flac", 0.0)
    assert with_durations([gone]) == [gone]


def test_a_recording_that_is_cut_off_is_told_and_decoded_up_to_there(
    run_asr: Callable[..., Any], model_directory: Path, examples: Path, tmp_path: Path
) -> None:
    import soundfile

    samples, rate = soundfile.read(examples.parent / "boat.flac")
    soundfile.write(tmp_path / "cut.wav", samples, rate)
    whole = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    line = {"audio_filepath": "cut.wav", "duration": len(samples) / rate, "text": "A"}
    (tmp_path / "cut.jsonl").write_text(json.dumps(line))
    seconds = len(samples) / rate
    for command in ("decode", "evaluate"):
        ran = run_asr(command, model_directory, tmp_path / "cut.jsonl", "--decoder", "greedy")
        assert ran.status == 0
        assert f"cut.wav: cut off after {seconds / 2:.1f} s of {seconds:.1f} s" in ran.stderr
    # A part of it: the times are those of the file, and what arrives whole is not spoken of.
    for part, told in (({"offset": 1.0, "duration": seconds}, True), ({"duration": 1.0}, False)):
        (tmp_path / "cut.jsonl").write_text(json.dumps(line | part))
        ran = run_asr("decode", model_directory, tmp_path / "cut.jsonl", "--decoder", "greedy")
        assert (f"cut off after {seconds / 2:.1f} s of {seconds:.1f} s" in ran.stderr) == told


def test_ids_of_bytes_that_are_no_utf_8_are_written_escaped(
    run_asr: Callable[..., Any], model_directory: Path, examples: Path, tmp_path: Path
) -> None:
    line = {"id": "x\udcff", "audio_filepath": str(examples.parent / "boat.flac"), "duration": 1.0}
    (tmp_path / "odd.jsonl").write_text(json.dumps(line))
    ran = run_asr("decode", model_directory, tmp_path / "odd.jsonl", "-o", tmp_path / "out.jsonl")
    assert ran.status == 0, ran.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "x\\xff"


def test_a_manifest_without_texts_is_refused_before_the_work(
    run_asr: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "none.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 1.0}\n')
    ran = run_asr("evaluate", tmp_path / "no_model", tmp_path / "none.jsonl")
    assert ran.stderr == f"asr: {tmp_path}/none.jsonl: no utterance has a text to compare with\n"


def test_what_could_not_be_read_stands_beside_the_error_rate(
    run_asr: Callable[..., Any], model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.jsonl"
    clip = json.loads(clips.read_text().splitlines()[0])
    clip["audio_filepath"] = str(clips.parent / clip["audio_filepath"])
    lost = {"id": "lost", "audio_filepath": "missing.wav", "duration": 1.0, "text": "A B"}
    manifest.write_text(json.dumps(clip) + "\n" + json.dumps(lost) + "\n")
    done = run_asr("evaluate", model_directory, manifest, "--json")
    assert done.status == 1
    assert json.loads(done.stdout)["missing"] == ["lost"]

"""Utterances that are searched phrase by phrase."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from asr.decoding.phrases import FEWEST_TOKENS, PAUSE, PhraseDecoder, cut_at_pauses
from asr.transcript import Hypothesis, Word

Run = Callable[..., Any]
SHIFT = 0.25  # seconds
SAID = [1, 2] * (FEWEST_TOKENS // 2)  # the shortest phrase
SHORT = len(SAID)


def emissions_of(tokens: list[int]) -> Tensor:
    """Log-probabilities whose likeliest tokens these are."""
    scores = torch.full((len(tokens), 4), -5.0)
    scores[torch.arange(len(tokens)), torch.tensor(tokens, dtype=torch.int64)] = -0.1
    return scores


def begins(tokens: list[int], pause: float = 0.5, pause_tokens: tuple[int, ...] = (0,)) -> list[int]:
    return cut_at_pauses([emissions_of(tokens)], pause, SHIFT, pause_tokens).begins[0]


def test_a_cut_lies_in_the_middle_of_a_long_pause() -> None:
    assert begins(SAID + [0] * 4 + SAID) == [0, SHORT + 2]


def test_a_short_pause_is_not_cut() -> None:
    assert begins([*SAID, 0, *SAID]) == [0]
    assert begins(SAID + [0] * 3 + SAID, pause=1.0) == [0]


def test_a_token_that_parts_words_belongs_to_a_pause() -> None:
    tokens = [*SAID, 0, 3, 0, *SAID]
    assert begins(tokens, pause=0.75) == [0]
    assert begins(tokens, pause=0.75, pause_tokens=(0, 3)) == [0, SHORT + 1]


def test_no_phrase_is_too_short_at_either_end_or_between() -> None:
    assert begins(SAID[1:] + [0] * 2 + SAID) == [0]
    assert begins(SAID + [0] * 2 + SAID[1:]) == [0]
    assert begins(SAID + [0] * 2 + SAID[1:] + [0] * 2 + SAID) == [0, SHORT + 1]


def test_a_token_that_is_held_counts_once() -> None:
    assert begins([1] * SHORT + [0] * 2 + SAID) == [0]


def test_of_two_pauses_too_near_each_other_the_longer_one_is_cut() -> None:
    assert begins(SAID + [0] * 2 + SAID[:2] + [0] * 4 + SAID) == [0, SHORT + 2 + 2 + 2]


def test_without_a_pause_setting_utterances_stay_whole() -> None:
    utterances = [emissions_of(SAID + [0] * 9 + SAID), emissions_of([])]
    phrases = cut_at_pauses(utterances, 0.0, SHIFT, (0,))
    assert phrases.begins == [[0], [0]]
    assert all(torch.equal(*pair) for pair in zip(phrases.emissions, utterances, strict=True))


def test_phrases_hold_all_frames_of_their_utterances() -> None:
    draw = torch.Generator().manual_seed(2)
    tokens = [torch.randint(0, 2, (length,), generator=draw).tolist() for length in (0, 1, 50, 4000)]
    utterances = [emissions_of(each) for each in tokens]
    phrases = cut_at_pauses(utterances, 0.5, SHIFT, (0,))
    assert [len(each) for each in phrases.begins][:2] == [1, 1] and len(phrases.begins[3]) > 10
    assert torch.equal(torch.cat(phrases.emissions), torch.cat(utterances))


def test_the_likeliest_combinations_come_first() -> None:
    draw = torch.Generator().manual_seed(5)
    lists = [
        sorted(
            (Hypothesis(f"{place}{number}", score) for number, score in enumerate(scores)),
            key=lambda hypothesis: -hypothesis.score,
        )
        for place, scores in enumerate(torch.randn((3, 4), generator=draw).tolist())
    ]
    phrases = cut_at_pauses([emissions_of((SAID + [0] * 2) * 3)], 0.5, SHIFT, (0,))
    assert len(phrases.begins[0]) == len(lists)
    all_of_them = sorted(product(*lists), key=lambda each: -sum(part.score for part in each))
    (found,) = phrases.join(lists, nbest=10)
    assert [each.text for each in found] == [
        " ".join(part.text for part in each) for each in all_of_them[:10]
    ]
    assert [each.score for each in found] == pytest.approx(
        [sum(part.score for part in each) for each in all_of_them[:10]]
    )


def test_combinations_that_say_the_same_are_one() -> None:
    lists = [
        [Hypothesis("A B", -1.0), Hypothesis("A", -2.0)],
        [Hypothesis("C", -1.0), Hypothesis("B C", -1.5), Hypothesis("", -3.0)],
    ]
    phrases = cut_at_pauses([emissions_of(SAID + [0] * 2 + SAID)], 0.5, SHIFT, (0,))
    (found,) = phrases.join(lists, nbest=9)
    texts = [(each.text, each.score) for each in found]
    assert texts == [("A B C", -2.0), ("A B B C", -2.5), ("A C", -3.0), ("A B", -4.0), ("A", -5.0)]


class Spelling:
    """Every token is a word, at the frame where it stands."""

    def decode(self, emissions: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        return [[self._of(each[:length])] for each, length in zip(emissions, lengths.tolist(), strict=True)]

    def _of(self, emissions: Tensor) -> Hypothesis:
        path = emissions.argmax(1).tolist()
        heard = [(frame, token) for frame, token in enumerate(path) if token]
        words = tuple(Word(f"W{token}", frame * SHIFT, (frame + 1) * SHIFT) for frame, token in heard)
        return Hypothesis(
            " ".join(word.text for word in words),
            -float(len(heard)),
            tuple(token for _, token in heard),
            tuple(frame for frame, _ in heard),
            words,
        )


def test_words_and_frames_keep_their_places_in_the_utterance() -> None:
    utterances = [emissions_of([1, 2, 3] * 8 + [0] * 3 + [3, 1] * 12), emissions_of([0, 1, 0])]
    assert cut_at_pauses(utterances, 0.5, SHIFT, (0,)).begins == [[0, 25], [0]]
    lengths = torch.tensor([len(each) for each in utterances])
    padded = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True)
    cut = PhraseDecoder(Spelling(), 0.5, SHIFT, (0,), 1)
    assert cut.decode(padded, lengths) == Spelling().decode(padded, lengths)


def test_tune_keeps_the_pause_and_evaluate_uses_it(
    run_asr: Run, copied_model: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_asr("tune", copied_model, clips, "--beam-size", 5).status == 0
    assert yaml.safe_load((copied_model / "config.yaml").read_text())["decoding"]["pause"] == PAUSE
    assert run_asr("tune", copied_model, clips, "--pause", 0.3, "--beam-size", 5).status == 0
    assert yaml.safe_load((copied_model / "config.yaml").read_text())["decoding"]["pause"] == 0.3
    asked: list[float] = []

    def note(utterances, pause, *rest):  # type: ignore[no-untyped-def]
        asked.append(pause)
        return cut_at_pauses(utterances, pause, *rest)

    monkeypatch.setattr("asr.decoding.phrases.cut_at_pauses", note)
    assert run_asr("evaluate", copied_model, clips).status == 0
    assert set(asked) == {0.3}
    asked.clear()
    assert run_asr("evaluate", copied_model, clips, "--pause", 0.7).status == 0
    assert set(asked) == {0.7}
    asked.clear()
    assert run_asr("evaluate", copied_model, clips, "--pause", 0).status == 0
    assert not asked


def test_a_pause_that_is_no_number_of_seconds_is_an_error(
    run_asr: Run, copied_model: Path, clips: Path
) -> None:
    path = copied_model / "config.yaml"
    content = yaml.safe_load(path.read_text())
    content["decoding"]["pause"] = "long"
    path.write_text(yaml.safe_dump(content))
    done = run_asr("evaluate", copied_model, clips)
    assert done.status == 1 and "decoding.pause: 'long'" in done.stderr
    assert run_asr("evaluate", copied_model, clips, "--pause", "nan").status != 0
    before = {path: path.stat().st_mtime_ns for path in copied_model.rglob("*")}
    done = run_asr("tune", copied_model, clips)
    assert done.status == 1 and "decoding.pause: 'long'" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in copied_model.rglob("*")} == before


def test_greedy_decoding_has_no_use_for_a_pause(run_asr: Run, copied_model: Path, clips: Path) -> None:
    done = run_asr("decode", copied_model, clips, "--decoder", "greedy", "--pause", 0.5)
    assert done.status == 1 and "--pause" in done.stderr

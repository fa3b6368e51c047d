import brute_force
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from asr.decoding.hotwords import START, follow, hotword_automaton, read_hotwords
from asr.errors import UserError


@njit
def step(states, edges, state, symbol):
    return follow(states, edges, state, symbol)


phrases = st.dictionaries(
    st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), st.floats(-3, 5), max_size=5
)


@settings(max_examples=100, deadline=None)
@given(phrases, st.lists(st.integers(-1, 3), max_size=10))
def test_every_occurrence_scores_once_and_nothing_else_does(scored, symbols):
    states, edges = hotword_automaton(scored.items())
    total, state = 0.0, START
    for symbol in symbols:
        gain, state = step(states, edges, state, symbol)
        total += gain
    total -= states[state]["advance"]
    expected = sum(score * brute_force.occurrences(phrase, symbols) for phrase, score in scored.items())
    assert total == pytest.approx(expected, abs=1e-9)


def test_a_phrase_scores_in_part_while_it_comes():
    states, edges = hotword_automaton([((1, 2, 3, 4), 8.0)])
    gains, state = [], START
    for symbol in (1, 2, 3, 9):
        gain, state = step(states, edges, state, symbol)
        gains.append(gain)
    assert gains == [2.0, 2.0, 2.0, -6.0]


def test_hotword_file(tmp_path):
    path = tmp_path / "hotwords.txt"
    path.write_text("# names\nEbenezer  scrooge\t7.5\n\nmarley\n")
    assert read_hotwords(path, 5.0) == {"EBENEZER SCROOGE": 7.5, "MARLEY": 5.0}
    path.write_text("marley\n", encoding="utf-8-sig")
    assert read_hotwords(path, 5.0) == {"MARLEY": 5.0}


def test_broken_hotword_files_are_named(tmp_path):
    path = tmp_path / "hotwords.txt"
    with pytest.raises(UserError, match="cannot read"):
        read_hotwords(path, 5.0)
    for score in ("much", "inf", "nan"):
        path.write_text(f"MARLEY\t{score}\n")
        with pytest.raises(UserError, match=rf"line 1: '{score}' is not a score"):
            read_hotwords(path, 5.0)

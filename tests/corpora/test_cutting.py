from collections.abc import Sequence
from dataclasses import replace

from asr.corpora.cutting import LONG_PAUSE, MARGIN, CutOptions, cut_for_training
from asr.manifest import Utterance
from asr.transcript import Word

LONG = Utterance("book", "book.mp3", 12.0, offset=100.0, text="unused", speaker="ann", extra={"page": 3})


def spoken(*times: tuple[float, float]) -> list[Word]:
    """Words A, B, C … said then."""
    return [Word(chr(65 + number), begin, end, 0.5) for number, (begin, end) in enumerate(times)]


def pieces(words: Sequence[Word], **options: float) -> list[tuple[str | None, float, float]]:
    """Text, first and last moment of each piece, in seconds from the start of the utterance."""
    cut = cut_for_training(LONG, words, CutOptions(**{"pause": 0.5, "shortest": 0.0} | options))
    return [
        (each.text, round(each.offset - 100, 3), round(each.offset - 100 + each.duration, 3))
        for each in cut
        if each
    ]


def test_cuts_lie_in_pauses_and_both_sides_keep_some_of_them() -> None:
    words = spoken((1.0, 2.0), (2.4, 3.0), (3.5, 4.0), (6.0, 7.0))
    assert pieces(words) == [
        ("A B", 1.0 - MARGIN, 3.25),
        ("C", 3.25, 4.0 + MARGIN),
        ("D", 6.0 - MARGIN, 7.0 + MARGIN),
    ]


def test_pieces_do_not_reach_beyond_the_recording() -> None:
    assert pieces(spoken((0.1, 11.9))) == [("A", 0.0, 12.0)]


def test_too_little_speech_is_cut_off_neither_before_nor_at_the_end() -> None:
    words = spoken((0.0, 0.5), (1.0, 2.5), (4.0, 6.0), (7.0, 7.5))
    assert [text for text, _, _ in pieces(words, shortest=2.0)] == ["A B", "C D"]


def test_a_long_pause_is_in_no_piece_however_little_is_said_before_it() -> None:
    words = spoken((0.5, 1.1), (1.1 + LONG_PAUSE, 6.0), (7.9, 8.5))
    assert pieces(words, shortest=2.0) == [("A", 0.2, 1.4), ("B C", 2.8, 8.8)]


def test_what_is_too_long_or_has_no_letters_is_left_out() -> None:
    words = [*spoken((0.0, 1.0), (2.0, 8.0)), Word("1865", 9.0, 9.5), Word("don’t,", 11.0, 11.5, 0.25)]
    cut = list(cut_for_training(LONG, words, CutOptions(0.5, 0.0, 5.0)))
    assert [each and (each.id, each.text, each.confidence) for each in cut] == [
        *(("book-0000", "A", 0.5), None, None),
        ("book-0003", "DON'T", 0.25),
    ]
    assert all(
        (each.audio_filepath, each.speaker, each.extra["page"]) == ("book.mp3", "ann", 3)
        for each in cut
        if each
    )


def test_no_words_give_no_pieces() -> None:
    assert pieces([]) == []


def test_pieces_have_the_phones_that_were_said_in_them_and_not_those_of_the_whole() -> None:
    whole = replace(LONG, extra={"page": 3, "phones": "AA B K D IY"})
    words = spoken((1.0, 2.0), (2.4, 3.0), (5.0, 6.0))
    said = [["AA"], ["B", "K"], ["D", "IY"]]
    cut = list(cut_for_training(whole, words, CutOptions(0.5, 0.0), said))
    assert [each and each.extra for each in cut] == [
        {"page": 3, "phones": "AA | B K"},
        {"page": 3, "phones": "D IY"},
    ]
    unsaid = list(cut_for_training(whole, words, CutOptions(0.5, 0.0)))
    assert [each and each.extra for each in unsaid] == [{"page": 3}, {"page": 3}]

"""Words with their times and confidences, put together from tokens and frames."""

from collections.abc import Iterator, Sequence

from asr.tokenizer import SPACE, Tokenizer
from asr.transcript import Word

#: What a word piece that opens a word begins with.
_OPENING = "▁"


def timed_words(
    tokens: Sequence[int],
    frames: Sequence[int],
    confidences: Sequence[float],
    tokenizer: Tokenizer,
    frame_shift: float,
) -> tuple[Word, ...]:
    """The words of a token sequence.

    Args:
        tokens: Token ids, blanks and repeats removed.
        frames: Encoder frame of each token.
        confidences: Confidence of each token; a word has that of its least sure token.
        tokenizer: Which tokens part words: ``|`` between characters; ``▁`` opens a word among word pieces;
            every phone counts as a word.
        frame_shift: Seconds from one encoder frame to the next.
    """
    words = []
    for begin, end in _groups([tokenizer.tokens[token] for token in tokens], tokenizer.units):
        text = tokenizer.decode(tokens[begin:end])
        if text:
            words.append(timed_word(text, frames[begin:end], min(confidences[begin:end]), frame_shift))
    return tuple(words)


def timed_word(text: str, frames: Sequence[int], confidence: float, frame_shift: float) -> Word:
    """A word of the frames of its tokens: from where the first begins to where the frame of the last ends."""
    start, end = (frames[0], frames[-1] + 1) if frames else (0, 0)
    return Word(text, round(start * frame_shift, 6), round(end * frame_shift, 6), confidence)


def _groups(names: list[str], units: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for position, name in enumerate(names):
        if units == "characters" and name == SPACE:
            if position > begin:
                yield begin, position
            begin = position + 1
        elif position > begin and (
            units == "phones" or (units == "wordpieces" and name.startswith(_OPENING))
        ):
            yield begin, position
            begin = position
    if len(names) > begin:
        yield begin, len(names)

import math
from dataclasses import replace

import brute_force
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from asr.decoding.beam import BeamDecoder
from asr.decoding.cache import load_lexicon_trie
from asr.decoding.candidates import lower_bar, raise_bar
from asr.decoding.config import BeamConfig
from asr.decoding.records import BAR
from asr.decoding.search_model import OPTIONS
from asr.decoding.trie import LexiconTrie
from asr.errors import UserError
from asr.lm.arpa import read_arpa
from asr.lm.ngram import NGram
from asr.tokenizer import BLANK, CharacterTokenizer, PhoneTokenizer

CHARACTERS = CharacterTokenizer([BLANK, "|", "A", "B"])
PHONES = PhoneTokenizer([BLANK, "P", "T", "K"])
SEPARATOR = 1
EXHAUSTIVE = {"beam_size": 100_000, "beam_threshold": 1e9, "token_threshold": 1e9}
few_examples = settings(max_examples=25, deadline=None)


def random_emissions(seed: int, frames: int, vocabulary: int = 4) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, vocabulary))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def small_lm(folder, words, seed=0) -> NGram:
    """A bigram model of made-up probabilities; it lacks the last of the words."""
    random = np.random.default_rng(seed)
    names = ["<unk>", "<s>", "</s>", *words[:-1]]
    bigrams = [(a, b) for a in ["<s>", *words[:-1]] for b in [*words[:-1], "</s>"] if random.random() < 0.6]
    lines = ["\\data\\", f"ngram 1={len(names)}", f"ngram 2={len(bigrams)}", "", "\\1-grams:"]
    lines += [f"{-random.uniform(0.3, 2):.4f}\t{name}\t{-random.uniform(0, 1):.4f}" for name in names]
    lines += [
        "",
        "\\2-grams:",
        *(f"{-random.uniform(0.1, 2):.4f}\t{a} {b}" for a, b in bigrams),
        "",
        "\\end\\",
    ]
    path = folder / f"lm{seed}.arpa"
    path.write_text("\n".join(lines) + "\n")
    return read_arpa(path)


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> NGram:
    return small_lm(tmp_path_factory.mktemp("lm"), ["A", "AB", "BA", "BB", "B"])


@pytest.fixture(scope="module")
def token_lm(tmp_path_factory) -> NGram:
    return small_lm(tmp_path_factory.mktemp("lm"), ["|", "A", "B", "C"], seed=1)


def spelled(words):
    return [(word, tuple(CHARACTERS.encode(word))) for word in words]


def assert_same(hypotheses, expected: dict[tuple[str, ...], float], joiner: str = " ") -> None:
    """The n-best list holds the best of the expected readings, with their scores."""
    ranked = sorted(expected.values(), reverse=True)[: len(hypotheses)]
    assert [hypothesis.score for hypothesis in hypotheses] == pytest.approx(ranked, abs=1e-3)
    by_text = {joiner.join(words).replace("?", ""): score for words, score in expected.items()}
    for hypothesis in hypotheses:
        assert hypothesis.score == pytest.approx(by_text[hypothesis.text], abs=1e-3)


@few_examples
@given(st.integers(0, 10**6), st.integers(0, 5), st.booleans())
def test_tokens_without_anything_else(seed, frames, summing):
    emissions = random_emissions(seed, frames)
    config = BeamConfig(**EXHAUSTIVE, recombine=False, nbest=8, sum_alignments=summing)
    sequences = brute_force.token_sequences(emissions, SEPARATOR, summing)
    expected = {tuple(CHARACTERS.decode(tokens)): score for tokens, score in sequences.items()}
    assert_same(BeamDecoder(CHARACTERS, config).decode(emissions), expected, "")


@few_examples
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_tokens_with_language_model_and_hotwords(token_lm, seed, frames, summing):
    emissions = random_emissions(seed, frames)
    hotwords = {"AB": 1.5, "A A": 2.0, "A": -0.7, "B AB": 3.0}
    config = BeamConfig(
        **EXHAUSTIVE, recombine=False, nbest=8, sum_alignments=summing, lm_weight=0.8, spelling_score=0.3
    )

    def score(tokens):
        names = [CHARACTERS.tokens[token] for token in tokens]
        bonus = sum(
            weight * brute_force.occurrences(["|", *phrase.replace(" ", "|"), "|"], ["|", *names, "|"])
            for phrase, weight in hotwords.items()
        )
        return 0.8 * token_lm.sentence_score(names) + 0.3 * len(names) + bonus

    sequences = brute_force.token_sequences(emissions, SEPARATOR, summing)
    expected = {tuple(CHARACTERS.decode(tokens)): mass + score(tokens) for tokens, mass in sequences.items()}
    decoder = BeamDecoder(CHARACTERS, config, token_lm=token_lm, hotwords=hotwords)
    assert_same(decoder.decode(emissions), expected, "")


@few_examples
@given(st.integers(0, 10**6), st.integers(0, 5), st.booleans(), st.booleans())
def test_lexicon_of_characters(lm, seed, frames, summing, with_lm):
    emissions = random_emissions(seed, frames)
    words = ["A", "AB", "BA", "BB", "B"]
    config = BeamConfig(
        **EXHAUSTIVE, recombine=False, nbest=8, sum_alignments=summing, lm_weight=0.9, word_score=0.4,
        unknown_score=-0.3, expected_gain=1.5,
    )  # fmt: skip

    def score(words):
        unknown = -0.3 * words.count("B") if with_lm else 0.0
        return 0.4 * len(words) + (0.9 * lm.sentence_score(words) if with_lm else 0.0) + unknown

    expected = brute_force.readings(
        brute_force.token_sequences(emissions, SEPARATOR, summing),
        lambda tokens: brute_force.parted(tokens, spelled(words), SEPARATOR, None),
        score,
        summing,
    )
    decoder = BeamDecoder(
        CHARACTERS, config, lm=lm if with_lm else None, lexicon=LexiconTrie.from_words(words, CHARACTERS)
    )
    assert_same(decoder.decode(emissions), expected)


@few_examples
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans(), st.booleans())
def test_open_vocabulary(lm, token_lm, seed, frames, with_lm, with_token_lm):
    emissions = random_emissions(seed, frames)
    words = ["A", "AB", "BA", "B"]
    hotwords = {"AB": 1.5, "A B": 2.0, "A": -0.7}
    config = BeamConfig(
        **EXHAUSTIVE, recombine=False, nbest=8, lm_weight=0.9, word_score=0.4, unknown_score=-1.0,
        spelling_score=-0.2, open_vocabulary=True,
    )  # fmt: skip

    def score(words):
        known = ["?" if word.startswith("?") else word for word in words]
        total = 0.4 * len(words)
        if with_lm:
            total += 0.9 * lm.sentence_score(known) - 1.0 * known.count("B")
        for word in words:
            if word.startswith("?"):
                total += -1.0 - 0.2 * (len(word) - 1)
                if with_token_lm:
                    total += 0.9 * spelling((*word[1:], "|"))
        for phrase, weight in hotwords.items():
            total += weight * brute_force.occurrences(phrase.split(), known)
        return total

    def spelling(letters):
        # A word is spelled as what comes behind a space.
        return float(token_lm.word_scores(["|", *letters])[1:-1].sum())

    expected = brute_force.readings(
        brute_force.token_sequences(emissions, SEPARATOR),
        lambda tokens: brute_force.parted(tokens, spelled(words), SEPARATOR, CHARACTERS.decode),
        score,
    )
    decoder = BeamDecoder(
        CHARACTERS, config, lm=lm if with_lm else None, token_lm=token_lm if with_token_lm else None,
        lexicon=LexiconTrie.from_words(words, CHARACTERS), hotwords=hotwords,
    )  # fmt: skip
    assert_same(decoder.decode(emissions), expected)


HOMOPHONES = [
    ("A", ("P",)),
    ("B", ("P",)),
    ("AB", ("P", "T")),
    ("AB", ("T", "P")),
    ("BA", ("T",)),
    ("BB", ("T", "T", "K")),
    ("BB", ("K",)),
]


@few_examples
@given(st.integers(0, 10**6), st.integers(0, 5), st.booleans(), st.booleans())
def test_phones_with_homophones_and_several_pronunciations(lm, seed, frames, summing, with_lm):
    emissions = random_emissions(seed, frames)
    config = BeamConfig(
        **EXHAUSTIVE, recombine=False, nbest=8, sum_alignments=summing, lm_weight=0.9, word_score=0.4,
        expected_gain=2.0, most_gain=1.0,
    )  # fmt: skip
    hotwords = {"AB": 1.0, "A BA": 1.5}

    def score(words):
        bonus = sum(weight * brute_force.occurrences(p.split(), words) for p, weight in hotwords.items())
        return bonus + 0.4 * len(words) + (0.9 * lm.sentence_score(words) if with_lm else 0.0)

    lexicon = [(word, tuple(PHONES.tokens.index(phone) for phone in phones)) for word, phones in HOMOPHONES]
    expected = brute_force.readings(
        brute_force.token_sequences(emissions, summing=summing),
        lambda tokens: brute_force.segmentations(tokens, lexicon),
        score,
        summing,
    )
    decoder = BeamDecoder(
        PHONES, config, lm=lm if with_lm else None, hotwords=hotwords,
        lexicon=LexiconTrie.build(HOMOPHONES, PHONES.tokens),
    )  # fmt: skip
    assert_same(decoder.decode(emissions), expected)


@pytest.mark.parametrize(
    ("spelling", "refused", "admitted"),
    [
        (("T",), {"most_gain": 1.0}, {"most_gain": math.inf}),
        (("T", "K"), {"expected_gain": 0.0}, {"expected_gain": 10.0}),
    ],
    ids=["most_gain", "expected_gain"],
)
def test_how_much_a_rare_word_may_gain_from_the_words_before(tmp_path, spelling, refused, admitted):
    """B is as good as never said, but behind A."""
    (tmp_path / "rare.arpa").write_text(
        "\\data\\\nngram 1=5\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\t0\n-99\t<s>\t0\n-1\t</s>\t0\n"
        "-0.1\tA\t0\n-6\tB\t0\n\n\\2-grams:\n-0.1\tA B\n\n\\end\\\n"
    )
    rare = read_arpa(tmp_path / "rare.arpa")
    lexicon = LexiconTrie.build([("A", ("P",)), ("B", spelling)], PHONES.tokens)
    said = [PHONES.tokens.index(phone) for phone in ("P", *spelling)]
    emissions = np.full((2 * len(said), 4), np.log(0.05), dtype=np.float32)
    emissions[range(0, 2 * len(said), 2), said] = np.log(0.85)
    emissions[1::2, 0] = np.log(0.85)

    def text(wishes):
        return (
            BeamDecoder(PHONES, BeamConfig(beam_threshold=9.0, **wishes), lm=rare, lexicon=lexicon)
            .decode(emissions)[0]
            .text
        )

    assert text(refused) != "A B"
    assert text(admitted) == "A B"


@few_examples
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_recombination_never_loses_the_best_alignment(lm, seed, frames):
    emissions = random_emissions(seed, frames)
    trie = LexiconTrie.build(HOMOPHONES, PHONES.tokens)
    best = {
        recombine: BeamDecoder(
            PHONES,
            BeamConfig(**EXHAUSTIVE, recombine=recombine, sum_alignments=False),
            lm=lm,
            lexicon=trie,
        ).decode(emissions)[0]
        for recombine in (True, False)
    }
    assert best[True].score == pytest.approx(best[False].score, abs=1e-4)


@few_examples
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_nbest_of_the_lattice_are_distinct_readings_in_order(lm, seed, frames):
    emissions = random_emissions(seed, frames)
    decoder = BeamDecoder(
        PHONES, BeamConfig(nbest=6), lm=lm, lexicon=LexiconTrie.build(HOMOPHONES, PHONES.tokens)
    )
    found = decoder.decode(emissions)
    scores = [hypothesis.score for hypothesis in found]
    assert scores == sorted(scores, reverse=True)
    assert len({hypothesis.text for hypothesis in found}) == len(found)
    searched = decoder.search(emissions)
    assert (searched.texts, searched.scores) == ([each.text for each in found], scores)
    assert (searched[-1], searched[:2], len(searched)) == (found[-1], found[:2], len(found))
    near = replace(decoder.config, nbest_threshold=1.0)
    trie = LexiconTrie.build(HOMOPHONES, PHONES.tokens)
    assert BeamDecoder(PHONES, near, lm=lm, lexicon=trie).decode(emissions) == [
        hypothesis for hypothesis in found if hypothesis.score >= scores[0] - 1.0
    ]
    for hypothesis in found:
        assert list(hypothesis.frames) == sorted(set(hypothesis.frames))
        assert all(0 <= word.confidence <= 1 for word in hypothesis.words)
        assert " ".join(word.text for word in hypothesis.words) == hypothesis.text


def path_emissions(text: str, sureness: float = 0.9) -> np.ndarray:
    """Emissions of characters that follow a path; ``_`` is the blank."""
    emissions = np.full((len(text), 4), (1 - sureness) / 3)
    for frame, symbol in enumerate(text):
        emissions[frame, "_|AB".index(symbol)] = sureness
    return np.log(emissions).astype(np.float32)


def test_times_are_those_of_the_tokens():
    decoder = BeamDecoder(
        CHARACTERS, lexicon=LexiconTrie.from_words(["A", "AB"], CHARACTERS), frame_shift=0.04
    )
    best = decoder.decode(path_emissions("__A_BB_|__AA_"))[0]
    assert best.text == "AB A"
    assert best.frames == (2, 4, 7, 10)
    assert [(word.text, word.start, word.end) for word in best.words] == [
        ("AB", 0.08, 0.2),
        ("A", 0.4, 0.44),
    ]


def test_confidence_falls_where_the_emissions_doubt():
    decoder = BeamDecoder(CHARACTERS, lexicon=LexiconTrie.from_words(["A", "B"], CHARACTERS))
    emissions = np.concatenate([path_emissions("_A_|_", 0.99), path_emissions("B", 0.5), path_emissions("_")])
    first, second = decoder.decode(emissions)[0].words
    assert first.confidence > 0.9 > second.confidence


def test_confidence_is_calibrated_by_slope_and_offset():
    lexicon = LexiconTrie.from_words(["A", "B"], CHARACTERS)
    emissions = path_emissions("_A_", 0.8)
    raw = BeamDecoder(CHARACTERS, lexicon=lexicon).decode(emissions)[0].words[0].confidence
    config = BeamConfig(confidence_slope=0.5, confidence_offset=-1.0)
    calibrated = BeamDecoder(CHARACTERS, config, lexicon=lexicon).decode(emissions)[0].words[0].confidence
    log_odds = math.log(raw / (1 - raw)) * 0.5 - 1.0
    assert calibrated == pytest.approx(1 / (1 + math.exp(-log_odds)))


def test_an_utterance_is_decoded_alike_alone_padded_and_in_threads(lm):
    utterances = [random_emissions(seed, frames) for seed, frames in enumerate((40, 7, 0, 25))]
    decoder = BeamDecoder(CHARACTERS, BeamConfig(beam_size=20, nbest=3), lm=lm)
    alone = [decoder.decode(utterance) for utterance in utterances]
    padded = np.full((4, 40, 4), np.nan, dtype=np.float32)
    for row, utterance in zip(padded, utterances, strict=True):
        row[: len(utterance)] = utterance
    lengths = [len(utterance) for utterance in utterances]
    assert decoder.decode_batch(padded, lengths) == alone
    assert decoder.decode_batch(utterances, threads=3) == alone
    assert decoder.decode_batch(utterances[::-1], threads=2) == alone[::-1]


def test_torch_tensors_are_taken(lm):
    torch = pytest.importorskip("torch")
    emissions = random_emissions(3, 20)
    decoder = BeamDecoder(CHARACTERS, lm=lm)
    batch, lengths = torch.tensor(emissions)[None], torch.tensor([20])
    assert decoder.decode_batch(batch, lengths) == [decoder.decode(emissions)]


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_small_beams_give_a_reading_of_the_lexicon(lm, beam_size):
    decoder = BeamDecoder(CHARACTERS, BeamConfig(beam_size=beam_size), lm=lm)
    for seed in range(20):
        best = decoder.decode(random_emissions(seed, 30))[0]
        assert set(best.text.split()) <= set(decoder.words)


def test_no_frames_are_empty_text(lm):
    empty = np.zeros((0, 4), dtype=np.float32)
    assert BeamDecoder(CHARACTERS).decode(empty)[0].text == ""
    assert BeamDecoder(CHARACTERS, lm=lm).decode(empty)[0].text == ""


def test_impossible_emissions_are_empty_text(lm):
    nothing = np.full((5, 4), -np.inf, dtype=np.float32)
    for decoder in (BeamDecoder(CHARACTERS), BeamDecoder(CHARACTERS, lm=lm)):
        assert decoder.decode(nothing)[0].text == ""


def test_a_word_cut_off_at_the_end_is_left_out():
    lexicon = LexiconTrie.build([("AB", ("P",)), ("BA", ("T", "K"))], PHONES.tokens)
    certain = np.full((4, 4), -np.inf, dtype=np.float32)
    certain[[0, 1, 2, 3], [1, 0, 2, 0]] = 0.0
    assert BeamDecoder(PHONES, lexicon=lexicon).decode(certain)[0].text == "AB"


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_broken_emissions_are_refused(wrong):
    emissions = random_emissions(0, 5)
    emissions[2, 1] = wrong
    with pytest.raises(UserError, match="NaN"):
        BeamDecoder(CHARACTERS).decode(emissions)


def test_emissions_of_another_model_are_refused():
    with pytest.raises(UserError, match="4 tokens"):
        BeamDecoder(CHARACTERS).decode(random_emissions(0, 5, vocabulary=7))


def test_hotword_tips_the_balance_and_is_added_to_the_lexicon():
    emissions = path_emissions("_A_B_", 0.45)
    lexicon = LexiconTrie.from_words(["A", "B"], CHARACTERS)
    assert BeamDecoder(CHARACTERS, lexicon=lexicon).decode(emissions)[0].text in ("A", "B")
    decoder = BeamDecoder(CHARACTERS, lexicon=lexicon, hotwords={"AB": 6.0})
    assert decoder.decode(emissions)[0].text == "AB"
    assert decoder.words == ["A", "B", "AB"]


def test_hotword_without_pronunciation_is_an_error_unless_there_is_a_way_to_pronounce():
    lexicon = LexiconTrie.build(HOMOPHONES, PHONES.tokens)
    with pytest.raises(UserError, match="'NEW' is not in the lexicon"):
        BeamDecoder(PHONES, lexicon=lexicon, hotwords={"NEW": 1.0})
    decoder = BeamDecoder(PHONES, lexicon=lexicon, hotwords={"NEW": 1.0}, pronounce=lambda word: [("K", "T")])
    assert "NEW" in decoder.words


def test_phones_that_end_words_tell_two_words_from_one(tmp_path):
    tokenizer = PhoneTokenizer([BLANK, "P", "T", "P#", "T#"])
    (tmp_path / "lexicon.txt").write_text("A P\nAB P T\nB T\n")
    decoder = BeamDecoder(
        tokenizer,
        lexicon=load_lexicon_trie(tmp_path / "lexicon.txt", tokenizer),
        hotwords={"BA": 0.1},
        pronounce=lambda word: [("T", "P")],
    )
    for said, text in (("P# T#", "A B"), ("P T#", "AB"), ("T P#", "BA"), ("T# T#", "B B")):
        frames = np.full((4, 5), -9.0, np.float32)
        for frame, token in enumerate(said.split()):
            frames[2 * frame, tokenizer.tokens.index(token)] = 0.0
        frames[1::2, 0] = 0.0
        assert decoder.decode(frames)[0].text == text


def test_prior_is_subtracted():
    emissions = np.log([[0.1, 0.1, 0.5, 0.3]]).astype(np.float32)
    prior = [0.1, 0.1, 0.7, 0.1]
    assert BeamDecoder(CHARACTERS).decode(emissions)[0].text == "A"
    config = BeamConfig(prior_scale=1.0)
    assert BeamDecoder(CHARACTERS, config, prior=prior).decode(emissions)[0].text == "B"
    with pytest.raises(UserError, match="prior"):
        BeamDecoder(CHARACTERS, config)
    with pytest.raises(UserError, match="prior"):
        BeamDecoder(CHARACTERS, config, prior=[0.5, 0.5])


def test_blank_penalty_brings_out_tokens():
    emissions = np.log([[0.5, 0.1, 0.3, 0.1]]).astype(np.float32)
    assert BeamDecoder(CHARACTERS).decode(emissions)[0].text == ""
    assert BeamDecoder(CHARACTERS, BeamConfig(blank_penalty=2.0)).decode(emissions)[0].text == "A"


def test_max_tokens_limits_what_is_tried():
    emissions = np.log([[0.2, 0.05, 0.4, 0.35]]).astype(np.float32)
    config = BeamConfig(nbest=5, max_tokens=1)
    assert {hypothesis.text for hypothesis in BeamDecoder(CHARACTERS, config).decode(emissions)} == {"", "A"}


def test_parts_for_other_units_are_refused(lm, token_lm):
    with pytest.raises(UserError, match="lexicon"):
        BeamDecoder(PHONES, lm=lm)
    with pytest.raises(UserError, match="tokens"):
        BeamDecoder(PHONES, token_lm=token_lm)
    with pytest.raises(UserError, match="words"):
        BeamDecoder(CHARACTERS, lm=lm, lexicon=LexiconTrie.from_words(["BBB"], CHARACTERS))
    with pytest.raises(UserError, match="open vocabulary"):
        BeamDecoder(PHONES, BeamConfig(open_vocabulary=True))
    with pytest.raises(UserError, match="beam_size"):
        BeamDecoder(CHARACTERS, BeamConfig(beam_size=0))


def test_only_a_threshold_may_be_infinite():
    replace(BeamConfig(), beam_threshold=math.inf, nbest_threshold=math.inf).check()
    for setting in ("lm_weight", "word_score", "blank_penalty"):
        for value in (math.inf, -math.inf, math.nan):
            with pytest.raises(UserError, match=f"decoding.{setting} must be a number"):
                replace(BeamConfig(), **{setting: value}).check()


@njit(error_model="numpy")
def _raise(bars, options, ceiling, score):
    lower_bar(bars[0], ceiling, options[0].beam_threshold)
    raise_bar(bars[0], score, True, options[0])


def test_a_score_that_hardly_exceeds_the_bar_is_counted_in_the_last_bin():
    bars, options = np.zeros(2, BAR), np.zeros(1, OPTIONS)
    options["beam_threshold"], options["beam_size"] = 15.0, 100
    _raise(bars, options, 10.0, np.nextafter(-5.0, 0))
    assert bars[0]["counts"][-1] == bars[0]["counts"].sum() == 1
    assert not bars[1:].tobytes().strip(b"\0")


@pytest.mark.parametrize(("phrase", "score"), [("A", math.inf), ("A", math.nan), (" ", 1.0)])
def test_hotwords_without_words_or_with_an_endless_score_are_refused(phrase, score):
    with pytest.raises(UserError, match="hotword"):
        BeamDecoder(CHARACTERS, hotwords={phrase: score})


def test_a_prior_that_holds_nan_is_refused():
    with pytest.raises(UserError, match="tune the model anew"):
        BeamDecoder(CHARACTERS, BeamConfig(prior_scale=1.0), prior=[math.nan, 0.2, 0.2, 0.2])

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.trie import LexiconTrie, look_ahead
from asr.errors import UserError
from asr.tokenizer import CharacterTokenizer, PhoneTokenizer

TOKENS = ["<blank>", "A", "B", "C"]
entries = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w", "x"]), st.lists(st.sampled_from("ABC"), min_size=1, max_size=5)
    ),
    min_size=1,
    max_size=12,
)


def spelled(trie: LexiconTrie) -> set[tuple[str, tuple[str, ...]]]:
    """The lexicon read back from the tree, node by node."""
    found = set()
    for node in range(len(trie.nodes) - 1):
        path, above = [], node
        while above:
            path.append(TOKENS[trie.nodes[above]["token"]])
            above = trie.nodes[above]["parent"]
        begin, end = trie.nodes[node]["first_word"], trie.nodes[node + 1]["first_word"]
        found |= {(trie.words[number], tuple(path[::-1])) for number in trie.endings[begin:end]}
    return found


@settings(max_examples=50, deadline=None)
@given(entries, entries)
def test_tree_holds_the_lexicon_and_only_it(first, second):
    trie = LexiconTrie.build(first, TOKENS)
    assert spelled(trie) == {(word, tuple(tokens)) for word, tokens in first}
    both = trie.extended(LexiconTrie.build(second, TOKENS))
    assert spelled(both) == {(word, tuple(tokens)) for word, tokens in first + second}
    assert both.words[: len(trie.words)] == trie.words


@settings(max_examples=50, deadline=None)
@given(entries)
def test_children_are_neighbours_sorted_by_token(lines):
    nodes = LexiconTrie.build(lines, TOKENS).nodes
    for node in range(len(nodes) - 1):
        children = range(nodes[node]["first_child"], nodes[node + 1]["first_child"])
        assert all(nodes[child]["parent"] == node for child in children)
        tokens = [nodes[child]["token"] for child in children]
        assert tokens == sorted(set(tokens))


def test_many_tokens_sort_by_id():
    tokens = ["<blank>", *(f"t{number}" for number in range(1, 600))]
    lines = [(f"w{number}", (f"t{number}", "t1")) for number in range(1, 600)]
    trie = LexiconTrie.build(lines, tokens)
    assert trie.nodes["token"][1:600].tolist() == list(range(1, 600))


def test_look_ahead_is_the_best_word_below():
    trie = LexiconTrie.build([("u", "A"), ("v", "AB"), ("w", "AC"), ("x", "B")], TOKENS)
    best = look_ahead(trie.nodes, trie.endings, np.array([-3.0, -1.0, -2.0, -5.0]))
    by_token = {
        (int(node["parent"]), int(node["token"])): number for number, node in enumerate(trie.nodes[:-1])
    }
    first = by_token[0, 1]
    assert best[first] == -1.0
    assert best[by_token[first, 3]] == -2.0
    assert best[by_token[0, 2]] == -5.0
    assert best[0] == 0.0


def test_saved_tree_is_the_same(tmp_path):
    trie = LexiconTrie.build([("u", "AB"), ("v", "AB"), ("u", "C")], TOKENS)
    trie.save(tmp_path / "trie")
    loaded = LexiconTrie.load(tmp_path / "trie")
    assert loaded.words == trie.words
    assert (loaded.nodes == trie.nodes).all()
    assert (loaded.endings == trie.endings).all()


def test_missing_or_foreign_tree_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="no lexicon tree"):
        LexiconTrie.load(tmp_path)
    LexiconTrie.build([("u", "A")], TOKENS).save(tmp_path)
    (tmp_path / "words.txt").write_text("u\nv\n")
    with pytest.raises(UserError, match="another version"):
        LexiconTrie.load(tmp_path)


def test_unknown_token_names_word_and_token():
    with pytest.raises(UserError, match=r"'HI'.*'HH'"):
        LexiconTrie.build([("HI", ("HH", "AY"))], TOKENS)
    with pytest.raises(UserError, match="no pronunciation"):
        LexiconTrie.build([("HI", ())], TOKENS)
    with pytest.raises(UserError, match="empty"):
        LexiconTrie.build([], TOKENS)


def test_words_that_cannot_be_spelled_are_left_out():
    trie = LexiconTrie.from_words(["<unk>", "<s>", "</s>", "IT'S", "CAFÉ", "A"], CharacterTokenizer())
    assert trie.words == ["IT'S", "A"]
    with pytest.raises(UserError, match="none of the words"):
        LexiconTrie.from_words(["É"], CharacterTokenizer())
    with pytest.raises(UserError, match="none of the words"):
        LexiconTrie.from_words(["WORD"], PhoneTokenizer())

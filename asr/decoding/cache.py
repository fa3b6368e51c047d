"""Lexicon trees kept between processes, so that only the first one builds them.

They lie in the user's folder of caches (``~/.cache/asr``, say), named after what is in the lexicon; a folder
that cannot be written only costs the time to build the tree again.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from asr.decoding.trie import LexiconTrie
from asr.errors import UserError
from asr.kernel_cache import user_cache
from asr.tokenizer import PhoneTokenizer, Tokenizer


def cache_folder() -> Path:
    """Where derived files are kept."""
    return user_cache() / "asr"


def load_lexicon_trie(path: Path, tokenizer: Tokenizer) -> LexiconTrie:
    """The tree of a lexicon file, from the cache where it was built before.

    Raises:
        UserError: the lexicon cannot be read or does not fit the tokens.
    """
    from asr.lexicon import read_lexicon

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this lexicon ({error.strerror})") from error
    key = hashlib.sha256(content + "\n".join(tokenizer.tokens).encode()).hexdigest()[:24]
    cached = cache_folder() / f"lexicon-{key}"
    with suppress(UserError):
        return LexiconTrie.load(cached)
    entries: list[tuple[str, Sequence[str]]] = [*read_lexicon(path)]
    if isinstance(tokenizer, PhoneTokenizer):
        entries = [(word, tokenizer.spelled(phones)) for word, phones in entries]
    trie = LexiconTrie.build(entries, tokenizer.tokens)
    with suppress(UserError):
        trie.save(cached)
    return trie

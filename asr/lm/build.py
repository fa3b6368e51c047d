"""From text to a model: read, count, estimate, prune."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from asr.errors import UserError
from asr.lm.corpus import read_corpus
from asr.lm.counts import count_ngrams
from asr.lm.kneser_ney import check_prune, estimate
from asr.lm.table import UNKNOWN_ID, NGramTable
from asr.lm.text import PathLike, Report, no_report


def build_table(
    paths: Sequence[PathLike],
    order: int,
    unit: str = "words",
    vocabulary: Sequence[str] | int | None = None,
    prune: Sequence[int] = (),
    temporary: PathLike | None = None,
    report: Report = no_report,
) -> NGramTable:
    """Estimate a model from texts.

    Args:
        paths: Texts, a sentence a line (see :func:`asr.lm.text.read_blocks`).
        order: The longest n-gram's length, 1 to 6.
        unit: "words" or "characters".
        vocabulary: Words to know, or the number of the most frequent ones; all by default.
        prune: Count thresholds (see :func:`asr.lm.kneser_ney.estimate`).
        temporary: Folder for large temporary files, the system's by default.
        report: Is told the progress.

    Raises:
        UserError: as the functions named here, no word is in the vocabulary, or temporary files cannot be
            written.
    """
    thresholds = check_prune(prune, order)
    try:
        with tempfile.TemporaryDirectory(prefix="asr-lm-", dir=temporary) as folder:
            corpus = read_corpus(paths, Path(folder), unit, vocabulary, report)
            tokens, unknown = int(corpus.counts.sum()) - 2 * corpus.sentences, int(corpus.counts[UNKNOWN_ID])
            if unknown == tokens:
                names = ", ".join(str(path) for path in paths)
                raise UserError(f"{names}: the vocabulary has no word of the text; is its case the same?")
            estimated = estimate(count_ngrams(corpus, order, Path(folder), report), thresholds, report)
    except OSError as error:
        # Those of the texts are told apart where they are read.
        raise UserError(
            f"{temporary or tempfile.gettempdir()}: temporary files cannot be written "
            f"({error.strerror or error}); name another folder with --temporary"
        ) from error
    provenance: dict[str, object] = {
        "text": [Path(path).name for path in paths],
        "sentences": corpus.sentences,
        "tokens": tokens,
        "unknown_tokens": unknown,
        "prune": thresholds,
        "discounts": [[round(value, 6) for value in row] for row in estimated.discounts],
        "substituted_discounts": estimated.substituted,
    }
    return NGramTable(corpus.words, estimated.levels, unit, provenance)

"""A model's two forms on disk, told apart by name: ARPA files and the directories that decoding maps."""

from asr.errors import UserError
from asr.files import check_name, check_own_folder, check_writable, exists, is_folder
from asr.lm.arpa import read_arpa, read_arpa_table, write_arpa
from asr.lm.ngram import DESCRIPTION, PARTS, NGram
from asr.lm.table import NGramTable
from asr.lm.text import PathLike


def is_arpa(path: PathLike) -> bool:
    """Whether the name is that of an ARPA file (``.arpa``, also compressed)."""
    return str(path).endswith((".arpa", ".arpa.gz", ".arpa.xz"))


def is_model(path: PathLike) -> bool:
    """Whether this is a model, ARPA file or directory, and not a text."""
    return is_arpa(path) or is_folder(path)


def load_ngram(path: PathLike) -> NGram:
    """Load a model of either form; raises as :meth:`NGram.load` and :func:`read_arpa`."""
    return read_arpa(path) if is_arpa(path) else NGram.load(path)


def load_table(path: PathLike) -> NGramTable:
    """Read a model of either form as columns; raises as :func:`load_ngram`."""
    return read_arpa_table(path) if is_arpa(path) else NGram.load(path).to_table()


def check_output(path: PathLike) -> None:
    """Raise a UserError if a model cannot be written under this name."""
    check_name(path)
    if str(path).endswith(".arpa.xz"):
        raise UserError(f"{path}: ARPA files are written plain or as .arpa.gz")
    if is_arpa(path) and is_folder(path):
        raise UserError(f"{path}: is a directory, not an ARPA file")
    if not is_arpa(path) and exists(path) and not is_folder(path):
        raise UserError(f"{path}: is a file; name a directory, or an ARPA file (.arpa, .arpa.gz)")
    if is_arpa(path):
        check_writable(path)
    else:
        check_own_folder(path, DESCRIPTION, PARTS)


def save_table(path: PathLike, table: NGramTable, bits: int = 8) -> None:
    """Write a model in the form of the name, quantised to ``bits`` in a directory; exact in an ARPA file."""
    if is_arpa(path):
        write_arpa(path, table)
    else:
        NGram.from_table(table, bits).save(path)

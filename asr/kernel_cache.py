"""Where numba keeps compiled kernels when neither the package's folder nor the user's can be written.

Numba refuses to compile a cached function that it has nowhere to keep: under a user without a home, as
containers often run, every command would end in a traceback.
"""

import os
import stat
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_kernel_cache(package: Path = Path(__file__).parent) -> None:
    """Name a folder of this user's among the temporary files, where numba would find none by itself."""
    if not os.environ.get(VARIABLE) and not writable(package) and not writable(user_cache()):
        os.environ[VARIABLE] = str(_private_folder())


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may have to be made itself."""
    try:
        existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    except OSError:
        return False
    return existing.is_dir() and os.access(existing, os.W_OK)


def user_cache() -> Path:
    """The user's folder of caches, as the system has it."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises for a user without one
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def _private_folder() -> Path:
    """A folder that lasts and that nobody else can write, since what lies in it is executed."""
    user = os.getuid() if hasattr(os, "getuid") else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"asr-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o077:
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="asr-kernels-"))

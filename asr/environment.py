"""What this installation consists of and what it finds here: the thing to paste into a bug report."""

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from asr.cores import usable_cores
from asr.kernel_cache import user_cache, writable

DISTRIBUTION = "asr-ctc"
PACKAGES = (
    *("torch", "torchaudio", "numpy", "numba", "llvmlite", "soundfile", "safetensors", "omegaconf"),
    *("pyyaml", "typer", "rich", "jiwer"),
)
PROGRAMS = {"ffmpeg": "reads m4a, mp4, webm and other files that libsndfile does not"}
OWN_TOOLS = ("test",)
"""Extras for those who work on the project; nothing a user misses."""


@dataclass(frozen=True)
class Device:
    """Something that computes: ``name`` as ``--device`` takes it; memory in bytes."""

    name: str
    description: str
    memory: int | None
    bf16: bool


@dataclass(frozen=True)
class Cache:
    """Where numba keeps compiled kernels, and what is there; sizes in bytes."""

    folder: str
    writable: bool
    kernels: int
    size: int


@dataclass(frozen=True)
class FoundModel:
    """A model directory that ships; size in bytes."""

    name: str
    folder: str
    size: int


@dataclass(frozen=True)
class Environment:
    """Everything :func:`describe` found.

    Attributes:
        versions: Of the packages; None for one that is missing.
        problems: What is broken, a line each.
        extras: For each optional extra its packages with their versions, None for a missing one.
        programs: Path of each optional program, None for a missing one.
    """

    asr: str
    python: str
    platform: str
    versions: dict[str, str | None]
    devices: list[Device]
    cores: int
    threads: int
    cache: Cache
    models: list[FoundModel]
    programs: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    variables: dict[str, str]
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary of JSON's types."""
        return asdict(self)


def describe() -> Environment:
    """Look around; what is missing or broken is reported, never raised."""
    from asr import __version__

    problems: list[str] = []
    devices, threads = _devices(problems)
    return Environment(
        asr=__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        platform=f"{platform.platform()}, {_processor()}",
        versions={name: _version(name) for name in PACKAGES},
        devices=devices,
        cores=usable_cores(),
        threads=threads,
        cache=kernel_cache(Path(__file__).parent),
        models=shipped_models(),
        programs={name: shutil.which(name) for name in PROGRAMS},
        extras=optional_extras(),
        variables={
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("NUMBA_", "OMP_", "MKL_", "CUDA_VISIBLE"))
        },
        problems=problems,
    )


def kernel_cache(package: Path) -> Cache:
    """Numba's cache of the package's kernels.

    It is the folder named by ``NUMBA_CACHE_DIR``, else ``__pycache__`` beside the sources, else, where that
    cannot be written, the user's own cache folder.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else package / "__pycache__"
    if not chosen and not writable(folder):
        folder = user_cache() / "numba"
    files: list[Path] = []
    searched = package if not chosen and folder.is_relative_to(package) else folder
    for pattern in ("**/*.nbi", "**/*.nbc"):
        files += searched.glob(pattern)
    sizes = [_size(file) for file in files]
    return Cache(str(folder), writable(folder), sum(file.suffix == ".nbi" for file in files), sum(sizes))


def shipped_models() -> list[FoundModel]:
    """The model directories inside the package."""
    found = sorted((Path(__file__).parent / "pretrained").glob("*/*.safetensors"))
    return [FoundModel(path.parent.name, str(path.parent), folder_size(path.parent)) for path in found]


def optional_extras() -> dict[str, dict[str, str | None]]:
    """The extras of the installed distribution; empty where its metadata are missing."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        _, _, extra = marker.replace("'", '"').partition("extra == ")
        extra = extra.strip('" ')
        package = name.split("[")[0].split("<")[0].split(">")[0].split("=")[0].split("!")[0].strip()
        if extra and extra not in OWN_TOOLS:
            extras.setdefault(extra, {})[package] = _version(package)
    return extras


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(_size(path) for path in folder.rglob("*") if path.is_file())


def _devices(problems: list[str]) -> tuple[list[Device], int]:
    """Devices torch can compute on and the number of its CPU threads."""
    try:
        import torch
    except Exception as error:  # a broken library may raise anything
        problems.append(f"torch cannot be imported: {_line(error)}")
        return [], 0
    try:
        import torchaudio  # noqa: F401
    except Exception as error:
        problems.append(f"torchaudio cannot be imported: {_line(error)}")
    from asr.precision import fast_bfloat16

    devices = [Device("cpu", _processor(), _memory(), fast_bfloat16())]
    try:
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            devices.append(
                Device(
                    f"cuda:{number}",
                    f"{properties.name} (CUDA {torch.version.cuda})",
                    properties.total_memory,
                    torch.cuda.is_bf16_supported(),
                )
            )
        if torch.backends.mps.is_available():
            devices.append(Device("mps", "Apple GPU", None, False))
    except Exception as error:
        problems.append(f"the GPU cannot be used: {_line(error)}")
    return devices, torch.get_num_threads()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

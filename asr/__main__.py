"""``python -m asr``: the same program as the ``asr`` command (torchrun starts it this way)."""

from asr.cli import run

if __name__ == "__main__":
    run()

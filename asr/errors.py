"""The one exception a user may cause.

The command line prints its message as a single line on stderr and exits with status 1; every other
exception is a bug and keeps its traceback.
"""

import math


class UserError(Exception):
    """Something the user can mend: the message names the file (or option) and the fix."""


def check_range(key: str, number: float, least: float, most: float = math.inf) -> None:
    """Raise :class:`UserError` where a setting is not from ``least`` to ``most``."""
    if not least <= number <= most:
        limit = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise UserError(f"{key}: {number} must be {limit}")

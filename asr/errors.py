"""The one exception a user may cause.

The command line prints its message as a single line on stderr and exits with status 1; every other
exception is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Something the user can mend: the message names the file (or option) and the fix."""

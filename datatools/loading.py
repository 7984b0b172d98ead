"""What a command does before its modules are loaded."""

import os
import signal

__all__ = ["leave_at_ctrl_c"]


def leave_at_ctrl_c() -> None:
    """Leave at once, with its status and no traceback: until the command runs nothing is to be saved."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(130))

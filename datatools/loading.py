"""What a command does before its modules are loaded."""

import os
import signal
from importlib import import_module

__all__ = ["load_and_run"]


def load_and_run(cli: str, entry: str = "main") -> None:
    """Load a module of commands and run it.

    Ctrl-C meanwhile leaves at once, with its status and no traceback: nothing is to be saved yet.

    Args:
        cli: the module's full name.
        entry: the function in it that runs the command.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(130))
    getattr(import_module(cli), entry)()

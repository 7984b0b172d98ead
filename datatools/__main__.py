"""The command `datatools`, also as `python -m datatools`."""

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Load the command and run it. Ctrl-C while it loads, which takes seconds, has nothing to interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(130))
    from datatools.cli import main as run

    run()


if __name__ == "__main__":
    main()

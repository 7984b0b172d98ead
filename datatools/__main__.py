"""The command `datatools`, also as `python -m datatools`."""

from datatools.loading import leave_at_ctrl_c

__all__ = ["main"]


def main() -> None:
    """Load the command and run it."""
    leave_at_ctrl_c()
    from datatools.cli import main as run

    run()


if __name__ == "__main__":
    main()

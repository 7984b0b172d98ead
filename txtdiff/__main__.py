"""The command `txtdiff`, also as `python -m txtdiff`, which is what torchrun starts."""

from datatools.loading import leave_at_ctrl_c

__all__ = ["main"]


def main() -> None:
    """Load the command and run it."""
    leave_at_ctrl_c()
    from txtdiff.cli import main as run

    run()


if __name__ == "__main__":
    main()

"""The commands `txtdiff-eval` and `eval`, also as `python -m eval`, and `report`."""

from datatools.loading import leave_at_ctrl_c

__all__ = ["main", "report_main"]


def main() -> None:
    """Load the command and run it."""
    leave_at_ctrl_c()
    from eval.cli import main as run

    run()


def report_main() -> None:
    """The same for `report`."""
    leave_at_ctrl_c()
    from eval.cli import report_main as run

    run()


if __name__ == "__main__":
    main()

"""The commands `txtdiff-eval` and `eval`, also as `python -m eval`, and `report`."""

from datatools.loading import load_and_run

__all__ = ["main", "report_main"]


def main() -> None:
    """Entry point of txtdiff-eval and eval."""
    load_and_run("eval.cli")


def report_main() -> None:
    """Entry point of report."""
    load_and_run("eval.cli", "report_main")


if __name__ == "__main__":
    main()

"""The command `datatools`, also as `python -m datatools`."""

from datatools.loading import load_and_run

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    load_and_run("datatools.cli")


if __name__ == "__main__":
    main()

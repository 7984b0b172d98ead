"""The command `txtdiff`, also as `python -m txtdiff`, which is what torchrun starts."""

from datatools.loading import load_and_run

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    load_and_run("txtdiff.cli")


if __name__ == "__main__":
    main()

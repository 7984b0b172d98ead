"""`python -m datatools`."""

from datatools.cli import main

if __name__ == "__main__":
    main()

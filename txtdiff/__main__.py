"""`python -m txtdiff`, which is also what torchrun starts."""

from txtdiff.cli import main

main()

"""Suites as lines of text: which there are, and what kinds of text one asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa

from datatools.console.listing import LinesFormat, lines_as
from eval.suites.suite import SuitePrompt, bundled_suites, cells_of, load_suite

__all__ = ["kinds_lines", "suites_lines"]


def suites_lines(form: LinesFormat = "table") -> Iterator[str]:
    """The bundled suites, smallest first."""
    suites = [load_suite(name) for name in bundled_suites()]
    records = [
        {
            "suite": suite.name,
            "version": suite.version,
            "sha256": suite.digest[:8] if form == "table" else suite.digest,
            "prompts": len(suite.prompts),
            "pictures": len(cells_of(suite)),
            "kinds": len({prompt.stratum for prompt in suite.prompts}),
        }
        for suite in suites
    ]
    yield from lines_as(pa.Table.from_pylist(records), form)


def kinds_lines(name: str, form: LinesFormat = "table") -> Iterator[str]:
    """The kinds of text in a suite, with how many prompts there are of each, and one of them.

    Raises:
        InputError: no such suite.
    """
    kinds: dict[str, list[SuitePrompt]] = defaultdict(list)
    for prompt in load_suite(name).prompts:
        kinds[prompt.stratum].append(prompt)
    records = [
        {
            "kind": kind,
            "prompts": len(prompts),
            "described": sum(prompt.capt is not None for prompt in prompts),
            "for example": prompts[0].txt,
        }
        for kind, prompts in sorted(kinds.items())
    ]
    yield from lines_as(pa.Table.from_pylist(records), form)

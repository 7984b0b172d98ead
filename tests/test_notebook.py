"""The notebook runs from top to bottom, and shows pictures and readings."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "demo.ipynb"


def test_the_notebook_goes_from_prompt_to_picture_to_score() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    printed = "".join(output.get("text", "") for output in outputs)
    found = re.search(r"exact match (\d) of 8", printed)
    assert found is not None and int(found[1]) >= 4, printed
    assert "character error rate" in printed

"""What pictures are asked for: prompt suites, versioned and hashed, and the prompt files of others."""

from __future__ import annotations

from eval.suites.suite import Cell, Suite, SuitePrompt, bundled_suites, cells_of, load_suite, read_jsonl

__all__ = ["Cell", "Suite", "SuitePrompt", "bundled_suites", "cells_of", "load_suite", "read_jsonl"]

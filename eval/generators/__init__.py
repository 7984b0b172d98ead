"""Who makes the pictures: a txtdiff cascade, a pipeline of the diffusers library, a folder of anybody's."""

from __future__ import annotations

from eval.generators.generator import Generator, Made, make_batch

__all__ = ["Generator", "Made", "make_batch"]

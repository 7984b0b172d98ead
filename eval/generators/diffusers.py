"""A pipeline of the diffusers library as a generator: text in, pictures out, seeds as everywhere here."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datatools.errors import InputError
from eval.generators.generator import Made
from eval.machine.provenance import name_device
from eval.networks.clip_agreement import clip_prompts
from eval.suites import Cell, Suite, SuitePrompt
from eval.sweep import Setting, grid, make_setting
from eval.sweep.job import DiffusersOptions

__all__ = ["DiffusersGenerator", "diffusers_settings", "full_prompt"]


class DiffusersGenerator:
    """Makes pictures with any pipeline that takes `prompt`, `generator` and gives `.images`.

    Args:
        source: a folder that `save_pretrained` wrote, or a name on the model hub.
        device: of torch.

    Raises:
        InputError: diffusers is not installed, or there is no such pipeline here and none can be had.
    """

    def __init__(self, source: str, options: DiffusersOptions, device: str, batch_size: int) -> None:
        self._pipeline = _load(source).to(device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._size = {} if options.size_px is None else {"height": options.size_px, "width": options.size_px}
        self.batch_size = batch_size

    def make(self, setting: Setting, cells: Sequence[Cell]) -> list[Made]:
        """Pictures of one setting; the noise of each is its cell's own, whatever is in the batch with it."""
        asked = {"num_inference_steps": setting.spec["steps"], "guidance_scale": setting.spec["guidance"]}
        begun = time.perf_counter()
        with _counting_calls(self._pipeline) as calls, torch.no_grad():
            images = self._pipeline(
                prompt=[full_prompt(cell.prompt) for cell in cells],
                # On the CPU whatever the device: the same noise on every machine.
                generator=[torch.Generator("cpu").manual_seed(cell.seed) for cell in cells],
                output_type="np",
                **self._size,
                **{name: value for name, value in asked.items() if value is not None},
            ).images
        seconds = (time.perf_counter() - begun) / len(cells)
        pictures = (np.asarray(images) * 255).round().clip(0, 255).astype(np.uint8)
        # Guidance asks for two pictures in one call; each counts, as it does for cascades.
        n_evaluations = calls[0] / len(cells) if calls[0] else None
        device = name_device(self._pipeline.device)
        return [
            Made(cell, picture, seconds=seconds, n_evaluations=n_evaluations, device=device)
            for cell, picture in zip(cells, pictures, strict=True)
        ]


def diffusers_settings(source: str, suite: Suite, options: DiffusersOptions) -> list[Setting]:
    """Every combination of steps and guidance. A folder is known by its content, a hub name by itself."""
    folder = Path(source)
    name = folder.resolve().name if folder.is_dir() else source
    about: dict[str, Any] = {
        "generator": "diffusers",
        "suite": suite.id,
        "pipeline": _digest(folder) or source,
    }
    about |= {} if options.size_px is None else {"size_px": options.size_px}
    return [
        make_setting(about | point, _label(name, point))
        for point in grid({"steps": options.steps, "guidance": options.guidance})
    ]


def full_prompt(prompt: SuitePrompt) -> str:
    """What the pipeline is told: the prompt as it stands in the suite, else description and text together."""
    return clip_prompts(prompt.txt, prompt.capt, prompt.prompt)["clip_full"] or ""


def _label(name: str, point: dict[str, Any]) -> str:
    steps = "" if point["steps"] is None else f" {point['steps']} steps"
    return name + steps + ("" if point["guidance"] is None else f" s={point['guidance']:g}")


def _digest(folder: Path) -> str | None:
    """sha256 over names and contents of a pipeline's files; None when it is no folder."""
    if not folder.is_dir():
        return None
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _load(source: str) -> Any:
    try:
        from diffusers import DiffusionPipeline

        if importlib.util.find_spec("transformers") is None:  # text encoders of nearly every pipeline
            raise ImportError("no transformers")
    except ImportError as error:
        raise InputError(
            "--diffusers needs the libraries diffusers and transformers", "pip install 'txtdiff[diffusers]'"
        ) from error
    try:
        load: Any = DiffusionPipeline.from_pretrained
        return load(source)
    except Exception as error:  # the hub's client, torch and every pipeline raise their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the diffusers pipeline '{source}' cannot be loaded: {reason}",
            "Give a folder that save_pretrained wrote, or a hub name on a machine that reaches the hub.",
        ) from error


@contextmanager
def _counting_calls(pipeline: Any) -> Iterator[list[int]]:
    """How many pictures went through the denoising network while the block ran."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    count = [0]
    if network is None:
        yield count
        return

    def add(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample: Any = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        count[0] += len(sample)

    handle = network.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield count
    finally:
        handle.remove()

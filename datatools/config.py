"""Settings of a build, and the forms of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datatools.errors import InputError, suggest
from datatools.rejection import CAUSES, Limits
from datatools.transcript import TranscriptSettings
from datatools.worker.machine import available_cpus

__all__ = ["BuildSettings", "ExportFormat", "Speaker"]

ExportFormat = Literal["parquet", "webdataset", "huggingface", "fork"]

Speaker = Literal["first", "confident", "agreeing"]


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How a catalog is built. Nothing here changes what a reader sees; readers have settings of their own."""

    ocr: tuple[str, ...] = ("rapidocr",)
    """Readers by name, in order of preference. None at all: pictures are only looked at."""
    speaker: Speaker = "first"
    """Which reader speaks where several have read: the first named, the most confident one, or the one that
    agrees most with the others."""
    transcript: TranscriptSettings = field(default_factory=TranscriptSettings)
    """Which lines make up transcription and safebox."""
    limits: Limits = field(default_factory=Limits)
    """What a picture may cost before it is decoded."""
    time_limit_s: float = 60.0
    """Seconds one picture may take, decoding and reading together."""
    memory_limit_bytes: int = 2 * 2**30
    """Memory that fetching and decoding one picture may take, beside what its worker holds; Linux alone."""
    workers: int = field(default_factory=available_cpus)
    """Processes that read."""
    runner: Literal["local", "ray"] = "local"
    """Where workers run: processes of this machine, or actors of a Ray cluster."""
    ray_address: str | None = None
    """Of the cluster, as `ray.init` takes it; None: Ray on this machine."""
    chunk_pictures: int = 8
    """Pictures a worker takes at a time."""
    commit_pictures: int = 128
    """Pictures in one commit: what a kill can cost."""
    commit_every_s: float = 10.0
    """Seconds after which a commit is made even if fewer pictures are done."""
    max_edge_px: int | None = None
    """Store pictures with a longer edge shrunk to it, beside the catalog. None: as this catalog was built so
    far, at first as they are. A value that no picture reaches undoes it."""
    estimate_px_scale: bool = False
    """Estimate the px scale of pictures for which none is given and that were not shrunk."""
    retry: tuple[str, ...] | None = None
    """Causes of failures to try again; None: none, (): all."""
    write_txt: Literal["beside"] | Path | None = None
    """Write transcriptions as .txt: beside the pictures, or into a tree of their own below a folder."""
    overwrite_txt: bool = False
    """Write over .txt files that we did not write; each is kept as .txt.orig."""
    sidecars: Literal["jsonl", "fork"] = "jsonl"
    """Form of safeboxes.jsonl and px_scales.jsonl."""
    captions: tuple[str | Path, ...] = ()
    """Lists of captions, files or URLs, beside the source's own captions.jsonl and .caption files."""

    def __post_init__(self) -> None:
        if len(set(self.ocr)) != len(self.ocr):
            raise InputError("a reader is named twice", "Check --ocr.")
        if self.ray_address is not None and self.runner != "ray":
            raise InputError("--ray-address has no effect without --runner ray", "Give both.")
        for cause in self.retry or ():
            if cause not in CAUSES:
                remedy = suggest(cause, CAUSES) or f"Causes are {', '.join(CAUSES)}."
                raise InputError(f"there is no cause '{cause}'", remedy)
        if self.max_edge_px is not None and self.max_edge_px < self.limits.min_edge_px:
            raise InputError(
                f"--max-edge {self.max_edge_px} cannot be used",
                f"Pictures have at least {self.limits.min_edge_px} px an edge.",
            )
        for name in ("time_limit_s", "workers", "chunk_pictures", "commit_pictures"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be more than 0")

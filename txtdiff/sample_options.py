"""The options of `txtdiff sample`, ours and the fork's, as a cascade and a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand

from datatools.console import count_option, say
from datatools.errors import InputError
from txtdiff.pretrained import PREFIX, cascade_paths, recommended, unfamiliar_texts
from txtdiff.training.checkpoint import check_there
from txtdiff.which_weights import parse_weights

if TYPE_CHECKING:  # torch is loaded when pictures are made, not for --help
    from txtdiff.cascade import Cascade
    from txtdiff.sample_files import SamplingPlan

__all__ = ["DEFAULT_BASE", "SampleCommand", "SampleFlags", "sampling_plan", "unescape"]

DEFAULT_BASE = f"{PREFIX}mini"

_BESIDE_FORK_FLAGS = {"out", "exact", "npz", "device"}
"""Options that go with a line of the parent project; its own flags say everything else."""


@dataclass(frozen=True, kw_only=True)
class SampleFlags:
    """Options of sample."""

    base: Annotated[
        Path, typer.Option(metavar="DIR", help="Base model: a run, a checkpoint, or pretrained:NAME.")
    ] = Path(DEFAULT_BASE)
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")]
    upsampler: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Upsampler; repeat it for further stages.")
    ] = None
    weaker: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Lead the base away from this weaker model: needs --set base.autoguidance=2."
        ),
    ] = None
    txt: Annotated[
        list[str] | None,
        typer.Option(help=r"Text in the picture; \n is a new line, \\ a backslash. Repeatable."),
    ] = None
    txt_file: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Text from a file, as it is. Repeatable.")
    ] = None
    capt: Annotated[str | None, typer.Option(help="Description of the picture.")] = None
    label: Annotated[
        int | None, typer.Option("--class", min=0, metavar="N", help="Class, for a model with classes.")
    ] = None
    n: int = count_option(4, "Pictures for each text.")
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same picture.")] = 0
    sampler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:STEPS",
            help="Solver and steps, or the parent project's step list: ddim@ddim50. Default: dpmpp_2m:30, or "
            "pretrained's own.",
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance scale of the base; 1 = none, the default, or pretrained's own."),
    ] = None
    guidance_capt: Annotated[float | None, typer.Option(help="Another guidance scale for the caption.")] = (
        None
    )
    weights: Annotated[
        str, typer.Option(metavar="averaged|raw|RATE", help="Which of a checkpoint's weights.")
    ] = "averaged"
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 16
    exact: Annotated[bool, typer.Option("--exact", help="One at a time: no rounding depends on others.")] = (
        False
    )
    npz: Annotated[bool, typer.Option("--npz", help="Also the parent project's .npz file.")] = False
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto"
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="STAGE.NAME=VALUE",
            help="One sampler setting of base or upsampler; repeat it. See `txtdiff config --sampler`.",
        ),
    ] = None

    def texts(self) -> list[str]:
        """All texts, those from files last."""
        texts = [unescape(text) for text in self.txt or []]
        for path in self.txt_file or []:
            try:
                texts.append(path.read_text("utf-8").removesuffix("\n"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path} cannot be read as text: {error}") from error
        if not texts:
            raise InputError(
                "no text to write", "Give --txt or --txt-file; --txt '' is a picture without text."
            )
        return texts


def unescape(text: str) -> str:
    r"""`\n` becomes a newline and `\\` a backslash; anything else stays."""
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))


class SampleCommand(TyperCommand):
    """A command that lays the parent project's flags aside, in the context, before Typer sees them."""

    FORK_WORDS: ClassVar[str] = "txtdiff.fork_words"

    def parse_args(self, ctx: Any, args: Sequence[str]) -> list[str]:
        """As Typer's, with the words that are ours."""
        from txtdiff.fork import split_words

        own = {field.name for field in fields(SampleFlags)} | {"set", "class", "help"}
        theirs, ours = split_words(args, own)
        if theirs:
            # --txt, --seed and --batch_size are flags of both: in a line of theirs they are theirs.
            theirs, ours = split_words(args, _BESIDE_FORK_FLAGS | {"help"})
        ctx.meta[self.FORK_WORDS] = theirs
        return list(super().parse_args(ctx, ours))


def sampling_plan(flags: SampleFlags, fork_words: Sequence[str]) -> tuple[Cascade, SamplingPlan]:
    """The stages, loaded, and what to sample from them."""
    if fork_words:
        return _fork_sampling_plan(flags, fork_words)
    texts = flags.texts()
    paths = cascade_paths(flags.base, flags.upsampler or [])
    for path in (*paths, *filter(None, (flags.weaker,))):
        check_there(path)
    from txtdiff.cascade import load_cascade
    from txtdiff.sample_files import SamplingPlan, Wishes, check_prompts, make_prompts, plan_stages
    from txtdiff.training.distributed import pick_device

    _tell_unfamiliar(flags.base, texts)
    prompts = make_prompts(texts, flags.capt, flags.n, flags.seed, flags.label)
    device = pick_device(flags.device)
    cascade = load_cascade(paths, parse_weights(flags.weights), weaker=flags.weaker, device=device)
    check_prompts(cascade, prompts)
    wishes = Wishes(flags.sampler, flags.guidance, flags.guidance_capt, tuple(flags.changes or ()))
    settings = plan_stages(cascade, wishes, recommended(flags.base, flags.upsampler or ()))
    if flags.weaker is not None and settings[0].autoguidance == 1:
        raise InputError("--weaker has no effect", "Say how strongly: --set base.autoguidance=2.")
    plan = SamplingPlan(
        prompts=prompts,
        settings=settings,
        out=flags.out,
        batch_size=flags.batch_size,
        exact=flags.exact,
        npz=flags.npz,
    )
    return cascade, plan


def _tell_unfamiliar(base: Path, texts: Sequence[str]) -> None:
    for text in unfamiliar_texts(base, texts):
        what = f"{text!r} is not what {base} was trained to write"
        say(f"{what}; its model card says what is", warning="hardly legible")


def _fork_sampling_plan(flags: SampleFlags, fork_words: Sequence[str]) -> tuple[Cascade, SamplingPlan]:
    from txtdiff.fork.plan import fork_plan
    from txtdiff.sample_files import SamplingPlan
    from txtdiff.training.distributed import pick_device

    for field in fields(SampleFlags):
        if field.name in _BESIDE_FORK_FLAGS or field.default is MISSING:
            continue
        if getattr(flags, field.name) != _default(field.default):
            name = "set" if field.name == "changes" else field.name.replace("_", "-")
            raise InputError(
                f"--{name} and the parent project's {fork_words[0]} are both given", "Use one or the other."
            )
    cascade, prompts, settings, batch_size = fork_plan(fork_words, pick_device(flags.device))
    plan = SamplingPlan(
        prompts=prompts,
        settings=[settings],
        out=flags.out,
        batch_size=batch_size,
        exact=flags.exact,
        npz=flags.npz,
    )
    return cascade, plan


def _default(default: Any) -> Any:
    """A field's default; that of a count is wrapped in its option."""
    return default.default if hasattr(default, "default") else default

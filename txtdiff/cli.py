"""The command `txtdiff`. No logic: options in, one call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from datatools.console import EXIT_SOME_FAILED, count_option, messages, plain, print_causes, run_app
from datatools.errors import InputError
from datatools.flags import flags
from txtdiff.train_options import (
    Changes,
    ConfigFile,
    PresetName,
    TrainCommand,
    TrainFlags,
    run_config,
    run_dir,
)

__all__ = ["app", "main"]

app = typer.Typer(
    help="Diffusion models that write a given text into a picture: train, sample, look inside.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("train", cls=TrainCommand)
@flags(TrainFlags)
def train_command(ctx: typer.Context, flags: TrainFlags, config: ConfigFile = None) -> None:
    """Train a base model or an upsampler; the same command again goes on where it stopped.

    The command lines of the parent project's training scripts are understood too.
    """
    from txtdiff.training.stopping import stop_on_signal
    from txtdiff.training.trainer import train

    settings, out = run_config(flags, config, ctx.meta[TrainCommand.FORK_WORDS]), run_dir(flags)
    with stop_on_signal() as should_stop:
        outcome = train(settings, out, should_stop)
    if outcome.kind == "stopped":
        raise KeyboardInterrupt
    done = "trained" if outcome.kind == "finished" else "was trained before"
    messages.print(
        f"{done} on {outcome.images} images from {outcome.n_rows} pictures; the run is in {out}",
        markup=False,
        soft_wrap=True,
    )
    if outcome.failures:
        print_causes("pictures that could not be read", outcome.failures)
        raise typer.Exit(EXIT_SOME_FAILED)


@dataclass(frozen=True, kw_only=True)
class SampleFlags:
    """Options of sample."""

    base: Annotated[Path, typer.Option(metavar="DIR", help="Base model: a run or a checkpoint.")]
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")]
    upsampler: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Upsampler; repeat it for further stages.")
    ] = None
    txt: Annotated[
        list[str] | None,
        typer.Option(help=r"Text in the picture; \n is a new line, \\ a backslash. Repeatable."),
    ] = None
    txt_file: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Text from a file, as it is. Repeatable.")
    ] = None
    capt: Annotated[str | None, typer.Option(help="Description of the picture.")] = None
    n: int = count_option(4, "Pictures for each text.")
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same picture.")] = 0
    sampler: Annotated[str, typer.Option(metavar="NAME:STEPS", help="Solver and steps.")] = "dpmpp_2m:30"
    guidance: Annotated[float, typer.Option(help="Guidance scale of the base model; 1 = none.")] = 1.0
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
            "--set", metavar="STAGE.NAME=VALUE", help="One sampler setting of a stage: base or upsampler."
        ),
    ] = None

    def texts(self) -> list[str]:
        """All texts, those from files last."""
        from txtdiff.sample_files import unescape

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

    def which_weights(self) -> Any:
        """ "averaged", "raw" or a rate."""
        if self.weights in ("averaged", "raw"):
            return self.weights
        try:
            return float(self.weights)
        except ValueError:
            raise InputError(f"--weights {self.weights}: unknown", "Use averaged, raw or a rate.") from None


@app.command("sample")
@flags(SampleFlags)
def sample_command(flags: SampleFlags) -> None:
    """Make pictures with a given text."""
    from txtdiff.cascade import load_cascade
    from txtdiff.sample_files import SamplingPlan, make_prompts, plan_stages, sample_to_folder
    from txtdiff.training.distributed import pick_device

    prompts = make_prompts(flags.texts(), flags.capt, flags.n, flags.seed)
    paths = [flags.base, *(flags.upsampler or [])]
    cascade = load_cascade(paths, flags.which_weights(), device=pick_device(flags.device))
    settings = plan_stages(cascade, flags.sampler, flags.guidance, flags.guidance_capt, flags.changes or [])
    plan = SamplingPlan(
        prompts=prompts,
        settings=settings,
        out=flags.out,
        batch_size=flags.batch_size,
        exact=flags.exact,
        npz=flags.npz,
    )
    sample_to_folder(cascade, plan)
    messages.print(
        f"{len(prompts)} pictures are in {flags.out}, together in grid.png", markup=False, soft_wrap=True
    )


@app.command("config")
def config_command(config: ConfigFile = None, preset: PresetName = None, changes: Changes = None) -> None:
    """Print all settings with their meaning and value, as a TOML file that train takes."""
    from txtdiff.config_reference import annotated

    settings = run_config(TrainFlags(preset=preset, images=None, changes=changes), config, [])
    typer.echo(annotated(settings), nl=False)


@app.command("convert")
def convert_command(
    fork_run: Annotated[Path, typer.Argument(help="Run directory of the parent project: config.json, *.pt.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directory of ours to make.")],
    step: Annotated[int | None, typer.Option(min=0, help="Which of its steps. Default: the newest.")] = None,
    caption_weights: Annotated[
        str, typer.Option(metavar="pretrained|random|FILE", help="Caption tower, which it does not store.")
    ] = "pretrained",
) -> None:
    """Turn a run of the parent project into a checkpoint."""
    from txtdiff.fork.convert import convert_fork_run

    typer.echo(convert_fork_run(fork_run, out, step, caption_weights))


@app.command("info")
def info_command(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A run or a checkpoint.")],
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print.")] = "table",
) -> None:
    """Describe a checkpoint."""
    from txtdiff.describe import describe

    facts = describe(path)
    if form == "json":
        typer.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<24}{plain(str(value))}")


@app.command("nll")
def nll_command(
    model: Annotated[Path, typer.Option(metavar="DIR", help="Base model: a run or a checkpoint.")],
    catalog: Annotated[Path, typer.Option(metavar="FILE", help="Pictures.")],
    n: int = count_option(64, "How many pictures."),
    steps: Annotated[
        int | None, typer.Option(min=2, help="Timesteps of a coarser process. Default: all.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
) -> None:
    """Bits per dimension: an upper bound on what a lossless code built on the model would spend."""
    from txtdiff.likelihood import measure_likelihood
    from txtdiff.training.distributed import pick_device

    found = measure_likelihood(model, catalog, n, steps, pick_device(device))
    typer.echo(
        f"{found.bits:.4f} ± {found.standard_error:.4f} bits per dimension "
        f"({found.n} pictures, {found.n_steps} timesteps)"
    )


def main() -> None:
    """Entry point."""
    run_app(app)

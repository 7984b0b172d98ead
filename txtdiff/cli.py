"""The command `txtdiff`. No logic: options in, one call.

What does the work is imported by the command that asks for it, once its options are found good: torch takes
seconds, and --help, the facts of a checkpoint or a slip of the pen need none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from datatools.console import EXIT_SOME_FAILED, count_option, messages, plain, print_causes, run_app, say
from datatools.console.flags import flags
from datatools.errors import InputError
from txtdiff.sample_options import SampleCommand, SampleFlags, sampling_plan
from txtdiff.train_options import (
    Changes,
    ConfigFile,
    PresetName,
    TrainCommand,
    TrainFlags,
    run_config,
    training_plan,
)
from txtdiff.training.checkpoint import check_there
from txtdiff.which_weights import parse_weights

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
    plan = training_plan(flags, config, ctx.meta[TrainCommand.FORK_WORDS])
    from txtdiff.training.stopping import stop_on_signal
    from txtdiff.training.trainer import train

    with stop_on_signal() as should_stop:
        outcome = train(plan.settings, plan.out, should_stop, plan.begin)
    if outcome.kind == "stopped":
        raise KeyboardInterrupt
    if not outcome.leads:
        return
    done = "trained" if outcome.kind == "finished" else "was trained before"
    source = "made for it" if outcome.n_rows is None else f"from {outcome.n_rows} pictures"
    messages.print(
        f"{done} on {outcome.images} images {source}; the run is in {plan.out}",
        markup=False,
        soft_wrap=True,
    )
    if outcome.not_uploaded:
        names = ", ".join(path.name for path in outcome.not_uploaded)
        say(f"not copied to {plan.settings.run.upload}: {names}")
    if outcome.failures:
        print_causes("pictures that could not be read", outcome.failures)
    if outcome.failures or outcome.not_uploaded:
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("sample", cls=SampleCommand)
@flags(SampleFlags)
def sample_command(ctx: typer.Context, flags: SampleFlags) -> None:
    """Make pictures with a given text.

    The command lines of the parent project's sampling scripts are understood too.
    """
    cascade, plan = sampling_plan(flags, ctx.meta[SampleCommand.FORK_WORDS])
    from txtdiff.sample_files import sample_to_folder

    sample_to_folder(cascade, plan)
    messages.print(
        f"{len(plan.prompts)} pictures are in {plan.out}, together in grid.png", markup=False, soft_wrap=True
    )


@app.command("config")
def config_command(
    config: ConfigFile = None,
    preset: PresetName = None,
    changes: Changes = None,
    sampler: Annotated[
        bool, typer.Option("--sampler", help="Those of `sample --set STAGE.NAME=VALUE` instead.")
    ] = False,
) -> None:
    """Print all settings with their meaning and value, as a TOML file that train takes."""
    from txtdiff.config_reference import annotated

    if sampler:
        if config or preset or changes:
            raise InputError("--sampler prints the settings of sample", "Give it alone.")
        from txtdiff.sampler_settings import SamplerSettings

        typer.echo(annotated(SamplerSettings()), nl=False)
        return
    settings = run_config(TrainFlags(preset=preset, images=None, changes=changes), config, [])
    typer.echo(annotated(settings), nl=False)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, or one of its checkpoints.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the exported checkpoint goes.")],
    weights: Annotated[
        str, typer.Option(metavar="averaged|raw|RATE", help="Which of the checkpoint's weights.")
    ] = "averaged",
) -> None:
    """Write a checkpoint to give away: averaged weights in half precision, settings, nothing else.

    It is sampled from (--base), started from (--init) and evaluated like any other.
    """
    which = parse_weights(weights)
    check_there(run)
    from txtdiff.training.export import export_weights

    typer.echo(export_weights(run, out, which))


@app.command("convert")
def convert_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Run of the parent project (config.json, *.pt); of ours with --ema-length."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Run directory of ours to make.")],
    step: Annotated[int | None, typer.Option(min=0, help="Which of its steps. Default: the newest.")] = None,
    caption_weights: Annotated[
        str, typer.Option(metavar="pretrained|random|FILE", help="Caption tower, which it does not store.")
    ] = "pretrained",
    ema_length: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", help="Average the weights of a run of ours anew, over this part of it: 0.1."
        ),
    ] = None,
    images: int | None = count_option(
        None, "With --ema-length: after how many images. Default: the newest copy."
    ),
) -> None:
    """Turn a run of the parent project into a checkpoint, or one of ours into one with another average.

    Runs keep what the second needs when averaging.lengths is set, e.g. --set averaging.lengths=0.05,0.1.
    """
    if ema_length is None and images is not None:
        raise InputError(
            "--images has no effect without --ema-length", "--step chooses a step of the parent."
        )
    if ema_length is None:
        from txtdiff.fork.convert import convert_fork_run

        typer.echo(convert_fork_run(run, out, step, caption_weights))
        return
    if step is not None or caption_weights != "pretrained":
        raise InputError("--step and --caption-weights have no effect with --ema-length", "Leave them out.")
    from txtdiff.training.profiles import synthesise

    typer.echo(synthesise(run, ema_length, out, images))


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
    check_there(model)
    from txtdiff.likelihood import measure_likelihood
    from txtdiff.training.distributed import pick_device

    found = measure_likelihood(model, catalog, n, steps, pick_device(device))
    typer.echo(
        f"{found.bits:.4f} ± {found.standard_error:.4f} bits per dimension "
        f"({found.n} pictures, {found.n_steps} timesteps)"
    )
    if found.failures:
        print_causes("pictures that could not be read, and were left out", found.failures)
        raise typer.Exit(EXIT_SOME_FAILED)


def main() -> None:
    """Entry point."""
    run_app(app)

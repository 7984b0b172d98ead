"""The jobs behind the commands: a sweep over a tiny cascade, and a folder of somebody else's pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from eval_fakes import DryPart, Finder, hide, small_suite, store_path
from PIL import Image

import eval.commands.jobs
import eval.run.workers
from datatools.errors import InputError
from eval.commands.jobs import run_sweep, score_folder
from eval.commands.numbers import floats
from eval.commands.sweep_flags import SweepFlags
from eval.generators.cascade import CascadeGenerator, cascade_settings
from eval.generators.folder import load_prompts
from eval.reading.pictures import load_picture
from eval.run import Plan, make_pictures, write_plan
from eval.run.plans import SweepPart, plan_sweep
from eval.run.workers import SweepTask, SweepWork, make_spread
from eval.scoring.options import ScoreOptions
from eval.store import open_store
from eval.suites import cells_of, load_suite
from eval.sweep import make_setting
from eval.sweep.job import Spread, SweepJob
from eval.sweep.options import SweepOptions, make_sweep, read_sweep
from txtdiff.cascade import Cascade, Stage, load_cascade
from txtdiff.conditioning import StageModel
from txtdiff.config import RunConfig
from txtdiff.config_files import config_to_toml
from txtdiff.diffusion.config import DiffusionConfig
from txtdiff.model.config import ModelConfig
from txtdiff.model.unet import build_network
from txtdiff.training.checkpoint import write_checkpoint
from txtdiff.training.contents import CONFIG, MODEL, STATE, average_file
from txtdiff.which_weights import parse_weights

SWEEP = SweepOptions(sampler=("ddim:2", "dpmpp_2m:2"), guidance=(1.0, 3.0))


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """A base model of 16 px whose weights are noise, so that every setting makes other pictures."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "image_size_px": 16,
            "channels": 64,
            "channel_mult": [1],
            "n_res_blocks": 1,
            "predicts_variance": False,
            "text": {"max_length": 32, "width": 32, "depth": 1},
        }
    )
    network = build_network(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return Cascade((Stage(StageModel(network, DiffusionConfig(variance="fixed_small")), "tiny", "d" * 64),))


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Finder:
    """Takes the place of the real reader; noise holds no text for it."""

    class Blind(Finder):
        def read(self, pictures):  # type: ignore[no-untyped-def]
            if any(len(picture) != 32 for picture in pictures):
                self.n_read += len(pictures)
                return [[] for _ in pictures]
            return super().read(pictures)

    engine = Blind()
    monkeypatch.setattr(eval.commands.jobs, "find_engine", lambda name: engine)
    return engine


@pytest.fixture
def checkpoint(cascade: Cascade, tmp_path: Path) -> Path:
    """The cascade's base as a run with one checkpoint."""
    return save_checkpoint(cascade.stages[0], tmp_path / "run").parent


def save_checkpoint(stage: Stage, run_dir: Path, images: int = 7) -> Path:
    config = RunConfig(model=stage.config, diffusion=stage.model.diffusion)
    weights = stage.model.network.state_dict()
    files = {MODEL: weights, average_file(config.averaging.rates[0]): weights}
    run_dir.mkdir(exist_ok=True)
    texts = {CONFIG: config_to_toml(config), STATE: json.dumps({"images": images})}
    return write_checkpoint(run_dir, images, files | texts)


def test_a_sweep_makes_every_setting_and_goes_on_where_it_is(
    checkpoint: Path, reader: Finder, tmp_path: Path
) -> None:
    job, path = SweepJob(bases=[checkpoint], limit=3, sweep=SWEEP, batch_size=2), store_path(tmp_path)
    counts = run_sweep(path, job, ["finder"], ScoreOptions())
    assert (counts.expected, counts.done, counts.no_text) == (12, 12, 12)
    n_read = reader.n_read
    with open_store(path) as store:
        rows = store.rows("SELECT DISTINCT n_evaluations FROM samples ORDER BY 1")
        reasons = dict(store.rows("SELECT metric, reason FROM scores WHERE value IS NULL"))
    assert rows == [(2.0,), (4.0,)]
    assert "--reference" in reasons["fid_clean"]
    assert "--clip-model" in reasons["clip_desc"]
    assert run_sweep(path, job, ["finder"], ScoreOptions()) == counts
    assert reader.n_read == n_read


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "spread_out",
    [
        pytest.param(Spread(workers=2, devices=("cpu", "cpu")), id="processes"),
        pytest.param(Spread(workers=1, devices=("cpu",), runner="ray"), id="ray", marks=pytest.mark.slow),
    ],
)
def test_a_sweep_spread_over_workers_makes_the_same_pictures(
    spread_out: Spread, checkpoint: Path, tmp_path: Path
) -> None:
    stores = {}
    for name, spread in {"one": Spread(), "spread": spread_out}.items():
        stores[name] = tmp_path / f"{name}.duckdb"
        job = SweepJob(bases=[checkpoint], limit=3, batch_size=2, sweep=SWEEP, spread=spread)
        counts = run_sweep(stores[name], job, ["finder"], ScoreOptions())
        assert (counts.expected, counts.done) == (12, 12)
        run_sweep(stores[name], job, ["finder"], ScoreOptions())  # nothing is left to do
    rows = "SELECT setting_id, prompt_id, seed, status, n_evaluations, sha256 FROM samples ORDER BY ALL"
    with open_store(stores["one"]) as one, open_store(stores["spread"]) as spread_store:
        alone, others = one.rows(rows), spread_store.rows(rows)
        assert [row[:5] for row in alone] == [row[:5] for row in others]
        for (*_, a), (*_, b) in zip(alone, others, strict=True):
            gaps = load_picture(one, a).astype(int) - load_picture(spread_store, b).astype(int)
            assert abs(gaps).max() <= 1  # other numbers of threads round otherwise
        [(n_runs,)] = spread_store.rows("SELECT count(*) FROM runs")
    assert n_runs == 2


@pytest.mark.usefixtures("reader")
def test_weights_that_a_checkpoint_does_not_hold_are_told_before_anything_is_made(tmp_path: Path) -> None:
    """An exported one, as those that come along, has one set of weights."""
    store = tmp_path / "none.duckdb"
    for rate in (0.999, 0.5):
        job = SweepJob(bases=[Path("pretrained:mini/base")], limit=1, sweep=SWEEP, weights=["averaged", rate])
        with pytest.raises(InputError, match=f"has no average of rate {rate}") as told:
            run_sweep(store, job, ["finder"], ScoreOptions())
        assert told.value.remedy == "It holds one set of weights: averaged."
    assert not store.exists()


def test_a_picture_at_which_a_worker_dies_is_a_failed_cell(cascade: Cascade) -> None:
    setting = cascade_settings(cascade, load_suite("smoke", 1), SWEEP, {})[0]
    task = SweepTask(0, setting, cells_of(load_suite("smoke", 1))[0])
    outcome = SweepWork((), 1, ("cpu",)).failed(task, "crashed", "the worker ended with exit status -9")
    assert (outcome[0], outcome[1].picture, outcome[1].cause) == (task, None, "crashed")


def small_plan(n: int) -> Plan:
    suite = small_suite(n)
    return Plan(suite, cells_of(suite), [make_setting({"number": 0}, "zero")], run_id="r")


def test_a_generator_that_workers_cannot_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("here_only")
    module.Part = type("Part", (), {"__module__": "here_only", "plan": small_plan(1)})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "here_only", module)
    with open_store(store_path(tmp_path), "write") as store, pytest.raises(InputError) as error:
        make_spread(store, [module.Part()], 2, Spread(workers=1))
    said = "the generators cannot be opened in a worker: ModuleNotFoundError: No module named 'here_only'"
    assert error.value.what == said


@pytest.mark.parametrize("is_spread", [False, True])
def test_pictures_at_which_the_generator_raises_are_failed_cells_and_the_reason_is_said_once(
    is_spread: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = small_plan(6)
    part = DryPart(plan)
    with open_store(store_path(tmp_path), "write") as store:
        write_plan(store, plan)
        if is_spread:
            make_spread(store, [cast(SweepPart, part)], 4, Spread(workers=1))
        else:
            make_pictures(store, plan, part.generator("cpu", 4))
        rows = store.rows("SELECT prompt_id, status, cause FROM samples ORDER BY prompt_id")
    dry = {"p1", "p3"}
    assert rows == [
        (name, *(("failed", "crashed") if name in dry else ("done", None)))
        for name in ("none", "p0", "p1", "p2", "p3", "p4")
    ]
    assert capsys.readouterr().err.count("zero: no picture, ValueError: the paint is dry") == 1


def test_a_plan_names_the_settings_that_the_loaded_cascade_has(checkpoint: Path) -> None:
    [part] = plan_sweep(SweepJob(bases=[checkpoint], limit=3, sweep=SWEEP))
    loaded = load_cascade(part.checkpoints)
    about = {"weights": "averaged", "images": 7}
    assert part.plan.settings == cascade_settings(loaded, part.plan.suite, SWEEP, about)


def test_over_checkpoints_each_setting_says_how_many_images_it_saw(
    cascade: Cascade, checkpoint: Path
) -> None:
    save_checkpoint(cascade.stages[0], checkpoint, images=21)
    parts = plan_sweep(SweepJob(bases=[checkpoint], over="checkpoints", sweep=SWEEP))
    assert [[setting.spec["images"] for setting in part.plan.settings] for part in parts] == [
        [7] * 4,
        [21] * 4,
    ]
    labels = {setting.label for part in parts for setting in part.plan.settings}
    assert {"run/step-7 ddim:2 s=1", "run/step-21 ddim:2 s=1"} < labels


def test_a_checkpoint_of_another_name_is_the_same_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    before = plan_sweep(SweepJob(bases=[checkpoint / "step-7"], sweep=SWEEP))
    (checkpoint / "step-7").rename(tmp_path / "best")
    after = plan_sweep(SweepJob(bases=[tmp_path / "best"], sweep=SWEEP))
    assert after[0].plan.settings == before[0].plan.settings
    assert after[0].plan.settings[0].spec["images"] == 7


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"bases": [Path("tpyo")]}, "tpyo"),
        ({"suite": "smkoe"}, "smoke"),
        ({"limit": 0}, "limit"),
        ({"reference": Path("no.duckdb")}, "no.duckdb"),
        ({"sweep": SweepOptions(sampler=("euler:3",))}, "euler"),
        ({"weights": ["averaged", 0.5]}, "no average of rate 0.5"),
        ({"sweep": SweepOptions(autoguidance=(2.0,))}, "--weaker"),
        ({"weaker": Path("tpyo")}, "--autoguidance"),
        ({"over": "checkpoints", "bases": [Path(__file__).parent]}, "holds no checkpoints"),
        ({"spread": Spread(devices=("gpu0",))}, "device 'gpu0' is unknown"),
        ({"spread": Spread(devices=("cpu", "cuda:9999"))}, "device cuda:9999"),
    ],
)
@pytest.mark.usefixtures("reader")
def test_a_wrong_input_is_told_before_anything_is_made(
    wrong: dict[str, Any], named: str, checkpoint: Path, tmp_path: Path
) -> None:
    job = replace(SweepJob(bases=[checkpoint], limit=3, sweep=SWEEP), **wrong)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=named):
        run_sweep(tmp_path / "new" / "eval.duckdb", job, ["finder"], ScoreOptions())
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("reader")
def test_a_second_cascade_that_does_not_fit_is_told_before_the_first_samples(
    cascade: Cascade, checkpoint: Path, tmp_path: Path
) -> None:
    large = ModelConfig.model_validate(
        cascade.stages[0].config.model_dump() | {"image_size_px": 32, "upsampler": {"small_size_px": 16}}
    )
    upsampler = stage_of(large)
    save_checkpoint(upsampler, tmp_path / "up")
    small = ModelConfig.model_validate(cascade.stages[0].config.model_dump() | {"image_size_px": 8})
    save_checkpoint(stage_of(small), tmp_path / "small")
    fitting = SweepJob(bases=[checkpoint], upsamplers=[tmp_path / "up"], limit=1, sweep=SWEEP)
    assert len(plan_sweep(fitting)[0].checkpoints) == 2
    job = replace(fitting, bases=[checkpoint, tmp_path / "small"])
    with pytest.raises(InputError, match="enlarges pictures of 16 px"):
        run_sweep(store_path(tmp_path), job, ["finder"], ScoreOptions())
    assert not store_path(tmp_path).exists()


def stage_of(config: ModelConfig) -> Stage:
    return Stage(StageModel(build_network(config), DiffusionConfig(variance="fixed_small")), "stage")


@pytest.mark.usefixtures("reader")
def test_a_refused_folder_leaves_no_store(folder: Path) -> None:
    path = write_prompts(folder, [{"file": "../a.png", "txt": "a"}])
    with pytest.raises(InputError, match="leaves the folder"):
        score_folder(store_path(folder.parent), folder, path, None, None, ["finder"], ScoreOptions())
    assert not store_path(folder.parent).exists()


def test_the_picture_of_a_cell_depends_on_setting_and_cell_alone(cascade: Cascade) -> None:
    suite = load_suite("smoke", 4)
    settings = cascade_settings(cascade, suite, SWEEP, {})
    assert len({setting.id for setting in settings}) == len({setting.label for setting in settings}) == 4
    other = CascadeGenerator(cascade, 4).make(settings[1], cells_of(suite))[2]
    [one] = CascadeGenerator(cascade, 1).make(settings[1], cells_of(suite)[2:3])
    assert one.cell == other.cell
    assert one.picture is not None
    assert other.picture is not None
    assert abs(one.picture.astype(int) - other.picture.astype(int)).max() <= 1


def test_a_setting_that_the_sampler_refuses_is_a_user_error(cascade: Cascade) -> None:
    suite = load_suite("smoke", 1)
    with pytest.raises(InputError, match="euler"):
        cascade_settings(cascade, suite, SweepOptions(sampler=("euler:3",)), {})
    with pytest.raises(InputError, match="guidance_rescale"):
        cascade_settings(cascade, suite, SweepOptions(guidance_rescale=(0.5,)), {})
    spoilt = SweepOptions(sampler=("ddim:3",), guidance=(3.0,), guidance_interval=((0.9, 0.2),))
    with pytest.raises(InputError) as refused:
        cascade_settings(cascade, suite, spoilt, {})
    assert refused.value.what.startswith("ddim:3: guidance_interval 0.9, 0.2: give two rising numbers")


def test_settings_differ_by_range_interval_and_a_weaker_model(
    cascade: Cascade, checkpoint: Path, tmp_path: Path
) -> None:
    base = cascade.stages[0]
    other = StageModel(build_network(base.config).eval(), base.model.diffusion)
    weaker = save_checkpoint(Stage(other, "other"), tmp_path / "weaker")
    path = tmp_path / "sweep.toml"
    path.write_text(
        'sampler = ["ddim:2"]\nguidance = [3]\nguidance_interval = [[0.2, 0.9]]\nclamp = [true, false]\n'
    )
    flags = SweepFlags(base=[checkpoint], weaker=weaker, autoguidance="1,2", sweep=path, limit=1)
    [part] = plan_sweep(flags.job())
    labels = [setting.label for setting in part.plan.settings]
    first = "ddim:2 s=3 guided=0.2-0.9"
    assert labels == [
        first,
        f"{first} unclamped",
        "ddim:2 s=3 auto=2 guided=0.2-0.9",
        f"{labels[2]} unclamped",
    ]
    assert ["weaker" in setting.spec for setting in part.plan.settings] == [False, False, True, True]
    generator = part.generator("cpu", 1)
    made = [generator.make(setting, part.plan.cells)[0].picture for setting in part.plan.settings]
    assert len({picture.tobytes() for picture in made if picture is not None}) == 4


def test_settings_differ_by_the_fork_s_steps_and_by_what_upsamplers_do(
    cascade: Cascade, tmp_path: Path
) -> None:
    small = cascade.stages[0].config.model_dump()
    upsampler = stage_of(
        ModelConfig.model_validate(small | {"image_size_px": 32, "upsampler": {"small_size_px": 16}})
    )
    with torch.no_grad():
        for parameter in upsampler.model.network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    path = tmp_path / "sweep.toml"
    path.write_text('sampler = ["ddim:3", "ddim@ddim4"]\nupsampler_eta = [0, 0.5]\n')
    flags = SweepFlags(sweep=path, upsampler_sampler=["ddim@2,1"], upsampler_dynamic_threshold="0.8")
    flags = replace(flags, upsampler_consistency="0.5")
    suite = load_suite("smoke", 1)
    whole = Cascade((cascade.stages[0], upsampler))
    settings = cascade_settings(whole, suite, flags.job().sweep, {})
    assert [setting.label for setting in settings] == [
        f"{base} s=1{noise} upsampler-threshold=0.8 upsampler-consistency=0.5"
        for base in ("ddim:3", "ddim@ddim4")
        for noise in ("", " upsampler-eta=0.5")
    ]
    assert [setting.spec["n_steps"] for setting in settings] == [3, 3, 4, 4]
    assert [setting.spec["upsamplers"][0]["n_steps"] for setting in settings] == [3] * 4
    made = [CascadeGenerator(whole, 1).make(setting, cells_of(suite))[0] for setting in settings]
    assert len({one.picture.tobytes() for one in made if one.picture is not None}) == 4
    assert [one.n_evaluations for one in made] == [6, 6, 7, 7]


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ({"sampler": ["ddim@fine"]}, "spacing 'fine' is unknown"),
        ({"sampler": ["heun@20"]}, "the parent project has no sampler heun"),
        ({"sampler": ["heun:2"], "eta": [0.5]}, "eta does nothing for heun"),
        ({"upsampler_eta": [0.5]}, "upsampler_eta: nothing here has an upsampler"),
        ({"upsampler_consistency": [1]}, "upsampler_consistency: nothing here has an upsampler"),
        ({"noise_level": [5]}, "noise_level: nothing here has an upsampler"),
    ],
)
def test_an_axis_without_effect_is_refused(axes: dict[str, Any], named: str, checkpoint: Path) -> None:
    with pytest.raises(InputError, match=named):
        plan_sweep(SweepJob(bases=[checkpoint], limit=1, sweep=make_sweep(axes)))


def test_a_sweep_can_be_written_down(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('sampler = ["ddim:5", "plms:5"]\nguidance = [1, 3]\nupsampler_guidance = 2')
    assert make_sweep(read_sweep(path)).axes()["guidance"] == (1.0, 3.0)
    path.write_text("smapler = []")
    with pytest.raises(InputError, match="Did you mean 'sampler'"):
        read_sweep(path)
    path.write_text("guidance = [")
    with pytest.raises(InputError, match="cannot be read"):
        read_sweep(path)
    with pytest.raises(InputError, match="guidance"):
        make_sweep({"guidance": ["much"]})


def test_words_of_the_command_line() -> None:
    assert floats("1,3.5") == (1.0, 3.5)
    assert floats(None) is None
    assert [parse_weights(text) for text in ("averaged", "raw", "0.99")] == ["averaged", "raw", 0.99]
    assert SweepFlags(weights="averaged,raw,0.99").job().weights == ["averaged", "raw", 0.99]
    with pytest.raises(InputError, match="--noise-level is for --base"):
        SweepFlags(diffusers="somebody/pipeline", noise_level="50").job()
    with pytest.raises(InputError, match="list of numbers"):
        floats("1;3")
    with pytest.raises(InputError, match="no weights"):
        parse_weights("ema")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of which is broken, and a prompts file that names a fourth."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(hide("Sign")).save(folder / "a.png")
    Image.fromarray(hide("other", 1)).save(folder / "b.png")
    (folder / "c.png").write_bytes(b"no picture")
    rows = [{"file": f"{name}.png", "txt": "sign", "capt": "a wall"} for name in "abcd"]
    write_prompts(folder, rows)
    return folder


def write_prompts(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder.parent / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_folder_is_scored_missing_and_broken_pictures_as_worst(folder: Path, reader: Finder) -> None:
    prompts = folder.parent / "prompts.jsonl"
    path = store_path(folder.parent)
    counts = score_folder(path, folder, prompts, None, None, ["finder"], ScoreOptions())
    with open_store(path) as store:
        causes = store.rows("SELECT cause FROM samples WHERE cause IS NOT NULL ORDER BY 1")
        [(em, n, n_expected)] = store.rows("SELECT value, n, n_expected FROM scores WHERE metric = 'em_ci'")
        labels = store.rows("SELECT label, count(*) FROM settings GROUP BY 1")
    assert (counts.expected, counts.done, counts.failed) == (4, 2, 2)
    assert causes == [("missing",), ("unknown_format",)]
    assert (em, n, n_expected) == (0.25, 2, 4)
    assert labels == [("pictures", 1)]


def test_pictures_of_one_text_are_one_prompt(folder: Path) -> None:
    prompts = load_prompts(folder.parent / "prompts.jsonl", folder)
    assert len(prompts.suite.prompts) == 1
    assert [cell.seed for cell in prompts.cells] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"file": "../a.png", "txt": "a"}, "leaves the folder"),
        ({"file": "/etc/passwd", "txt": "a"}, "leaves the folder"),
        ({"txt": "a"}, "'file'"),
        ({"file": "a.png"}, "'txt'"),
        ({"file": "a.png", "txt": 3}, "'txt'"),
        ({"file": "a.png", "txt": "a", "seed": -1}, "'seed'"),
        ({"file": "a.png", "txt": "a", "capt": ["x"]}, "'capt'"),
        ({"file": "a.png", "txt": "a" * 30_000}, "characters"),
    ],
)
def test_a_line_that_does_not_fit_is_named(folder: Path, row: dict[str, object], named: str) -> None:
    path = write_prompts(folder, [{"file": "b.png", "txt": "fine"}, row])
    with pytest.raises(InputError, match="picture 2") as raised:
        load_prompts(path, folder)
    assert named in str(raised.value)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    Image.fromarray(hide("x")).save(outside)
    (folder / "link.png").symlink_to(outside)
    with pytest.raises(InputError, match="leaves the folder"):
        load_prompts(write_prompts(folder, [{"file": "link.png", "txt": "x"}]), folder)


@pytest.mark.parametrize("text", ["", "not json", "[1]", '{"a": 1', "\xff"])
def test_a_prompts_file_that_is_none_is_refused(folder: Path, text: str) -> None:
    path = folder.parent / "prompts.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"prompts\.jsonl"):
        load_prompts(path, folder)

"""The project as a whole: declared dependencies are used, commands exist, what is written down can be run."""

from __future__ import annotations

import ast
import compileall
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("datatools", "txtdiff", "eval")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    return normalised(re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0])


def imported_modules(tree: ast.Module) -> set[str]:
    """Top-level modules of the import statements."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def wrapped_modules(tree: ast.Module) -> set[str]:
    """Last parts of dotted imports: torch.utils.tensorboard is tensorboard under torch's name."""
    return {n.module.split(".")[-1] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}


def named_modules(tree: ast.Module) -> set[str]:
    """Names in strings, for modules that find others by name with importlib; elsewhere they prove nothing."""
    if "importlib" not in imported_modules(tree):
        return set()
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in strings if isinstance(value, str) and value.isidentifier()}


TREES = [ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
IMPORTED = set().union(*map(imported_modules, TREES))
WRAPPED = set().union(*map(wrapped_modules, TREES))
NAMED = set().union(*map(named_modules, TREES))
EXTRAS = PROJECT["optional-dependencies"]


def modules_of(distribution: str) -> set[str]:
    """Top-level modules that an installed distribution brings."""
    names = importlib.metadata.packages_distributions()
    return {m for m, owners in names.items() if distribution in {normalised(o) for o in owners}}


USED_BY_PACKAGES = PROJECT["dependencies"] + [r for name in EXTRAS if name != "dev" for r in EXTRAS[name]]


@pytest.mark.parametrize("requirement", USED_BY_PACKAGES)
def test_every_declared_dependency_is_imported(requirement: str) -> None:
    name = requirement_name(requirement)
    # What only an extra brings need not be installed here; its module is then called like it.
    modules = modules_of(name) or {name.replace("-", "_")}
    assert modules & (IMPORTED | WRAPPED | NAMED), f"{name} is declared and imported nowhere"


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_dependency_is_installed(requirement: str) -> None:
    assert modules_of(requirement_name(requirement))


def test_every_import_is_declared() -> None:
    declared = {requirement_name(r) for r in PROJECT["dependencies"]}
    for extra in EXTRAS.values():
        declared |= {requirement_name(r) for r in extra}
    owners = importlib.metadata.packages_distributions()
    foreign = IMPORTED - set(sys.stdlib_module_names) - set(PACKAGES)
    undeclared = {m for m in foreign if m in owners and not declared & {normalised(o) for o in owners[m]}}
    assert not undeclared, f"imported and not declared in pyproject.toml: {sorted(undeclared)}"


def test_constraints_pin_every_dependency_and_hold_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {requirement_name(line) for line in text.splitlines() if re.match(r"^[A-Za-z0-9]", line)}
    wanted = {requirement_name(r) for r in PROJECT["dependencies"]}
    assert wanted <= pinned, f"not pinned: {sorted(wanted - pinned)}"
    assert "://" not in text


def test_every_module_compiles() -> None:
    assert all(compileall.compile_dir(ROOT / package, quiet=1, force=True) for package in PACKAGES)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bin_dir = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": bin_dir + os.pathsep + os.environ["PATH"], **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)


EVAL_NAMES = {
    "everyday": ["txtdiff-eval", "report", "--help"],
    "eval by env": ["env", "eval", "report", "--help"],
    "module": [sys.executable, "-m", "eval", "report", "--help"],
    "typed in a shell, where eval is a builtin": ["bash", "-c", "eval report --help"],
    "typed in a POSIX shell": ["sh", "-c", "eval report --help"],
}


@pytest.mark.parametrize("command", EVAL_NAMES.values(), ids=EVAL_NAMES.keys())
def test_the_leaderboard_answers_under_every_name(command: list[str]) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "leaderboard" in done.stdout
    assert "--store" in done.stdout


COMMANDS = {
    "datatools": ["build-catalog", "synth", "stats", "query"],
    "txtdiff": ["train", "sample", "config", "info"],
    "txtdiff-eval": ["run", "score", "report", "query"],
}


@pytest.mark.parametrize("program", COMMANDS)
def test_help_lists_the_commands(program: str) -> None:
    done = run(program, "--help", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    missing = [name for name in COMMANDS[program] if name not in done.stdout]
    assert not missing


@pytest.mark.parametrize("program", COMMANDS)
def test_an_unknown_option_is_one_message_and_exit_code_2(program: str) -> None:
    done = run(program, COMMANDS[program][0], "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no-such-option" in done.stderr


# What reads a command line and says what is wrong with it; and what opens the file that it names.
LIGHT = {"typer", "rich", "pydantic", "tomli_w", "rapidfuzz", "regex"}
OPENERS = {"duckdb", "safetensors"}
HEAVY = IMPORTED - set(sys.stdlib_module_names) - set(PACKAGES) - LIGHT

MISTAKES = {
    "datatools": [
        "build-catalog in --catalog c.duckdb --max-pixels 0",
        "build-catalog in --catalog c.duckdb --no-such-option",
        "synth out --profile plane",
        "stats --catalog missing",
        "query SELECT --catalog missing",
        "export out --catalog missing --format parquet",
        "pack out --catalog missing --short-edge 64",
        "check --catalog missing",
        "gallery --catalog missing",
    ],
    "txtdiff": [
        "train --preset mino-base",
        "train --set optim.learning_rate=1",
        "sample --base missing --txt a --out out",
        "sample --txt a",
        "info missing",
        "export missing --out out",
        "nll --model missing --catalog missing",
        "info pretrained:mini/base",
    ],
    "eval": [
        "run --guidance many --store s",
        "score in --prompts p --store s --fd resnet",
        "report --store missing",
        "compare a b --store missing",
        "query SELECT --store missing",
        "compat --store missing",
        "calibrate --store missing",
    ],
}

ANSWERED = {"info pretrained:mini/base"}  # what is no mistake

IMPORTS = """
import importlib, sys
main = importlib.import_module(sys.argv[1] + ".cli").main
for words in ["--help", *sys.argv[2:]]:
    sys.argv = ["command", *words.split()]
    try:
        main()
    except SystemExit as end:
        print("IMPORTED", end.code, words.split()[0], *{name.split(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("package", MISTAKES)
def test_help_and_mistakes_wait_for_no_library_that_does_the_work(package: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, package, *MISTAKES[package]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("IMPORTED")]
    expected = [0, *(0 if words in ANSWERED else 2 for words in MISTAKES[package])]
    assert [int(status) for status, *_ in said] == expected, done.stderr
    (_, _, *at_help), *after = said
    assert HEAVY & set(at_help) == set()
    for words, (_, _, *names) in zip(MISTAKES[package], after, strict=True):
        allowed = OPENERS | ({"numpy"} if words in ANSWERED else set())  # safetensors lists tensors with it
        assert (words, HEAVY & set(names) - allowed) == (words, set())


ROOMS = (ROOT / "docs" / "rooms.md").read_text()


def rooms_on_disk(package: Path) -> set[str]:
    modules = {path.name for path in package.glob("[!_]*.py")}
    return modules | {f"{path.name}/" for path in package.iterdir() if list(path.glob("*.py"))}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_of_rooms_names_those_that_there_are(package: str) -> None:
    told = set(re.search(rf"^    {package}/\n((?:      .*\n)+)", ROOMS, re.MULTILINE)[1].split("\n      "))  # type: ignore[index]
    named = {line.split()[0] for line in told}
    there = rooms_on_disk(ROOT / package)
    if package == "txtdiff":  # its command's modules stand in one line; TOML files are a room too
        named, there = named - {"presets/"}, {"cli.py"} | {name for name in there if name.endswith("/")}
    assert named == there

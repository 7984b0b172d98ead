"""Run many scripts of this project, each in a process of its own, without each importing the same again.

A mother process imports what several of them need, half a minute each time on a busy core, opens nothing and
computes nothing; every script runs in a process forked from it, as its main module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from run import Benchmark

ROOT = Path(__file__).parents[1]

MOTHER = """
import json, os, runpy, sys, traceback
import cv2, open_clip, open_clip.tokenizer, rapidocr, scipy.stats, skimage, torch
import datatools.build, datatools.synth, eval.commands.jobs, txtdiff.conditioning, txtdiff.training.trainer
for line in sys.stdin:
    script, options, said = json.loads(line)
    pid = os.fork()
    if pid == 0:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(os.open(said + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.argv, status = [script, *options], 0
        sys.path[0] = os.path.dirname(script)
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as done:
            status = done.code if isinstance(done.code, int) else int(done.code is not None)
            if isinstance(done.code, str):
                print(done.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Mother:
    """Runs scripts one after the other."""

    def __enter__(self) -> Self:
        # The suite runs one worker a core: more threads than that only wait for each other.
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", MOTHER],
            cwd=ROOT,
            env=os.environ | one_thread,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def printed(self, line: Benchmark, said: Path) -> str:
        """What the short form of a line of a list prints, without blanks; it must end well."""
        done = self.run(line.script, line.short, said)
        assert done.returncode == 0, done.stderr
        return done.stdout.replace(" ", "")

    def run(self, script: Path, options: list[str], said: Path) -> subprocess.CompletedProcess[str]:
        """Run `script`, relative to the project; what it prints passes through the file `said`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = [str(ROOT / script), *options]
        self._process.stdin.write(json.dumps([command[0], options, str(said)]) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        printed, complained = said.read_text(), Path(f"{said}.err").read_text()
        return subprocess.CompletedProcess(command, status, printed, complained)

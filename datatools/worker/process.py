"""The life of a worker process: open what it needs once, then answer chunks until the parent hangs up.

The work arrives pickled twice over, so that what cannot be imported here is told to the parent in words.
"""

from __future__ import annotations

import pickle
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from datatools.errors import InputError, in_words

__all__ = ["Broken", "hear", "serve"]

_LAST_WORDS_S = 5.0  # a process that closed its pipe is about to end


@dataclass(frozen=True, slots=True)
class Broken:
    """The last answer of a worker: why there is no other."""

    detail: str


def serve(pipe: Connection, pickled_setup: bytes, number: int) -> None:
    """Be a worker.

    Args:
        pickled_setup: a `datatools.runner.WorkSetup`.
        number: the lowest that no living worker has.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # nobody listens any more
        try:
            _answer(pipe, pickle.loads(pickled_setup).open(number))
        except InputError as error:
            pipe.send(InputError(error.what, error.remedy))
        except Exception as error:  # foreign code, or a module that is not there
            pipe.send(Broken(in_words(error)))


def hear(pipe: Connection, process: BaseProcess) -> Any:
    """The next answer of a worker: `InputError` if what it was given does not open; `Broken` is its last."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join(_LAST_WORDS_S)
        return Broken(_ended(process.exitcode))


def _ended(status: int | None) -> str:
    if status is None or status >= 0:
        return f"the worker ended with exit status {status}"
    hint = ", as when memory runs out" if -status == signal.SIGKILL else ""
    return f"the worker was ended by signal {-status}{hint}"


def _answer(pipe: Connection, worker: Any) -> None:
    pipe.send(worker.identities())
    chunks: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
    # Chunks are taken from the pipe at once: two sides that send to each other would wait for ever.
    threading.Thread(target=_receive, args=(pipe, chunks), daemon=True).start()
    while chunk := chunks.get():
        pipe.send(worker.read(chunk))


def _receive(pipe: Connection, chunks: SimpleQueue[tuple[Any, ...]]) -> None:
    """Put chunks into the queue; an empty one says that no more will come."""
    with suppress(EOFError, OSError):
        while True:
            chunks.put(pipe.recv())
    chunks.put(())

"""Whether a host answers at all, told within seconds: downloads that cannot succeed are not begun."""

from __future__ import annotations

import http.client
import queue
import ssl
import urllib.error
import urllib.request
from threading import Thread

__all__ = ["unreachable"]


def unreachable(url: str, timeout_s: float = 5.0) -> str | None:
    """Why `url` cannot be reached, in words without the address; None when its host answers, with anything.

    Name resolution ignores socket timeouts, so the question runs in a thread that is given `timeout_s`
    seconds in all. Proxies of the environment are used, as a download would use them.
    """
    answers: queue.Queue[str | None] = queue.Queue()
    Thread(target=lambda: answers.put(_ask(url, timeout_s)), daemon=True).start()
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return f"no answer in {timeout_s:g} s"


def _ask(url: str, timeout_s: float) -> str | None:
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=timeout_s).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):  # it did answer; a download may trust other certificates
            return None
        return str(getattr(cause, "strerror", None) or cause)
    return None

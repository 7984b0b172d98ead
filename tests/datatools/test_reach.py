"""Whether a host answers at all: what counts as an answer, and that nothing escapes."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request

import pytest

from datatools.reach import unreachable


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed")), None),
        (urllib.error.HTTPError("https://h", 403, "no", http.client.HTTPMessage(), None), None),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (http.client.BadStatusLine("x"), "x"),
    ],
)
def test_what_counts_as_an_answer(
    fault: Exception, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that is not trusted here is one: a download may trust others."""

    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert unreachable("https://h/file") == said


def test_an_address_without_a_scheme_is_told_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert "unknown url type" in str(unreachable("hub.example"))
    assert "Traceback" not in capfd.readouterr().err

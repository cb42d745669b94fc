"""One HTTP request, to an address that agent.toml names: no redirects, no proxies, a time limit, a small answer."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from git_lepton.errors import MissingError

_MAX_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body; of a longer body only the first MiB."""

    status: int
    body: bytes


def request(url: str, *, method: str = "GET", body: bytes | None = None, timeout: float) -> Answer:
    """Ask once.

    Raises:
        MissingError: nobody answers, or not in time, or not in HTTP.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = parts.path or "/"
    headers = {} if body is None else {"Content-Type": "application/json"}
    deadline = time.monotonic() + timeout
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        try:
            connection.request(method, f"{path}?{parts.query}" if parts.query else path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, _read(response, deadline))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MissingError(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} does not answer: {error}") from error


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The beginning of the body. Raises TimeoutError for one that comes in drops: a socket's limit is for each."""
    body = bytearray()
    while len(body) < _MAX_ANSWER and (piece := response.read1(_MAX_ANSWER - len(body))):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError("the answer does not end")
    return bytes(body)

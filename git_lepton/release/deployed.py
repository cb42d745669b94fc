"""What runs, as agents tell it: from the reports that they push, or from a Prometheus that scrapes them.

Both answer for now and for a moment in the past: a report carries what its agent served before, and Prometheus keeps
`lepton_model_info` for as long as it keeps anything.
"""

from __future__ import annotations

import base64
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from git_lepton.errors import FormatError, MissingError, UsageError
from git_lepton.release.names import check_name
from git_lepton.release.status import StatusReport

METRIC: Final = "lepton_model_info"
_TIMEOUT: Final = 10.0
_MAX_ANSWER: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """What one agent serves, or served at a moment.

    Attributes:
        agent: its id, or the instance that Prometheus scrapes.
        model, channel: what it follows.
        version: "" for nothing, or a plain tag.
        bundle: "" for nothing.
        variant: recipe, "" for the original.
        since: when it began to serve that, seconds since 1970; 0 for unknown.
        ready: it serves what the channel asks of it; None for unknown.
        told: when it said so, seconds since 1970.
        problem: in its own words, or "".
        source: where this is from.
    """

    agent: str
    model: str
    channel: str
    version: str
    bundle: str
    variant: str
    since: float
    ready: bool | None
    told: float = 0.0
    problem: str = ""
    source: Literal["status", "prometheus"] = "status"


def from_reports(reports: Iterable[StatusReport], at: float | None = None) -> Iterator[Running]:
    """What agents report; with `at`, what they served then, leaving out those that do not tell."""
    for report in reports:
        here = (report.agent, report.model, report.channel)
        if at is None:
            since = report.history[0].since if report.history else 0.0
            running = Running(*here, report.version, report.bundle or "", report.variant, since, report.ready)
            yield replace(running, told=report.time, problem=report.problem)
        elif (ran := report.at(at)) is not None:
            yield Running(*here, ran.version, ran.bundle, ran.variant, ran.since, None, told=report.time)


def from_prometheus(url: str, model: str | None = None, at: float | None = None) -> list[Running]:
    """Ask a Prometheus at `url` for `lepton_model_info`; user and password in the address are sent as basic auth.

    Raises:
        UsageError: not an http address.
        MissingError: it does not answer, or refuses.
        FormatError: its answer is none.
    """
    selector = f'{METRIC}{{model="{check_name(model, "model")}"}}' if model else METRIC
    query = {"query": selector, **({"time": f"{at:.3f}"} if at is not None else {})}
    answer = _get(f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode(query)}")
    try:
        data = json.loads(answer)
        rows = [_series(row) for row in data["data"]["result"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise FormatError("Prometheus", "the answer is not that of /api/v1/query") from error
    return sorted((row for row in rows if row is not None), key=lambda r: (r.model, r.channel, r.agent))


def _series(row: dict[str, Any]) -> Running | None:
    labels = {str(key): str(value) for key, value in row["metric"].items()}
    told, value = float(row["value"][0]), float(row["value"][1])
    if not math.isfinite(told) or value != 1:
        return None
    variant = labels.get("variant", "")
    return Running(
        labels.get("agent") or labels.get("instance", ""),
        labels.get("model", ""),
        labels.get("channel", ""),
        labels.get("version", ""),
        labels.get("digest", ""),
        "" if variant == "original" else variant,
        0.0,
        None,
        told=told,
        source="prometheus",
    )


def _get(url: str) -> bytes:
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not the address of a Prometheus: {url}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError(f"not the address of a Prometheus: {url}", hint="such as http://localhost:9090")
    place = f"[{host}]" if ":" in host else host
    plain = parts._replace(netloc=f"{place}:{port}" if port else place).geturl()
    request = urllib.request.Request(plain)  # noqa: S310 - http and https alone, see above
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode("ascii"))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as stream:  # noqa: S310
            data: bytes = stream.read(_MAX_ANSWER + 1)
    except (OSError, urllib.error.URLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        hint = "--prometheus takes the address of Prometheus, not that of an agent, such as http://localhost:9090"
        raise MissingError(f"Prometheus at {place} does not answer: {why}", hint=hint) from error
    if len(data) > _MAX_ANSWER:
        raise FormatError("Prometheus", f"the answer has more than {_MAX_ANSWER} bytes")
    return data

"""Looking at a release after it was put in place, for a while: pass, fail, or inconclusive.

A look that fails more often than allowed ends the watch at once. A look that cannot tell (no data, NaN, a monitor that
does not answer) counts for nothing: silence is no proof of health. A watch that ends without one look that passed is
inconclusive, and agent.toml says what that means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

from git_lepton import proc
from git_lepton.agent import web
from git_lepton.agent.events import Verdict
from git_lepton.agent.notify import environment
from git_lepton.agent.settings import Follow, Watch
from git_lepton.agent.values import Release
from git_lepton.errors import CommandError, MissingError

_UNDECIDED: Final = 3
_SAID: Final = 300

Look = tuple[Verdict, str]
"""What one look tells, and one sentence."""


class Watching:
    """One watch. Times are those of the monotonic clock, so that a clock that is set changes nothing."""

    def __init__(self, follow: Follow, release: Release, now: float) -> None:
        assert follow.watch is not None
        self._follow = follow
        self._release = release
        self._watch: Watch = follow.watch
        self._end = now + self._watch.duration
        self._passed = self._failed = 0
        self._last: Look = ("inconclusive", "nobody has looked")
        self.due = now + min(self._watch.interval, self._watch.duration)

    def step(self, now: float) -> Look | None:
        """Look once; the verdict when the watch has come to its end, else None."""
        verdict, message = self._last = look(self._follow, self._watch, self._release)
        self._passed += verdict == "pass"
        self._failed += verdict == "fail"
        self.due = now + self._watch.interval
        if self._failed > self._watch.failures:
            return "fail", message
        if now < self._end:
            return None
        return ("pass", message) if self._passed else ("inconclusive", message)


def look(follow: Follow, watch: Watch, release: Release) -> Look:
    """Look once. Nothing is raised: what cannot be told is inconclusive."""
    if watch.command:
        return _by_command(follow, watch, release)
    if watch.url is not None:
        try:
            status = web.request(watch.url, timeout=watch.timeout).status
        except MissingError as error:
            return "fail", error.message
        return ("pass" if 200 <= status < 300 else "fail"), f"{watch.url} answers {status}"
    return _by_query(watch)


def _by_command(follow: Follow, watch: Watch, release: Release) -> Look:
    folder = follow.folder / "releases" / release.bundle
    try:
        env = environment(follow, release)
        done = proc.run(watch.command, cwd=folder, env=env, timeout=watch.timeout, check=False)
    except CommandError as error:
        return ("fail" if error.status < 0 else "inconclusive"), error.message
    said = done.stderr.decode(errors="replace").strip()[-_SAID:] or f"{watch.command[0]} ends with {done.status}"
    if done.status == _UNDECIDED:
        return "inconclusive", said
    return ("fail" if done.status else "pass"), said


def _by_query(watch: Watch) -> Look:
    assert watch.prometheus is not None
    assert watch.query is not None
    url = f"{watch.prometheus.rstrip('/')}/api/v1/query?{urlencode({'query': watch.query})}"
    try:
        answer = web.request(url, timeout=watch.timeout)
        values = list(_values(json.loads(answer.body)))
    except MissingError as error:
        return "inconclusive", error.message
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return "inconclusive", f"Prometheus does not answer with numbers (status {answer.status})"
    if not values:
        return "inconclusive", "the query has no data"
    if any(math.isnan(value) for value in values):
        return "inconclusive", "the query gives NaN"
    low = -math.inf if watch.min is None else watch.min
    high = math.inf if watch.max is None else watch.max
    wrong = next((value for value in values if not low <= value <= high), None)
    if wrong is None:
        return "pass", f"the query gives {values[0]:g}"
    limit = f"below {low:g}" if wrong < low else f"above {high:g}"
    return "fail", f"the query gives {wrong:g}, {limit}"


def _values(document: Any) -> Iterable[float]:
    """The numbers of an answer of the query API, a scalar or an instant vector."""
    if document["status"] != "success":
        raise ValueError
    data = document["data"]
    if data["resultType"] == "scalar":
        return [float(data["result"][1])]
    if data["resultType"] == "vector":
        return [float(series["value"][1]) for series in data["result"]]
    raise ValueError

"""What the agent tells Prometheus (docs/metrics.md): an observer that counts, and a collector that shows what it knows.

Events arrive on the engine's thread, questions on those of the web server. Both sides meet here, under one lock that is
held for as long as it takes to add a number or to copy a few dozen; no question ever waits for the engine. What a gauge
shows is read from the agent's status, as it was after the last event: a model that leaves agent.toml takes its series
with it. Counters and histograms belong to the agent, not to a model, and every value of their label is there from the
start, since an increase from nothing to one is none to Prometheus. Labels are words of fixed lists, names that the
grammar of names allows, and hashes: never a sentence.
"""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

from git_lepton import __version__
from git_lepton.agent.events import (
    POLL_REASONS,
    SWAP_REASONS,
    VERIFICATION_REASONS,
    Event,
    Fetched,
    Polled,
    PollFailed,
    Refused,
    SwapFailed,
    Swapped,
)
from git_lepton.agent.values import TRIGGERS, AgentStatus, ModelStatus

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

Kind = Literal["info", "gauge", "counter", "histogram"]
Labels = tuple[str, ...]
"""Values of a metric's labels, in its order."""

ORIGINAL: Final = "original"
_CHANNEL: Final = ("model", "channel")
_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of docs/metrics.md.

    Attributes:
        name: as Prometheus has it.
        kind: its type.
        labels: names of its labels.
        meaning: the help text.
        known: for a counter with a label, all values that the label can have.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


METRICS: Final = (
    Metric("lepton_build_info", "info", "The agent's program.", ("version", "python")),
    Metric(
        "lepton_model_info",
        "info",
        "A release that serves: 1, and what it is.",
        (*_CHANNEL, "version", "revision", "digest", "variant"),
    ),
    Metric("lepton_channel_desired_seq", "gauge", "Number of the move that the agent is to follow.", _CHANNEL),
    Metric("lepton_channel_active_seq", "gauge", "Number of the move that brought what serves.", _CHANNEL),
    Metric("lepton_channel_ready", "gauge", "1 when what serves is what the channel asks for.", _CHANNEL),
    Metric("lepton_channel_suspended", "gauge", "1 when a person asked the agent to leave it alone.", _CHANNEL),
    Metric("lepton_polls_total", "counter", "How often the remote was asked."),
    Metric(
        "lepton_poll_failures_total",
        "counter",
        "How often it, or a channel of it, could not be had.",
        ("reason",),
        POLL_REASONS,
    ),
    Metric(
        "lepton_verification_failures_total",
        "counter",
        "Moves that were refused, counted at every poll for as long as the channel points to one.",
        ("reason",),
        VERIFICATION_REASONS,
    ),
    Metric("lepton_swaps_total", "counter", "Releases put in place.", ("trigger",), TRIGGERS),
    Metric(
        "lepton_swap_failures_total",
        "counter",
        "Releases that could not be put in place, or did not stay.",
        ("reason",),
        SWAP_REASONS,
    ),
    Metric("lepton_fetch_bytes_total", "counter", "Bytes of weights and files that were fetched."),
    Metric("lepton_fetch_duration_seconds", "histogram", "How long fetching a release took."),
    Metric("lepton_swap_duration_seconds", "histogram", "From seeing a move to having it in place."),
    Metric("lepton_model_size_bytes", "gauge", "Bytes of all files of the release that serves.", _CHANNEL),
    Metric("lepton_agent_last_poll_timestamp_seconds", "gauge", "When the remote was last asked; 0 for never."),
    Metric("lepton_agent_last_success_timestamp_seconds", "gauge", "When it last answered; 0 for never."),
    Metric("lepton_agent_last_swap_timestamp_seconds", "gauge", "When a release was last put in place; 0 for never."),
    Metric("lepton_agent_poll_interval_seconds", "gauge", "Time between polls, without jitter and back-off."),
)
"""All metrics of the agent, in the order in which they are shown. Those of its process (`process_*`) come with them."""


class _Histogram:
    """Counts of durations, each in the first bucket that is not below it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds

    def shown(self) -> tuple[list[tuple[str, float]], float]:
        """The cumulative counts by upper limit, and the sum."""
        limits = (*map(str, _BUCKETS), "+Inf")
        return [(limit, float(count)) for limit, count in zip(limits, accumulate(self._counts), strict=True)], self._sum


class Metrics:
    """The numbers of one agent: an `events.Observer`, and a collector of prometheus-client."""

    def __init__(self, status: Callable[[], AgentStatus]) -> None:
        """Begin at 0.

        Args:
            status: tells what the agent is at; called on the engine's thread alone.
        """
        self._ask = status
        self._status = status()
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = {
            metric.name: {(value,): 0.0 for value in metric.known} if metric.labels else {(): 0.0}
            for metric in METRICS
            if metric.kind == "counter"
        }
        self._durations = {metric.name: _Histogram() for metric in METRICS if metric.kind == "histogram"}

    @property
    def status(self) -> AgentStatus:
        """The agent as it was after the last event; may be read on any thread."""
        return self._status

    def refresh(self) -> None:
        """Look at the agent's status again. On the engine's thread, like `notice`."""
        self._status = self._ask()

    def notice(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            self._count(event)
        self.refresh()

    def _count(self, event: Event) -> None:
        match event:
            case Polled():
                self._add("lepton_polls_total")
            case PollFailed(name=name, reason=reason):
                self._add("lepton_poll_failures_total", reason)
                if not name:
                    self._add("lepton_polls_total")
            case Refused(reason=refusal):
                self._add("lepton_verification_failures_total", refusal)
            case Fetched(bytes=received, seconds=seconds):
                self._add("lepton_fetch_bytes_total", by=received)
                self._durations["lepton_fetch_duration_seconds"].add(seconds)
            case Swapped(trigger=trigger, seconds=seconds):
                self._add("lepton_swaps_total", trigger)
                self._durations["lepton_swap_duration_seconds"].add(seconds)
            case SwapFailed(reason=failure):
                self._add("lepton_swap_failures_total", failure)
            case _:
                pass

    def _add(self, name: str, *labels: str, by: float = 1.0) -> None:
        self._counts[name][labels] += by

    # Showing

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as text, and its content type, in the format that a scraper's `Accept` prefers."""
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def collect(self) -> Iterator[Family]:
        """All families of METRICS, as prometheus-client wants them."""
        from prometheus_client import core

        with self._lock:
            counts = {name: dict(values) for name, values in self._counts.items()}
            durations = {name: histogram.shown() for name, histogram in self._durations.items()}
        gauges = _gauges(self._status)
        for metric in METRICS:
            if metric.kind == "counter":
                counter = core.CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
                for labels, value in counts[metric.name].items():
                    counter.add_metric(labels, value)
                yield counter
            elif metric.kind == "histogram":
                buckets, total = durations[metric.name]
                yield core.HistogramMetricFamily(metric.name, metric.meaning, buckets=buckets, sum_value=total)
            elif metric.kind == "info":
                info = core.InfoMetricFamily(metric.name.removesuffix("_info"), metric.meaning)
                for labels in gauges[metric.name]:
                    info.add_metric((), dict(zip(metric.labels, labels, strict=True)))
                yield info
            else:
                gauge = core.GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
                for labels, value in gauges[metric.name].items():
                    gauge.add_metric(labels, value)
                yield gauge


def _gauges(status: AgentStatus) -> Mapping[str, Mapping[Labels, float]]:
    """The values of every gauge and info, by labels."""
    channels: dict[Labels, list[ModelStatus]] = {}
    for model in status.models:
        channels.setdefault((model.model, model.channel), []).append(model)
    releases = [(m.model, m.channel, m.release) for m in status.models if m.release is not None]
    return {
        "lepton_build_info": {(__version__, platform.python_version()): 1.0},
        "lepton_model_info": {
            (model, channel, r.version, r.commit, r.bundle, r.variant or ORIGINAL): 1.0
            for model, channel, r in releases
        },
        # Two tables of agent.toml may follow one channel, for two variants: the one that lags counts.
        "lepton_channel_desired_seq": _each(channels, lambda m: m.desired_seq, max),
        "lepton_channel_active_seq": _each(channels, lambda m: m.release.seq if m.release else 0, min),
        "lepton_channel_ready": _each(channels, lambda m: m.ready, min),
        "lepton_channel_suspended": _each(channels, lambda m: m.suspended, max),
        "lepton_model_size_bytes": _each(channels, lambda m: m.release.size if m.release else 0, max),
        "lepton_agent_last_poll_timestamp_seconds": {(): status.last_poll},
        "lepton_agent_last_success_timestamp_seconds": {(): status.last_success},
        "lepton_agent_last_swap_timestamp_seconds": {(): status.last_swap},
        "lepton_agent_poll_interval_seconds": {(): status.interval},
    }


def _each(
    channels: Mapping[Labels, Sequence[ModelStatus]],
    value: Callable[[ModelStatus], float],
    choose: Callable[[Iterable[float]], float],
) -> Mapping[Labels, float]:
    return {labels: float(choose(map(value, models))) for labels, models in channels.items()}

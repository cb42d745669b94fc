"""The agent's metrics: names, labels that exist from the start, series that go with their model."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from git_lepton.agent import events
from git_lepton.agent.metrics import METRICS, Metrics
from git_lepton.agent.values import TRIGGERS, AgentStatus, ModelStatus, Release
from git_lepton.values import Hash, Oid
from tests.agent.world import World

DOC = Path(__file__).parents[2] / "docs" / "metrics.md"
NOTHING = ModelStatus("digits", "digits", "prod", "idle", 0, None, False, False, None, "", "/srv/current")
AGENT = AgentStatus("a1", 0.0, 0.0, 0.0, 60.0, (NOTHING,))
RELEASE = Release(Hash("b" * 64), 3, Oid("a" * 40), "1.2.0", Oid("c" * 40), "int8", "ada", "m.onnx", 1000, ())

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Agent:
    """Metrics of an agent whose status a test sets."""

    def __init__(self, status: AgentStatus = AGENT) -> None:
        self.status = status
        self.metrics = Metrics(lambda: self.status)

    def samples(self) -> Samples:
        return samples(self.metrics)


def samples(metrics: Metrics) -> Samples:
    text = metrics.expose()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_every_label_value_is_there_from_the_start() -> None:
    found = Agent().samples()
    for reason in events.POLL_REASONS:
        assert value(found, "lepton_poll_failures_total", reason=reason) == 0
    for refusal in events.VERIFICATION_REASONS:
        assert value(found, "lepton_verification_failures_total", reason=refusal) == 0
    for failure in events.SWAP_REASONS:
        assert value(found, "lepton_swap_failures_total", reason=failure) == 0
    for trigger in TRIGGERS:
        assert value(found, "lepton_swaps_total", trigger=trigger) == 0
    assert value(found, "lepton_polls_total") == 0
    assert value(found, "lepton_fetch_bytes_total") == 0


def test_events_are_counted() -> None:
    agent = Agent()
    happened: list[events.Event] = [
        events.Polled(0.1),
        events.PollFailed("", "unreachable", "no route"),
        events.PollFailed("digits", "absent", "no tag"),
        events.Refused("digits", "replay", "old", 2),
        events.Accepted("digits", 3, "1.2.0"),
        events.Fetched("digits", 1000, 0.3),
        events.Swapped("digits", "promote", RELEASE, 0.7),
        events.SwapFailed("digits", "watch", "fallback", "it answers 500", 3),
        events.Watched("digits", "fail", "it answers 500"),
        events.StateChanged("digits", "serving"),
        events.SuspensionChanged("digits", True),
    ]
    for event in happened:
        agent.metrics.notice(event)
    found = agent.samples()
    assert value(found, "lepton_polls_total") == 2
    assert value(found, "lepton_poll_failures_total", reason="unreachable") == 1
    assert value(found, "lepton_poll_failures_total", reason="absent") == 1
    assert value(found, "lepton_verification_failures_total", reason="replay") == 1
    assert value(found, "lepton_fetch_bytes_total") == 1000
    assert value(found, "lepton_fetch_duration_seconds_bucket", le="0.25") == 0
    assert value(found, "lepton_fetch_duration_seconds_bucket", le="0.5") == 1
    assert value(found, "lepton_fetch_duration_seconds_bucket", le="+Inf") == 1
    assert value(found, "lepton_swap_duration_seconds_sum") == 0.7
    assert value(found, "lepton_swaps_total", trigger="promote") == 1
    assert value(found, "lepton_swap_failures_total", reason="watch") == 1


def test_a_release_is_described_and_goes_with_its_model() -> None:
    agent = Agent()
    serving = replace(NOTHING, state="serving", desired_seq=4, release=RELEASE)
    agent.status = replace(AGENT, models=(serving,), last_swap=5.0)
    agent.metrics.refresh()
    found = agent.samples()
    where = {"model": "digits", "channel": "prod"}
    what = {"version": "1.2.0", "revision": "c" * 40, "digest": "b" * 64, "variant": "int8"}
    assert value(found, "lepton_model_info", **where, **what) == 1
    assert value(found, "lepton_channel_desired_seq", **where) == 4
    assert value(found, "lepton_channel_active_seq", **where) == 3
    assert value(found, "lepton_channel_ready", **where) == 0
    assert value(found, "lepton_model_size_bytes", **where) == 1000
    assert value(found, "lepton_agent_last_swap_timestamp_seconds") == 5
    agent.status = replace(AGENT, models=())
    agent.metrics.refresh()
    assert not [name for name, labels in agent.samples() if ("model", "digits") in labels]


def test_of_two_tables_that_follow_one_channel_the_one_that_lags_counts() -> None:
    first = replace(NOTHING, state="serving", desired_seq=4, release=replace(RELEASE, seq=4), ready=True)
    second = replace(first, name="digits-int8", desired_seq=3, release=RELEASE, ready=False)
    found = Agent(replace(AGENT, models=(first, second))).samples()
    where = {"model": "digits", "channel": "prod"}
    assert value(found, "lepton_channel_desired_seq", **where) == 4
    assert value(found, "lepton_channel_active_seq", **where) == 3
    assert value(found, "lepton_channel_ready", **where) == 0


def test_a21_no_sentence_becomes_a_label_and_no_name_breaks_a_line() -> None:
    agent = Agent()
    evil = 'x"} 1\nlepton_polls_total 99\n'
    for event in (
        events.PollFailed("digits", "unreachable", evil),
        events.Refused("digits", "signer", evil, 1),
        events.SwapFailed("digits", "watch", "promote", evil, 1),
        events.Watched("digits", "fail", evil),
    ):
        agent.metrics.notice(event)
    agent.status = replace(AGENT, models=(replace(NOTHING, release=replace(RELEASE, version=evil), problem=evil),))
    agent.metrics.refresh()
    found = agent.samples()
    assert value(found, "lepton_polls_total") == 0
    (labels,) = [dict(labels) for name, labels in found if name == "lepton_model_info"]
    assert labels["version"] == evil
    assert b"\nlepton_polls_total 99" not in agent.metrics.expose()[0]


def test_openmetrics_is_spoken_to_whoever_asks_for_it() -> None:
    text, kind = Agent().metrics.expose("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    assert {"lepton_polls", "lepton_model", "lepton_swap_duration_seconds"} <= names


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(world: World) -> None:
    world.release(1, "1.0.0")
    engine, _ = world.engine()
    metrics = Metrics(engine.status)
    engine.observers.append(metrics)
    engine.poll()
    engine.close()
    found = samples(metrics)
    assert value(found, "lepton_swaps_total", trigger="promote") == 1
    assert value(found, "lepton_channel_ready", model="digits", channel="prod") == 1
    assert value(found, "lepton_fetch_bytes_total") > 0
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics.expose()[0], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_document_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(lepton_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", DOC.read_text(), re.MULTILINE)
    wanted = [(m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.meaning) for m in METRICS]
    assert [(name, kind, labels.strip(), meaning.strip()) for name, kind, labels, meaning in rows] == wanted

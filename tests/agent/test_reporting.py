"""Reports of what runs: pushed by the agent's own thread, read back as `git lepton deployed` reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from git_lepton.agent import reporting
from git_lepton.agent.engine import Engine
from git_lepton.agent.reading import parse
from git_lepton.agent.reporting import Reporter
from git_lepton.errors import UsageError
from git_lepton.git.objects import open_reader
from git_lepton.release.status import StatusReport, mirrored, refresh
from tests.agent.world import World
from tests.support import git


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_DISTANCE", 0.01)


class Scene:
    """An agent that reports to `status.git`."""

    def __init__(self, world: World, remote: str | None = None) -> None:
        self.world = world
        if not (world.top / "status.git").exists():
            git(world.top, "init", "-q", "--bare", "status.git")
            git(world.top / "dev", "remote", "add", "status", str(world.top / "status.git"))
        top = f'[status]\nremote = "{remote or world.top / "status.git"}"'
        settings = parse(world.settings(top=top))
        self.engine = Engine(settings)
        self.reporter = Reporter(settings, self.engine.status)
        self.engine.observers.append(self.reporter)
        self.engine.start()
        self.reporter.start()

    def close(self) -> None:
        self.reporter.close()
        self.engine.close()

    def reports(self) -> list[StatusReport]:
        refresh(self.world.repo, "status")
        with closing(open_reader(self.world.repo)) as objects:
            return [one for one in mirrored(self.world.repo, objects, "status") if isinstance(one, StatusReport)]

    def wait(self, condition: Callable[[StatusReport], bool]) -> StatusReport:
        for _ in range(100):
            found = [one for one in self.reports() if condition(one)]
            if found:
                return found[0]
            time.sleep(0.05)
        raise AssertionError(self.reports())


def test_what_runs_is_told_and_what_ran_before(world: World) -> None:
    world.release(1, "1.0.0")
    with closing(Scene(world)) as scene:
        scene.engine.poll()
        report = scene.wait(lambda r: r.version == "1.0.0")
        assert (report.agent, report.model, report.channel, report.ready, report.seq) == (
            "a1",
            "digits",
            "prod",
            True,
            1,
        )
        world.release(2, "1.1.0")
        scene.engine.poll()
        report = scene.wait(lambda r: r.version == "1.1.0")
        assert [(ran.version, ran.trigger) for ran in report.history] == [("1.1.0", "promote"), ("1.0.0", "promote")]
        assert report.at(report.history[1].since) == report.history[1]
        scene.engine.follower("digits").suspend(True)
        scene.wait(lambda r: r.suspended)
    with closing(Scene(world)) as scene:
        report = scene.wait(lambda r: r.time > report.time)
        assert [ran.version for ran in report.history] == ["1.1.0", "1.0.0"]
        assert len(scene.reports()) == 1


def test_a_remote_that_is_gone_costs_the_models_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.release(1, "1.0.0")
    with closing(Scene(world, remote=str(world.top / "absent.git"))) as scene:
        assert scene.engine.poll()
        assert scene.engine.status().models[0].ready
        said = ""
        for _ in range(100):
            said += capsys.readouterr().err
            if "reports: cannot be sent" in said:
                break
            time.sleep(0.05)
        assert said.count("reports: cannot be sent") == 1
        git(world.top, "init", "-q", "--bare", "absent.git")
        world.release(2, "1.1.0")
        scene.engine.poll()
        for _ in range(100):
            said += capsys.readouterr().err
            if "reports: are sent again" in said:
                break
            time.sleep(0.05)
        assert "reports: are sent again" in said


def test_the_repository_of_reports_does_not_grow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_FRESH_AFTER", 2)
    world.release(1, "1.0.0")
    with closing(Scene(world)) as scene:
        scene.engine.poll()
        follower = scene.engine.follower("digits")
        for turn in range(6):
            follower.suspend(turn % 2 == 0)
            wanted = follower.memory.suspended
            scene.wait(lambda r, wanted=wanted: r.suspended == wanted)  # type: ignore[misc]
        objects = [p for p in (world.top / "state" / "reports.git" / "objects").rglob("*") if p.is_file()]
        assert len(objects) <= 2


def test_an_agent_whose_name_is_no_name_cannot_report(world: World, tmp_path: Path) -> None:
    text = world.settings(top=f'[status]\nremote = "{tmp_path}/status.git"').replace(b'id = "a1"', b'id = "Host_1"')
    with pytest.raises(UsageError, match=r"agent.toml:\d+: id is the name of a report"):
        parse(text)

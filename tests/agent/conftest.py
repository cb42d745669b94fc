"""A remote with one person and their key, for every test of the agent; once with an agent that serves already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from git_lepton.agent.engine import Engine
from tests.agent.world import Recorder, Start, World, copy_world, files, new_world


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return new_world(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def serving_template(empty_template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = copy_world(empty_template, tmp_path_factory.mktemp("serving"))
    world.release(1, "1.0.0")
    engine, seen = world.engine()
    engine.poll()
    engine.close()
    assert not seen.failures(), seen.events
    return world


@pytest.fixture
def world(tmp_path: Path, env: dict[str, str], empty_template: World) -> World:
    """Nothing is released."""
    return copy_world(empty_template, tmp_path)


@pytest.fixture
def serving(tmp_path: Path, env: dict[str, str], serving_template: World) -> World:
    """Release 1.0.0 of digits is on prod, and an agent served it before."""
    return copy_world(serving_template, tmp_path)


@pytest.fixture
def start(serving: World) -> Iterator[Start]:
    """Starts an agent that serves release 1.0.0, and closes it."""
    opened: list[Engine] = []

    def begin(**options: object) -> tuple[Engine, Recorder]:
        engine, seen = serving.engine(**options)
        opened.append(engine)
        assert serving.tokenizer() == files(1)["tokenizer.json"]
        return engine, seen

    yield begin
    for engine in opened:
        engine.close()

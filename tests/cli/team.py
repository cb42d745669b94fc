"""Two people who release models with the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.release.team import Person, refs

if TYPE_CHECKING:
    from tests.cli.conftest import Answer, Lepton


@dataclass(frozen=True)
class Team:
    """Two people, their remote, and the command line in either's clone."""

    remote: Path
    ada: Person
    bob: Person
    lepton: Lepton
    monkeypatch: pytest.MonkeyPatch

    def run(self, who: Person, *args: str) -> Answer:
        self.monkeypatch.chdir(who.folder)
        return self.lepton(*args)

    def must(self, who: Person, *args: str) -> Answer:
        done = self.run(who, *args)
        assert done.status == 0, (args, done.out, done.err)
        return done

    def release(self, seed: int, *channels: str, **options: object) -> str:
        """Ada commits another model, tags it with the next minor version and promotes it to these channels."""
        commit = self.ada.commit_model(seed, **options)  # type: ignore[arg-type]
        self.ada.git("push", "-q", "origin", "main")
        self.must(self.ada, "tag", "digits", "--minor", "--initial", "1.0.0", "--push")
        for channel in channels:
            spec = "digits" if channel == "prod" else f"digits@v1.{len(self.versions()) - 1}.0"
            self.must(self.ada, "promote", spec, channel, "-m", f"model {seed} is better", "--push")
        return commit

    def versions(self) -> list[str]:
        return [ref for ref in refs(self.remote) if ref.startswith("refs/tags/digits@v")]

    def channels(self, who: Person) -> dict[str, dict[str, object]]:
        found = self.run(who, "channels", "--json").json["channels"]
        return {f"{one['model']}@{one['channel']}": one for one in found}

    def version(self, who: Person, channel: str) -> str:
        move = self.channels(who)[f"digits@{channel}"]["move"]
        assert isinstance(move, dict)
        return str(move["version"])

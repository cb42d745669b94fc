from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import clean_environment, git
from tests.transfer.servers import TRANSPORTS, make_bare, transport


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_server_takes_a_push_and_serves_it(name: str, tmp_path: Path) -> None:
    with transport(name, tmp_path / "srv") as server:
        env = clean_environment(tmp_path) | server.env
        bare = make_bare(server.root / "code.git")
        git(tmp_path, "init", "-q", "-b", "main", "work")
        work = tmp_path / "work"
        git(work, "commit", "-q", "--allow-empty", "-m", "first", env=env)
        git(work, "push", "-q", server.url(bare), "main", env=env)
        listed = git(work, "ls-remote", server.url(bare), env=env | {"GIT_TRACE_PACKET": str(tmp_path / "trace")})
        assert git(work, "rev-parse", "main") in listed
        assert ("version 2" in (tmp_path / "trace").read_text()) == (not name.endswith("v0"))

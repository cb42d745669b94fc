"""Moving a channel on a real remote, from two clones at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_lepton.errors import LeptonError, RaceLostError, VerificationError
from git_lepton.git.objects import ObjectReader, open_reader
from git_lepton.git.repo import Repo, discover
from git_lepton.release import log
from git_lepton.release.channels import (
    Channel,
    configured_remote,
    find,
    mirrored,
    move_of,
    refresh,
    release_remote,
    versions,
)
from git_lepton.release.message import Action, Move
from git_lepton.release.moves import Plan, carry_out, plan
from git_lepton.release.names import Version
from git_lepton.release.tagobject import parse_tag
from git_lepton.values import Hash, Oid
from tests.support import git

REF, LOG = "refs/tags/digits@prod", "refs/lepton/log/digits@prod"


@dataclass(frozen=True)
class Clone:
    """One person's clone."""

    repo: Repo
    objects: ObjectReader

    def head(self) -> Oid:
        return Oid(self.repo.git("rev-parse", "HEAD").stdout.decode().strip())

    def channel(self) -> Channel | None:
        refresh(self.repo, "origin")
        return find(mirrored(self.repo, self.objects, "origin"), "digits", "prod")

    def plan(self, version: str, action: Action = "promote") -> Plan:
        move = Move("digits", "prod", 1, action, Version.parse(version), self.head(), Hash("b" * 64), by="Ada")
        return plan(move, self.channel(), "origin", sign=False)

    def move(self, version: str) -> Channel:
        return carry_out(self.repo, self.objects, self.plan(version))


@pytest.fixture
def remote(tmp_path: Path, env: dict[str, str]) -> Path:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    return tmp_path / "remote.git"


@pytest.fixture
def clones(tmp_path: Path, remote: Path) -> tuple[Clone, Clone]:
    git(tmp_path, "clone", "-q", str(remote), "ada")
    git(tmp_path / "ada", "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path / "ada", "push", "-q", "origin", "HEAD:main")
    git(tmp_path, "clone", "-q", str(remote), "bob")
    ada, bob = (discover(tmp_path / name) for name in ("ada", "bob"))
    return Clone(ada, open_reader(ada)), Clone(bob, open_reader(bob))


def refs(remote: Path) -> dict[str, str]:
    lines = git(remote, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split() for line in lines)


def test_moves_are_numbered_linked_and_logged(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    first = ada.move("1.0.0")
    second = bob.move("1.1.0")
    assert (first.seq, second.seq) == (1, 2)
    assert second.move is not None
    assert second.move.prev == first.tag_oid
    seen = ada.channel()
    assert seen is not None
    assert (seen.tag_oid, seen.log, seen.move) == (second.tag_oid, second.log, second.move)
    assert refs(remote)[REF] == second.tag_oid
    assert seen.log is not None
    assert [e.tag_oid for e in log.read(ada.repo, ada.objects, seen.log)] == [second.tag_oid, first.tag_oid]


def test_of_two_plans_one_wins_and_the_other_hears_who(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    ada.move("1.0.0")
    ours, theirs = ada.plan("1.1.0"), bob.plan("1.2.0")
    won = carry_out(bob.repo, bob.objects, theirs)
    before = git(ada.repo.cwd, "rev-parse", REF)
    with pytest.raises(RaceLostError, match=r"moved by Ada first: digits prod: promote 1\.2\.0"):
        carry_out(ada.repo, ada.objects, ours)
    assert git(ada.repo.cwd, "rev-parse", REF) == before, "the loser's own tag stays"
    assert (refs(remote)[REF], refs(remote)[LOG]) == (won.tag_oid, won.log)


def test_two_threads_race_for_a_new_channel(clones: tuple[Clone, Clone], remote: Path) -> None:
    plans = [(clone, clone.plan(f"1.{n}.0")) for n, clone in enumerate(clones)]
    results: list[Channel | LeptonError] = []

    def run(clone: Clone, planned: Plan) -> None:
        try:
            results.append(carry_out(clone.repo, clone.objects, planned))
        except LeptonError as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=args) for args in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [r for r in results if isinstance(r, Channel)]
    assert len(winners) == 1, results
    assert (refs(remote)[REF], refs(remote)[LOG]) == (winners[0].tag_oid, winners[0].log)


def test_a_log_that_is_behind_its_tag_stops_the_move(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    ada.move("1.0.0")
    planned = bob.plan("1.1.0")
    git(remote, "update-ref", "-d", LOG)
    with pytest.raises(RaceLostError):
        carry_out(bob.repo, bob.objects, planned)
    assert LOG not in refs(remote), "both or neither"


def test_a_server_that_refuses_is_no_race(clones: tuple[Clone, Clone], remote: Path) -> None:
    hook = remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    ada, _ = clones
    with pytest.raises(LeptonError, match="refused") as caught:
        ada.move("1.0.0")
    assert not isinstance(caught.value, RaceLostError)
    assert REF not in refs(remote)


def test_what_is_gone_on_the_remote_goes_from_the_mirror(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    ada.move("1.0.0")
    assert bob.channel() is not None
    git(remote, "update-ref", "-d", REF)
    git(remote, "update-ref", "-d", LOG)
    assert bob.channel() is None


def test_a_deleted_tag_is_seen_and_the_next_move_goes_on_from_the_log(
    clones: tuple[Clone, Clone], remote: Path
) -> None:
    ada, bob = clones
    ada.move("1.0.0")
    planned = bob.plan("1.1.0")
    git(remote, "update-ref", "-d", REF)
    with pytest.raises(RaceLostError, match="was deleted"):
        carry_out(bob.repo, bob.objects, planned)
    seen = bob.channel()
    assert seen is not None
    assert (seen.deleted, seen.move, "its log ends with move 1" in seen.flaw) == (True, None, True)
    moved = bob.move("1.1.0")
    assert (moved.deleted, moved.flaw, moved.seq) == (False, "", 2)


def test_a_log_of_another_channel_without_a_tag_is_not_gone_on_from(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    ada.move("1.0.0")
    git(remote, "update-ref", "-d", REF)
    git(remote, "update-ref", "refs/lepton/log/digits@staging", refs(remote)[LOG])
    refresh(bob.repo, "origin")
    found = find(mirrored(bob.repo, bob.objects, "origin"), "digits", "staging")
    assert found is not None
    assert (found.last, found.flaw) == (None, "its log is that of digits@prod")


def test_plain_tags_are_seen_and_not_gone_on_from(clones: tuple[Clone, Clone]) -> None:
    ada, bob = clones
    git(ada.repo.cwd, "tag", "-a", "-m", "by hand", "digits@prod")
    git(ada.repo.cwd, "push", "-q", "origin", "digits@prod")
    seen = bob.channel()
    assert seen is not None
    assert (seen.move, seen.seq) == (None, 0)
    with pytest.raises(VerificationError, match="plain tag"):
        bob.plan("1.0.0")


def test_a_tag_under_another_name_is_not_believed_and_hides_no_other(clones: tuple[Clone, Clone], remote: Path) -> None:
    ada, bob = clones
    moved = ada.move("1.0.0")
    git(remote, "update-ref", "refs/tags/digits@staging", moved.tag_oid)
    git(remote, "tag", "digits@light", "main")
    git(remote, "update-ref", "refs/tags/digits@tree", git(remote, "rev-parse", "main^{tree}"))
    refresh(bob.repo, "origin")
    found = {c.channel: c for c in mirrored(bob.repo, bob.objects, "origin")}
    assert sorted(found) == ["light", "prod", "staging", "tree"]
    assert "made for digits@prod" in found["staging"].flaw
    assert found["staging"].move is None
    assert (found["prod"].flaw, found["prod"].move) == ("", moved.move)
    assert found["light"].is_plain
    assert "tree" in found["tree"].flaw
    with pytest.raises(VerificationError, match="damaged"):
        plan(bob.plan("1.0.0").move, found["staging"], "origin", sign=False)


def test_a_tag_put_there_by_hand_is_seen_and_the_next_move_goes_on_from_the_log(
    clones: tuple[Clone, Clone], remote: Path
) -> None:
    ada, bob = clones
    first, second = ada.move("1.0.0"), ada.move("1.1.0")
    git(remote, "update-ref", REF, first.tag_oid)
    seen = bob.channel()
    assert seen is not None
    assert "log ends with move 2" in seen.flaw
    git(remote, "tag", "-f", "digits@prod", "main")
    seen = bob.channel()
    assert seen is not None
    assert (seen.move, seen.is_plain, "log ends" in seen.flaw) == (None, False, True)
    third = bob.move("1.0.0")
    assert third.move is not None
    assert (third.seq, third.move.prev, third.flaw) == (3, second.tag_oid, "")


def test_a_tag_that_points_elsewhere_than_it_says_is_not_believed(clones: tuple[Clone, Clone]) -> None:
    ada, _ = clones
    moved = ada.move("1.0.0")
    content = ada.repo.git("cat-file", "tag", moved.tag_oid).stdout
    assert move_of(parse_tag(content), "digits", "prod") == moved.move
    other = content.replace(moved.tag.target.encode(), b"f" * 40, 1)
    with pytest.raises(VerificationError):
        move_of(parse_tag(other), "digits", "prod")


def test_versions_and_the_release_remote(clones: tuple[Clone, Clone]) -> None:
    ada, _ = clones
    for name in ("digits@v1.0.0", "digits@v1.10.0", "digits@vx", "other@v2.0.0"):
        git(ada.repo.cwd, "tag", name)
    assert sorted(map(str, versions(ada.repo, "digits"))) == ["1.0.0", "1.10.0"]
    assert release_remote(ada.repo) == "origin"
    git(ada.repo.cwd, "config", "lepton.releaseRemote", "nowhere")
    with pytest.raises(LeptonError, match="no such remote"):
        release_remote(discover(ada.repo.cwd))


def test_a_status_remote_that_is_an_address_is_refused_with_what_to_do(clones: tuple[Clone, Clone]) -> None:
    ada, _ = clones
    git(ada.repo.cwd, "config", "lepton.statusRemote", "/srv/status.git")
    with pytest.raises(LeptonError, match="no such remote") as caught:
        configured_remote(discover(ada.repo.cwd), "lepton.statusRemote")
    assert caught.value.hint == "git remote add NAME /srv/status.git, then git config lepton.statusRemote NAME"

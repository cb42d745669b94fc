"""Versions: the text of their tags, and what is believed of them, on real git."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import RaceLostError, UsageError, VerificationError
from git_lepton.git.objects import open_reader
from git_lepton.git.remote import ls_remote
from git_lepton.release import status, versions
from git_lepton.release.names import Version
from git_lepton.release.signing import make_tag
from git_lepton.release.tagging import next_version
from git_lepton.release.versions import Release, Tagged, known, parse, read, render
from git_lepton.values import Hash, Oid
from tests.release.team import make_people
from tests.support import git

GOLDEN = Path(__file__).parent.parent / "golden"
ONE = Version.parse("1.2.0")
RELEASE = Release("digits", ONE, Oid("a" * 40), Hash("b" * 64), Hash("c" * 64), "New glyphs;\n\nall writers.")


def test_the_text_never_changes() -> None:
    assert render(RELEASE) == (GOLDEN / "version-1.txt").read_text(encoding="utf-8")
    assert parse(render(RELEASE)) == RELEASE
    assert (
        status.to_text(status.parse((GOLDEN / "status-1.json").read_bytes())) == (GOLDEN / "status-1.json").read_bytes()
    )


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=60))
def test_any_reason_is_read_back_or_refused(why: str) -> None:
    with suppress(UsageError):
        assert replace(parse(render(replace(RELEASE, why=why))), why="") == replace(RELEASE, why="")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Format: 1", "Format: 2"),
        ("Version: 1.2.0", "Version: 1.2"),
        ("Bundle: bb", "Bundle: bg"),
        ("Lepton-Model: digits\n", ""),
        ("Lepton-Model: digits\n", "Lepton-Model: digits\nLepton-Model: digits\n"),
        ("Lepton-Model: digits\n", "Lepton-Model: digits\nLepton-Other: 1\n"),
    ],
)
def test_what_is_no_version_is_refused(old: str, new: str) -> None:
    with pytest.raises(VerificationError):
        parse(render(RELEASE).replace(old, new))


def test_the_next_version() -> None:
    def there(*names: str) -> dict[Version, Tagged]:
        return {Version.parse(name): Tagged(Version.parse(name), None, Oid("a" * 40)) for name in names}

    assert str(next_version({}, None, "minor")) == "0.1.0"
    assert str(next_version({}, None, "patch", Version.parse("1.0.0"))) == "1.0.0"
    assert str(next_version(there("1.9.0", "1.10.0"), None, "minor")) == "1.11.0"
    assert str(next_version(there("2.0.0-rc.1", "1.0.0"), None, "patch")) == "2.0.0"
    assert str(next_version(there("1.0.0"), Version.parse("0.9.1"), "patch")) == "0.9.1"
    with pytest.raises(VerificationError, match="never moves"):
        next_version(there("1.0.0"), Version.parse("1.0.0"), "patch")


def test_versions_here_and_there(tmp_path: Path, env: dict[str, str]) -> None:
    remote, (ada, bob) = make_people(tmp_path, "ada", "bob")
    ada.git("commit", "-q", "--allow-empty", "-m", "one")
    ada.git("push", "-q", "origin", "HEAD:main")
    commit = Oid(ada.git("rev-parse", "HEAD"))
    release = replace(RELEASE, commit=commit)
    tag = make_tag(ada.repo, "digits@v1.2.0", commit, render(release), sign=False)
    versions.publish(ada.repo, "origin", "digits", ONE, tag)
    objects = open_reader(bob.repo)
    listed = ls_remote(bob.repo, "origin", ["refs/tags/*"])
    found = known(bob.repo, "digits", listed)[ONE]
    assert read(bob.repo, objects, "digits", found, "origin") == release
    assert bob.git("tag") == "", "no tag of the clone appears by reading"
    other = make_tag(ada.repo, "digits@v1.2.0", commit, "by hand\n", sign=False)
    with pytest.raises(RaceLostError, match=r"pushed digits@v1\.2\.0 first"):
        versions.publish(ada.repo, "origin", "digits", ONE, other)
    bob.git("fetch", "-q", "origin")
    bob.git("tag", "-f", "digits@v1.2.0", commit)
    with pytest.raises(VerificationError, match="another tag here than on origin"):
        read(bob.repo, objects, "digits", known(bob.repo, "digits", listed)[ONE], "origin")
    git(remote, "update-ref", "refs/tags/digits@v9.0.0", tag)
    moved = known(ada.repo, "digits", ls_remote(ada.repo, "origin", ["refs/tags/*"]))[Version.parse("9.0.0")]
    with pytest.raises(VerificationError, match="made for something else"):
        read(ada.repo, open_reader(ada.repo), "digits", moved, "origin")

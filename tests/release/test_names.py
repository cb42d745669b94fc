"""Names and versions: what git, a file system and a shell can all live with."""

from __future__ import annotations

import pytest

from git_lepton.errors import UsageError
from git_lepton.release.names import Version, channel_ref, check_name, log_ref, split_spec, version_ref

ORDERED = [
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.10.0",
]
"""The example of semver.org, section 11, and its neighbours."""


def test_versions_are_ordered_as_the_specification_says() -> None:
    versions = [Version.parse(v) for v in ORDERED]
    shuffled = versions[5:] + versions[:5]
    assert sorted(shuffled) == versions
    assert [str(v) for v in versions] == ORDERED


@pytest.mark.parametrize(
    ("text", "part", "after"),
    [
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "major", "2.0.0"),
        ("2.0.0-rc.1", "patch", "2.0.0"),
    ],
)
def test_bumps(text: str, part: str, after: str) -> None:
    assert str(Version.parse(text).bump(part)) == after


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3 ", "v", "1.2.3+", "9" * 80 + ".0.0"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(UsageError):
        Version.parse(text)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", "a.lock", "a/b", "a@b", "ä", "a" * 65, "a b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name, "model")


def test_a_channel_is_not_like_a_version() -> None:
    with pytest.raises(UsageError):
        check_name("v1", "channel")
    check_name("v1", "model")
    check_name("vienna", "channel")


def test_refs() -> None:
    assert version_ref("digits", Version.parse("v1.2.0")) == "refs/tags/digits@v1.2.0"
    assert channel_ref("digits", "prod") == "refs/tags/digits@prod"
    assert log_ref("digits", "prod") == "refs/lepton/log/digits@prod"


def test_specs() -> None:
    assert split_spec("digits") == ("digits", "")
    assert split_spec("digits@prod") == ("digits", "prod")
    assert split_spec("digits@v1.2.0") == ("digits", "v1.2.0")
    for text in ("digits@", "@prod", "digits@v1", "digits@Prod"):
        with pytest.raises(UsageError):
            split_spec(text)

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.reading import parse
from git_lepton.config.store import StoreSettings
from git_lepton.config.values import Config
from git_lepton.errors import UsageError


def test_no_settings_are_the_defaults() -> None:
    assert parse(b"") == Config(StoreSettings(None))


@pytest.mark.parametrize(
    "url",
    [
        "ssh://git@example.com/weights.git",
        "ssh://example.com:2222/~/w.git",
        "https://example.com/team/weights.git",
        "https://example.com:8443/w",
        "file:///srv/weights.git",
        "git@example.com:team/weights.git",
        "example.com:weights.git",
    ],
)
def test_store_urls_that_are_accepted(url: str) -> None:
    assert parse(f'[store]\nurl = "{url}"\n'.encode()).store.url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://example.com/w.git",
        "git://example.com/w.git",
        "ext::sh -c touch% x",
        "example.com::w",
        "--upload-pack=touch x",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=x/y",
        "file://host/share",
        "../weights.git",
        "/srv/weights.git",
        "https://example.com/a b",
        "https://example.com/a\\nb",
        "https://example.com/\\u202eb",
    ],
)
def test_store_urls_that_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"lepton\.toml:2: store\.url must be"):
        parse(f'[store]\nurl = "{url}"\n'.encode())


def test_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(UsageError, match="password") as caught:
        parse(b'[store]\nurl = "https://me:hunter2@example.com/w.git"\n')
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[store]\nurl = 1", "lepton.toml:2: store.url must be a string"),
        ("store = 1", "lepton.toml:1: store must be a table"),
        ('\n[store]\n\nurn = "x"', "lepton.toml:4: unknown key store.urn"),
        ("[store\n", "lepton.toml:1: not valid TOML"),
        ("[store]\nurl = \n", "lepton.toml:2: not valid TOML: Invalid value at column 7"),
        ("a = '''", "lepton.toml:1: not valid TOML: Expected \"'''\" at the end of the file"),
        ("a = " + "[" * 5000, "lepton.toml: "),
    ],
)
def test_mistakes_name_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text.encode())
    assert message in caught.value.message


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(UsageError, match=r"lepton\.toml:2: not UTF-8 at byte 1"):
        parse(b"\n\xff")


def test_size_is_capped() -> None:
    with pytest.raises(UsageError, match="more than"):
        parse(b"#" * ((1 << 20) + 1))


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: ("[store]\nurl=" + t).encode())))
def test_any_input_gives_values_or_a_usage_error(data: bytes) -> None:
    with suppress(UsageError):
        parse(data)

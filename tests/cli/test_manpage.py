"""The man pages in docs/man are what the commands say, and roff reads them without a complaint."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from git_lepton.cli.main import SECTIONS
from git_lepton.cli.manpage import main, pages

MAN = Path(__file__).parents[2] / "docs" / "man"


def test_pages_are_up_to_date() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in MAN.glob("*.1")}
    assert committed == pages(), "run: python -m git_lepton.cli.manpage docs/man"


def test_every_verb_has_a_page_and_a_line_in_the_first_one() -> None:
    texts = pages()
    verbs = [name for section in SECTIONS.values() for name in section]
    assert set(texts) == {"git-lepton.1", *(f"git-lepton-{name}.1" for name in verbs)}
    for name in verbs:
        assert f"git-lepton-{name.replace('-', chr(92) + '-')}" in texts["git-lepton.1"]


def test_writing_removes_pages_of_verbs_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "git-lepton-old.1").write_text("")
    (tmp_path / "other.1").write_text("")
    main(tmp_path)
    assert not (tmp_path / "git-lepton-old.1").exists()
    assert (tmp_path / "other.1").exists()
    assert (tmp_path / "git-lepton-push.1").exists()


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_git_finds_the_page_where_a_wheel_puts_it(tmp_path: Path) -> None:
    """`git lepton --help` asks man, and man looks beside the folders of PATH."""
    shutil.copytree(MAN, tmp_path / "share" / "man" / "man1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git-lepton").touch(mode=0o755)
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "MANPAGER": "cat", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["git", "lepton", "--help"], capture_output=True, text=True, check=False, env=env)
    assert "EXIT STATUS" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_reads_the_page() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(MAN / "git-lepton.1")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
    )
    assert "EXIT STATUS" in done.stdout
    assert done.stderr == ""

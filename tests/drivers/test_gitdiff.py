"""Plain `git diff`, `git log -p` and `git show` on weights: the manifest's lines, under headers that name the layer.

git applies the smudge filter to whatever it hands to a textconv or to an external diff program. Our diff driver is
neither, so that looking at history never costs a weight.
"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from git_lepton.drivers import install
from tests.drivers.conftest import Work
from tests.support import safetensors_bytes, weights

NAME = "bert.safetensors"
PARTS = ("key.bias", "key.weight", "query.bias", "query.weight", "value.bias", "value.weight")
NAMES = (
    "embeddings.position.weight",
    *(f"encoder.layer.{n}.attention.{part}" for n in range(3) for part in PARTS),
    "final.projection.of heads.dense.bias",
    "final.projection.of heads.dense.kernel",
    "final.projection.of heads.dense.scale",
    "final.projection.of heads.dense.weight",
    *(f"scalar{n}" for n in range(5)),
)


def model(*changed: str) -> bytes:
    return safetensors_bytes({name: ("F32", (4, 4), weights(99 if name in changed else 1, 16)) for name in NAMES})


def headers(text: str) -> list[str]:
    return [line.rpartition("@@")[2].strip() for line in text.splitlines() if line.startswith("@@")]


@pytest.fixture
def tuned(work: Work) -> Work:
    """Two commits: in the second, one tensor of a layer, one of a module, and one outside of modules changed."""
    install.install()
    work.commit("pretrained", {NAME: model()})
    work.commit(
        "tuned",
        {NAME: model("encoder.layer.1.attention.value.weight", "final.projection.of heads.dense.weight", "scalar4")},
    )
    return work


def lose_weights(work: Work) -> Path:
    """Take all chunks away, and let any start of the filter fail and leave a mark; returns where."""
    work.git("config", "lepton.hooks", "false")
    for line in work.git("for-each-ref", "--format=%(refname)", "refs/lepton").splitlines():
        work.git("update-ref", "-d", line)
    packs = list((work.folder / ".git/objects/pack").glob("pack-*"))
    assert packs
    for pack in packs:
        pack.chmod(stat.S_IRUSR | stat.S_IWUSR)
        pack.unlink()
    mark = work.folder.parent / "started"
    work.git("config", "filter.lepton.process", f"sh -c 'touch {mark}; exit 1'")
    return mark


def test_history_is_read_without_weights_and_without_the_filter(tuned: Work) -> None:
    mark = lose_weights(tuned)
    text = tuned.git("diff", "HEAD~", "HEAD")
    assert headers(text) == ["", "encoder.layer.1", "encoder.layer.2"]
    assert "+tensor F32 [4,4] " in text
    text = tuned.git("diff", "-U1", "HEAD~", "HEAD")
    assert headers(text) == ["", "encoder.layer.1", "final.projection.of heads.dense", "scalar2"]
    for command in (
        ("diff", "HEAD~", "HEAD"),
        ("diff", "--cached", "HEAD~"),
        ("log", "-p"),
        ("show",),
        ("diff", "--stat", "HEAD~", "HEAD"),
        ("show", "--ext-diff", "--textconv", "HEAD"),
        ("diff", "--word-diff", "HEAD~", "HEAD"),
    ):
        text = tuned.git(*command)
        assert "encoder.layer.1.attention.value.weight" in text or "--stat" in command
        assert not mark.exists(), command


def test_a_file_of_the_work_tree_is_cleaned_and_never_smudged(tuned: Work) -> None:
    tuned.write(NAME, model("encoder.layer.0.attention.value.weight"))
    assert tuned.cleans("diff") != []
    trace = (tuned.folder.parent / "trace").read_text(errors="replace")
    assert "command=smudge" not in trace
    assert "encoder.layer.0.attention.value.weight" in tuned.git("diff")


def test_the_driver_is_taken_out_again(work: Work) -> None:
    install.install()
    assert work.git("config", "--global", install.HEADER_KEY)
    install.uninstall()
    assert work.run("config", "--global", install.HEADER_KEY).returncode == 1
    install.init(work.repo)
    assert work.git("config", "--local", install.HEADER_KEY)
    install.deinit(work.repo)
    assert work.run("config", "--local", install.HEADER_KEY).returncode == 1

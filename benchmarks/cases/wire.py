"""Bytes on the wire when a new version is pushed and fetched, against the new chunks it consists of.

The remote is reached through `relay.py` in the place of ssh, which counts all bytes in both directions of all
connections that `git push` and `git pull` make, negotiation and code included. The server is a bare repository without
any setting. What the new chunks are is asked from git: the chunk blobs that the new version's commit reaches and the
old one's does not.
"""

from __future__ import annotations

import filecmp
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import UnavailableError
from benchmarks.ground import Ground
from benchmarks.peers import LEPTON, Repository
from benchmarks.table import Row, missing, size
from benchmarks.timing import FailedError

FILE = "model.safetensors"
RELAY = Path(__file__).parents[1] / "relay.py"
VERSIONS = "refs/lepton/models/"
SLACK = 16 << 10
"""Bytes allowed above the chunks and one per cent."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A counted connection to servers on this machine."""

    log: Path

    @property
    def env(self) -> Mapping[str, str]:
        """What makes git go through the relay."""
        return {
            "GIT_SSH_COMMAND": f"{shlex.quote(sys.executable)} {shlex.quote(str(RELAY))}",
            "GIT_SSH_VARIANT": "ssh",
            "RELAY_LOG": str(self.log),
        }

    def taken(self) -> int:
        """Bytes of both directions since the last call."""
        if not self.log.exists():
            return 0
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.unlink()
        return sum(entry["up"] + entry["down"] for entry in entries)


def rows(ground: Ground) -> Iterator[Row]:
    """Yield the rows of push and fetch, for a synthetic next version and for a real fine-tune."""
    yield from _measure(ground, "a tenth of the tensors changed", [ground.data.bf16(), ground.data.bf16_next()])
    tuned = "MiniLM, two layers tuned"
    try:
        versions = [ground.data.minilm().weights, ground.data.finetunes()["top-60"]]
    except UnavailableError as error:
        yield missing(f"wire, {tuned}", str(error))
        return
    yield from _measure(ground, tuned, versions)


def _measure(ground: Ground, what: str, versions: Sequence[Path]) -> Iterator[Row]:
    wire = Wire(ground.folder("wire") / "log")
    server = ground.folder("server")
    ground.git(server, "init", "-q", "--bare")
    source = Repository.new(ground, LEPTON)
    source.git("remote", "add", "origin", f"ssh://here{server}")
    source.commit(versions[0], name=FILE)
    source.git("push", "-q", "-u", "origin", "main", env=wire.env)
    before = set(_versions(ground, server))
    clone = ground.folder("clone")
    ground.git(ground.work, "clone", "-q", f"ssh://here{server}", clone, env=wire.env)
    source.commit(versions[1], name=FILE)
    wire.taken()
    source.git("push", "-q", env=wire.env)
    pushed = wire.taken()
    chunks = _new_chunks(ground, server, before)
    ground.git(clone, "pull", "-q", env=wire.env)
    pulled = wire.taken()
    if not filecmp.cmp(clone / FILE, versions[1], shallow=False):
        raise FailedError("the pull did not bring the new weights")
    for folder in (server, source.path, clone, wire.log.parent):
        shutil.rmtree(folder)
    raw = versions[1].stat().st_size
    yield _row(f"wire: push, {what}", pushed, chunks, raw)
    yield _row(f"wire: fetch, {what}", pulled, chunks, raw)


def _versions(ground: Ground, server: Path) -> list[str]:
    return ground.git(server, "for-each-ref", "--format=%(objectname)", VERSIONS).split()


def _new_chunks(ground: Ground, server: Path, before: set[str]) -> int:
    """Bytes of the chunk blobs that came to the server with the latest version."""
    new = [commit for commit in _versions(ground, server) if commit not in before]
    listed = ground.git(server, "rev-list", "--objects", *new, "--not", *sorted(before)).splitlines()
    oids = ground.folder("listing") / "oids"
    oids.write_text("".join(f"{line.split()[0]}\n" for line in listed if line.endswith(".lp")))
    script = f"git cat-file --batch-check='%(objectsize)' < {shlex.quote(str(oids))}"
    sizes = ground.call("sh", "-c", script, cwd=server).split()
    shutil.rmtree(oids.parent)
    return sum(map(int, sizes))


def _row(what: str, sent: int, chunks: int, raw: int) -> Row:
    limit = chunks * 1.01 + SLACK
    return Row(
        what,
        size(sent),
        f"new chunks {size(chunks)}; git-lfs sends the file, {size(raw)}",
        f"{sent / chunks:.4f} x the chunks",
        f"≤ {size(limit)}",
        sent <= limit,
        {"sent_bytes": sent, "chunk_bytes": chunks, "raw_bytes": raw},
    )

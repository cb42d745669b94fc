"""What agents say they run: a small blob for each agent and channel (docs/releases.md, "Status").

    refs/lepton/status/<model>@<channel>/<agent>  ->  blob with JSON

A channel tells what was wanted, this tells what ran. Only the agent writes its ref, the newest report replaces the one
before, and each carries the last releases that it served, so that "what ran at T" is answered from one blob. Nobody
acts on a report: who may push may write one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import FrameError, LeptonError, RaceLostError, UsageError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import list_refs
from git_lepton.git.remote import ls_remote, push
from git_lepton.git.repo import Repo
from git_lepton.record.plain import from_json, to_plain
from git_lepton.release import channels
from git_lepton.release.channels import MIRROR, mirror
from git_lepton.release.names import check_name
from git_lepton.values import Hash, Oid

REMOTE_KEY: Final = "lepton.statusRemote"
STATUS: Final = "refs/lepton/status/"
SCHEMA: Final = "git-lepton.status/1"
MAX_BYTES: Final = 256 << 10
MAX_HISTORY: Final = 50

_ASKED: Final = "status of "
_REF: Final = re.compile(r"([a-z0-9._-]+)@([a-z0-9._-]+)/([a-z0-9._-]+)")


@dataclass(frozen=True, slots=True)
class Ran:
    """One release that an agent served, from `since` (seconds since 1970) until the next one."""

    since: float
    seq: int
    version: str
    bundle: Hash
    trigger: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What one agent says of one channel.

    Attributes:
        agent: its id, of the grammar of model names.
        model, channel: what it follows.
        time: when it said so, seconds since 1970.
        ready: a release serves, and it is what the channel asks of this agent.
        state: what it does, in its own words.
        desired_seq: number of the newest move that it verified.
        seq: number of the move that brought what it serves; 0 for none, or a plain tag.
        version: text of that version; "" for none.
        bundle: what it serves; None for nothing.
        commit: where that came from; "" for none.
        variant: recipe, "" for the original.
        suspended: a person asked it to leave the model alone.
        problem: why it does not follow, one sentence, or "".
        history: what it served, the newest first, at most MAX_HISTORY.
    """

    agent: str
    model: str
    channel: str
    time: float
    ready: bool
    state: str = ""
    desired_seq: int = 0
    seq: int = 0
    version: str = ""
    bundle: Hash | None = None
    commit: str = ""
    variant: str = ""
    suspended: bool = False
    problem: str = ""
    history: tuple[Ran, ...] = ()

    def at(self, time: float) -> Ran | None:
        """What it served at `time`; None when it does not tell."""
        return next((ran for ran in self.history if ran.since <= time), None)


def ref_of(model: str, channel: str, agent: str) -> str:
    """Where an agent's report lies. Raises UsageError for what is no name."""
    check_name(agent, "agent")
    return f"{STATUS}{check_name(model, 'model')}@{check_name(channel, 'channel')}/{agent}"


def to_text(report: StatusReport) -> bytes:
    """The report as JSON."""
    return (json.dumps({"schema": SCHEMA, **to_plain(report)}, ensure_ascii=True) + "\n").encode("ascii")


def parse(data: bytes) -> StatusReport:
    """Read a report.

    Raises:
        FrameError: saying what is wrong; nothing else for any input.
    """
    report = from_json(StatusReport, data, "a status", schema=SCHEMA, limit=MAX_BYTES)
    try:
        ref_of(report.model, report.channel, report.agent)
    except UsageError as error:
        raise FrameError(f"a status names what cannot be: {error.message}") from error
    if not all(map(math.isfinite, (report.time, *(ran.since for ran in report.history)))):
        raise FrameError("a status has a time that is none")
    if len(report.history) > MAX_HISTORY:
        raise FrameError(f"a status tells of more than {MAX_HISTORY} releases")
    return report


def publish(repo: Repo, remote: str, report: StatusReport) -> None:
    """Push a report in place of the one before.

    Raises:
        MissingError: the remote cannot be reached.
        RaceLostError: it did not take the report.
    """
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", input=to_text(report)).stdout.decode("ascii")
    ref = ref_of(report.model, report.channel, report.agent)
    result = push(repo, remote, [f"+{blob.strip()}:{ref}"]).get(ref)
    if result is None or result.status == "rejected":
        raise RaceLostError(f"{remote} did not take the status {ref}: {result.summary if result else 'no answer'}")


def refresh(repo: Repo, remote: str) -> None:
    """Bring the reports that a remote has. Raises MissingError when it cannot be reached."""
    mirror(repo, remote, ls_remote(repo, remote, [STATUS + "*"]), lambda ref: ref.startswith(STATUS))
    channels.note_asked(repo, _ASKED + remote)


def asked(repo: Repo, remote: str) -> float:
    """When a remote was last asked for reports, in seconds since 1970; 0 for never."""
    return channels.asked(repo, _ASKED + remote)


def mirrored(repo: Repo, objects: ObjectReader, remote: str) -> Iterator[StatusReport | str]:
    """The reports as the remote last had them, by name; for one that cannot be read, a sentence."""
    prefix = f"{MIRROR}{remote}/{STATUS.removeprefix('refs/')}"
    for ref, oid in sorted(list_refs(repo, prefix).items()):
        name = ref.removeprefix(prefix)
        try:
            yield _read(objects, oid, name)
        except LeptonError as error:
            yield f"{name}: {error.message}"


def _read(objects: ObjectReader, oid: Oid, name: str) -> StatusReport:
    found = _REF.fullmatch(name)
    if found is None or objects.size(oid) > MAX_BYTES:
        raise FrameError("not the name, or not the size, of a status")
    kind, data = objects.read(oid)
    if kind != "blob":
        raise FrameError(f"a {kind}, not a status")
    report = parse(bytes(data))
    if (report.model, report.channel, report.agent) != found.groups():
        raise FrameError("it is the status of something else")
    return report

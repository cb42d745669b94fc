"""CI's verdicts, kept beside the weights: a small blob for each model and gate (docs/formats.md, "Verdict").

    refs/lepton/verdicts/<bundle>/<gate hash>  ->  blob with JSON

A commit is not changed by what is found about it later, so the answer of a gate that is left to CI stands beside the
history, found by what was judged (the bundle) and by what was asked (the gate's rule and its examples). Whoever may
push to the remote may write one, as for everything else there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from git_lepton.config.values import GateRule
from git_lepton.errors import FrameError, RaceLostError
from git_lepton.git.objects import ObjectReader
from git_lepton.git.refs import Transaction, read_ref
from git_lepton.git.remote import fetch_refs, ls_remote, push
from git_lepton.git.repo import Repo
from git_lepton.record.plain import from_json, to_plain
from git_lepton.record.values import Outcome, Verdict
from git_lepton.values import Hash, Oid

PREFIX: Final = "refs/lepton/verdicts/"
SCHEMA: Final = "git-lepton.verdict/1"
MAX_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What CI found about one gate of one model and all its variants.

    Attributes:
        model: its name.
        gate: the gate's name.
        bundle: what was judged.
        rule: hash of the rule and its examples, see `gate_hash`.
        verdict: the worst of all outcomes.
        commit: where the model was found.
        against: what the baseline is called; baseline: its bundle.
        outcome: of the model and of each variant.
        host: where it was measured.
    """

    model: str
    gate: str
    bundle: Hash
    rule: Hash
    verdict: Verdict
    commit: str
    against: str = ""
    baseline: Hash | None = None
    outcome: tuple[Outcome, ...] = ()
    host: Mapping[str, str] = field(default_factory=dict)


def gate_hash(rule: GateRule, data: Hash | None) -> Hash:
    """What a gate asks, as a hash: its rule and its examples. Who judges it, and when, is left out."""
    table = {key: value for key, value in to_plain(rule).items() if key not in {"when", "timeout", "batch"}}
    text = json.dumps([table, data], sort_keys=True, ensure_ascii=True)
    return Hash(blake3(text.encode("ascii")).hexdigest())


def ref_of(bundle: Hash, rule: Hash) -> str:
    """The ref of a verdict."""
    return f"{PREFIX}{bundle}/{rule}"


def to_text(verdict: GateVerdict) -> bytes:
    """The blob's content."""
    return (json.dumps({"schema": SCHEMA, **to_plain(verdict)}, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def parse(data: bytes) -> GateVerdict:
    """Read a blob.

    Raises:
        FrameError: it is no verdict of this version.
    """
    return from_json(GateVerdict, data, "a verdict", schema=SCHEMA, limit=MAX_BYTES)


def write(repo: Repo, verdicts: Iterable[GateVerdict]) -> dict[str, Oid]:
    """Keep verdicts in this repository, in place of earlier ones; returns their refs."""
    written = {}
    transaction = Transaction(repo)
    for verdict in verdicts:
        ref = ref_of(verdict.bundle, verdict.rule)
        blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", input=to_text(verdict)).stdout
        written[ref] = Oid(blob.decode("ascii").strip())
        before = read_ref(repo, ref)
        if before != written[ref]:
            transaction.update(ref, written[ref], before)
    transaction.commit()
    return written


def read(repo: Repo, objects: ObjectReader, bundle: Hash, rule: Hash) -> GateVerdict | None:
    """The verdict that is here, or None.

    Raises:
        FrameError: what is there is no verdict, or one about something else.
    """
    oid = read_ref(repo, ref_of(bundle, rule))
    if oid is None:
        return None
    kind, data = objects.read(oid)
    if kind != "blob":
        raise FrameError(f"{ref_of(bundle, rule)} is a {kind}")
    found = parse(bytes(data))
    if (found.bundle, found.rule) != (bundle, rule):
        raise FrameError(f"{ref_of(bundle, rule)} holds a verdict about something else")
    return found


def fetch(repo: Repo, remote: str, bundles: Sequence[Hash]) -> None:
    """Bring the verdicts that a remote has about these models, in place of ours.

    Raises:
        MissingError: it cannot be reached.
    """
    fetch_refs(repo, remote, [f"+{PREFIX}{bundle}/*:{PREFIX}{bundle}/*" for bundle in bundles])


def publish(repo: Repo, remote: str, written: Mapping[str, Oid]) -> None:
    """Push verdicts, in place of earlier ones there.

    Raises:
        MissingError: the remote cannot be reached.
        RaceLostError: somebody else pushed one of them meanwhile, or the remote refuses them.
    """
    there = ls_remote(repo, remote, list(written)) if written else {}
    wanted = {ref: oid for ref, oid in written.items() if there.get(ref) != oid}
    if not wanted:
        return
    results = push(
        repo,
        remote,
        [f"{oid}:{ref}" for ref, oid in wanted.items()],
        leases={ref: there.get(ref) for ref in wanted},
    )
    for ref in wanted:
        result = results.get(ref)
        if result is None or result.status == "rejected":
            why = "no answer" if result is None else result.summary
            raise RaceLostError(f"the verdict {ref} was not taken by {remote}: {why}", hint="run it again")

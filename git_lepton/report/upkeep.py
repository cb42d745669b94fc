"""What versions cost, what a prune would take, and what a check found."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from git_lepton.errors import EXIT_MISSING, EXIT_OK, EXIT_REFUSED
from git_lepton.report.listing import SHORT
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, share, size
from git_lepton.transfer.prune_remote import RemotePrunePlan
from git_lepton.upkeep.check import Finding
from git_lepton.upkeep.prune import PrunePlan
from git_lepton.upkeep.usage import VersionUsage


def usage_text(rows: Sequence[VersionUsage]) -> str:
    """A line for each version, the oldest first: its size, the bytes that it added, and the sums."""
    if not rows:
        return "no weights are stored here"
    lines = [
        (
            row.hash[:SHORT],
            size(row.raw),
            "-" if row.added is None else size(row.added),
            "-" if row.added is None else share(row.added, row.raw),
            _paths(row),
        )
        for row in rows
    ]
    header = ("version", "size", "added", "of size", "path")
    text = table(lines, right="lrrr", header=header)
    total = usage_totals(rows)
    return (
        f"{text}\n{counted(len(rows), 'version')}: {size(total['raw'])} of files take {size(total['added'])},"
        f" {share(total['saved'], total['raw'])} saved"
    )


def usage_totals(rows: Sequence[VersionUsage]) -> dict[str, int]:
    """Sums over the versions whose chunks are known."""
    known = [row for row in rows if row.added is not None]
    raw, added = sum(row.raw for row in known), sum(row.added or 0 for row in known)
    return {"raw": raw, "added": added, "saved": raw - added}


def usage_fields(rows: Sequence[VersionUsage]) -> dict[str, Any]:
    """What `du --json` prints."""
    versions = [
        {
            "blake3": row.hash,
            "paths": list(row.paths),
            "size": row.raw,
            "stored": row.stored,
            "added": row.added,
            "here": row.complete,
        }
        for row in rows
    ]
    return {"versions": versions, **usage_totals(rows)}


def _paths(row: VersionUsage) -> str:
    if not row.paths:
        return "(nothing names it)"
    mark = "" if row.complete else "  (not here)"
    return ", ".join(map(safe, row.paths[:3])) + (", …" if len(row.paths) > 3 else "") + mark


def prune_text(plan: PrunePlan) -> str:
    """What a prune would take, and what stays."""
    stay = f"{counted(plan.alive, 'version')} are named by branches, tags, reflogs, the stash or an index, and stay"
    lines = [stay]
    if plan.young:
        lines.append(f"{counted(len(plan.young), 'version')} nothing names, but came within the grace, and stay")
    if plan.dead:
        lines += [f"{counted(len(plan.dead), 'version')} nothing names, {size(plan.freed)}, would go:"]
        lines += [f"  {version}" for version in plan.dead]
    else:
        lines.append("nothing to prune")
    return "\n".join(lines)


def prune_fields(plan: PrunePlan, *, done: bool) -> dict[str, Any]:
    """What `prune --json` prints."""
    return {
        "remote": None,
        "dead": list(plan.dead),
        "young": list(plan.young),
        "alive": plan.alive,
        "freed": plan.freed,
        "done": done,
    }


def remote_prune_text(plan: RemotePrunePlan, alive: int, young: int) -> str:
    """What would be deleted on a remote."""
    lines = [f"{plan.remote} has {counted(alive, 'version')} that branches or tags, here or there, name: they stay"]
    if young:
        lines.append(
            f"{counted(young, 'version')} nothing names, but came within the grace or was never here: they stay"
        )
    if plan.opaque:
        lines.append(f"{counted(len(plan.opaque), 'version')} there cannot be read, and may keep bytes of others alive")
    if not plan.versions:
        return "\n".join([*lines, "nothing to prune"])
    lines += [f"{counted(len(plan.versions), 'version')} would go from {plan.remote}, for everybody:"]
    lines += [f"  {version}" for version in plan.versions]
    lines += ["the server frees the space at its next gc"]
    return "\n".join(lines)


def remote_prune_fields(plan: RemotePrunePlan, alive: int, young: int, *, done: bool) -> dict[str, Any]:
    """What `prune --remote --json` prints."""
    return {"remote": plan.remote, "dead": list(plan.versions), "alive": alive, "young": young, "done": done}


def finding_text(finding: Finding) -> str:
    """One line: `model.onnx: tensor layer1.weight, chunk 3: chunk 12ab… is damaged`."""
    inside = [f"tensor {safe(finding.tensor)}"] if finding.tensor is not None else []
    inside += [f"chunk {finding.chunk}"] if finding.chunk is not None else []
    return ": ".join([safe(finding.path), *([", ".join(inside)] if inside else []), finding.message])


def findings_exit(findings: Sequence[Finding]) -> int:
    """5 when something is corrupt, 8 when something is only missing, 0 for nothing."""
    if not findings:
        return EXIT_OK
    return EXIT_MISSING if all(finding.kind == "missing" for finding in findings) else EXIT_REFUSED


def findings_summary(findings: Sequence[Finding], versions: int, where: str = "") -> str:
    """The last line of `fsck`."""
    done = f"{counted(versions, 'version')} of weights checked{where}"
    kinds = [finding.kind for finding in findings]
    bad = [f"{counted(kinds.count(kind), 'problem')} ({kind})" for kind in dict.fromkeys(kinds)]
    return f"{done}: {', '.join(bad) or 'nothing is wrong'}"


def findings_advice(findings: Sequence[Finding], *, remote: bool) -> str | None:
    """What to do next, about this repository or a remote."""
    kinds = {finding.kind for finding in findings}
    if remote and kinds:
        return "git lepton push REMOTE REV from a clone that has the weights mends the remote"
    if "corrupt" in kinds:
        return (
            "to heal from a remote that has it: move the damaged pack (git fsck names it) out of objects/pack,"
            " then git lepton fetch --all"
        )
    if "lie" in kinds:
        return "restore the manifest from a good commit: git checkout COMMIT -- PATH"
    advice = "git lepton fetch --all brings what is missing, and pull writes it; --from URL asks another place"
    return advice if kinds else None


def findings_fields(findings: Sequence[Finding], versions: int) -> dict[str, Any]:
    """What `fsck --json` prints."""
    return {"versions": versions, "problems": [dataclasses.asdict(finding) for finding in findings]}

"""What a fetch brought and what a push sent, or would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from git_lepton.report.listing import SHORT
from git_lepton.report.table import safe, table
from git_lepton.report.units import counted, size
from git_lepton.transfer.fetch import FetchReport
from git_lepton.transfer.need import Need, Needs, Origin
from git_lepton.transfer.push import PushReport
from git_lepton.values import Hash


def fetch_text(report: FetchReport, needs: Needs) -> str:
    """One line: what came, and what was here before."""
    here = len(needs) - len(report.brought) - len(report.missing)
    if not needs:
        return "nothing to fetch: no weights are tracked there"
    if not report.brought:
        return f"{counted(here, 'version')} of weights, all here already" if not report.missing else "nothing came"
    return (
        f"{counted(len(report.brought), 'version')} of weights brought, {size(report.bytes)}; {here} were here already"
    )


def missing_text(missing: Mapping[Hash, str], needs: Needs, origins: Mapping[Hash, Origin | None]) -> str:
    """A paragraph for each version that is nowhere to be had: file, size, who committed it, and why."""
    lines = [f"the weights of {counted(len(missing), 'version')} are nowhere to be had:"]
    for version, why in missing.items():
        need = needs[version][0]
        brought = origins.get(version)
        by = f", commit {brought.commit} of {brought.date} by {safe(brought.author)}" if brought else ""
        lines += [f"  {safe(need.path)} ({size(need.size)}{by})", f"      {why}"]
    return "\n".join(lines)


MISSING_ADVICE = (
    "whoever has them runs 'git lepton push REMOTE'; 'git lepton fetch --from URL' asks another place, such as a"
    " colleague's clone"
)


def fetch_fields(report: FetchReport, needs: Needs) -> dict[str, Any]:
    """What `fetch --json` prints."""
    return {
        "brought": [_version(needs, version) for version in report.brought],
        "missing": [_version(needs, version) | {"message": why} for version, why in report.missing.items()],
        "bytes": report.bytes,
        "versions": len(needs),
    }


def push_text(report: PushReport, needs: Needs, remote: str, *, dry_run: bool) -> str:
    """What was sent, or would be; with `dry_run` every file is listed."""
    if not needs:
        return "nothing to push: no weights are tracked there"
    lines = []
    if not report.pushed:
        lines.append(f"{remote} has all {counted(len(report.present), 'version')} of weights")
    else:
        verb = "would get" if dry_run else "got"
        lines.append(
            f"{remote} {verb} {counted(len(report.pushed), 'version')} of weights: {size(report.cost.bytes)} sent for"
            f" {size(report.cost.raw_bytes)} of files; it has {len(report.present)} already"
        )
    if dry_run:
        rows = [(version[:SHORT], size(needs[version][0].size), _paths(needs[version])) for version in report.pushed]
        lines += [table(rows, right="lr", indent=2)] if rows else []
        lines += [
            f"  {version[:SHORT]}  {safe(needs[version][0].path)}: {why}" for version, why in report.missing.items()
        ]
    return "\n".join(lines)


def push_fields(report: PushReport, needs: Needs, remote: str, *, dry_run: bool) -> dict[str, Any]:
    """What `push --json` prints."""
    return {
        "remote": remote,
        "dry_run": dry_run,
        "pushed": [_version(needs, version) for version in report.pushed],
        "present": len(report.present),
        "missing": [_version(needs, version) | {"message": why} for version, why in report.missing.items()],
        "chunks": report.cost.chunks,
        "bytes": report.cost.bytes,
        "raw_bytes": report.cost.raw_bytes,
        "notes": list(report.notes),
    }


def _version(needs: Needs, version: Hash) -> dict[str, Any]:
    places = needs[version]
    return {"blake3": version, "size": places[0].size, "paths": sorted({place.path for place in places})}


def _paths(places: list[Need]) -> str:
    names = list(dict.fromkeys(safe(place.path) for place in places))
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

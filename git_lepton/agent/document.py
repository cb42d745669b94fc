"""The agent's status as a plain table, for JSON: what the command prints, the socket answers and the server shows."""

from __future__ import annotations

from typing import Any

from git_lepton.agent.values import AgentStatus, Failure, ModelStatus, Release


def status_fields(status: AgentStatus) -> dict[str, Any]:
    """All of it; times are seconds since 1970, 0 for never."""
    return {
        "agent": status.agent,
        "last_poll": status.last_poll,
        "last_success": status.last_success,
        "last_swap": status.last_swap,
        "interval": status.interval,
        "models": [_model(model) for model in status.models],
    }


def release_fields(release: Release) -> dict[str, Any]:
    """A release without its files."""
    return {
        "bundle": release.bundle,
        "version": release.version,
        "variant": release.variant or "original",
        "seq": release.seq,
        "tag": release.tag,
        "commit": release.commit,
        "by": release.by,
        "main": release.main,
        "size": release.size,
        "since": release.since,
    }


def _model(model: ModelStatus) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.model,
        "channel": model.channel,
        "state": model.state,
        "ready": model.ready,
        "suspended": model.suspended,
        "desired_seq": model.desired_seq,
        "active_seq": model.release.seq if model.release else 0,
        "release": release_fields(model.release) if model.release else None,
        "failed": _failure(model.failed) if model.failed else None,
        "problem": model.problem,
        "current": model.current,
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "seq": failure.seq,
        "tag": failure.tag,
        "reason": failure.reason,
        "message": failure.message,
        "time": failure.time,
    }

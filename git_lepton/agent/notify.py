"""Telling the server that `current` has moved: by a command, a signal, or Triton's repository API; or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from git_lepton import proc
from git_lepton.agent import web
from git_lepton.agent.settings import Follow
from git_lepton.agent.values import Release
from git_lepton.errors import CommandError, MissingError


def environment(follow: Follow, release: Release) -> Mapping[str, str]:
    """What commands of agent.toml are told, as variables."""
    return {
        "LEPTON_NAME": follow.name,
        "LEPTON_MODEL": follow.model,
        "LEPTON_CHANNEL": follow.channel,
        "LEPTON_VERSION": release.version,
        "LEPTON_BUNDLE": release.bundle,
        "LEPTON_VARIANT": release.variant,
        "LEPTON_SEQ": str(release.seq),
        "LEPTON_CURRENT": os.fspath(follow.current),
        "LEPTON_RELEASE": os.fspath(follow.folder / "releases" / release.bundle),
        "LEPTON_MAIN": release.main,
    }


def tell(follow: Follow, release: Release) -> None:
    """Tell the server, as agent.toml says.

    Raises:
        LeptonError: the server did not take it, or could not be told.
    """
    how = follow.notify
    if how.command:
        proc.run(how.command, cwd=follow.folder, env=environment(follow, release), timeout=how.timeout)
    elif how.signal is not None:
        _send(how.signal, how.pid, how.pidfile)
    elif how.triton is not None:
        name = quote(how.triton_model or follow.model, safe="")
        url = f"{how.triton.rstrip('/')}/v2/repository/models/{name}/load"
        answer = web.request(url, method="POST", body=b"{}", timeout=how.timeout)
        if answer.status != 200:
            said = answer.body[:300].decode(errors="replace").strip()
            raise MissingError(f"Triton did not load {how.triton_model or follow.model}: {answer.status} {said}")


def _send(name: str, pid: int | None, pidfile: Path | None) -> None:
    number = getattr(signal, f"SIG{name.removeprefix('SIG')}", None)
    if not isinstance(number, signal.Signals):
        raise CommandError(["kill"], 127, f"there is no signal {name}")
    try:
        if pid is None:
            assert pidfile is not None
            text = pidfile.read_text(encoding="ascii", errors="replace").strip()
            if not text.isdecimal() or not 1 < int(text) < 1 << 22:
                raise CommandError(["kill"], 127, f"{pidfile} has no process number")
            pid = int(text)
        os.kill(pid, number)
    except OSError as error:
        why = f"{name} to {pid or pidfile}: {error.strerror or error}"
        raise CommandError(["kill", f"-{name}", str(pid or pidfile)], 1, why) from error

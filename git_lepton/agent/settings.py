"""`agent.toml`: what an agent follows, whom it trusts and how it puts models in place (docs/agent.md).

It is the operator's file, on the agent's machine: nothing that a repository says can widen it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

CHANNEL: Final = "channel"
ORIGINAL: Final = "original"


@dataclass(frozen=True, slots=True)
class Warmup:
    """`[model.NAME.warmup]`: how a release is tried before it is put in place.

    Attributes:
        enabled: it is tried at all.
        command: tries it instead of our own child; it runs in the release's folder.
        timeout: seconds for the whole.
        memory: address space of the child in bytes; None chooses by the size of the release.
        rtol, atol: tolerances against the golden file.
        golden: "required" refuses a release that has none.
    """

    enabled: bool = True
    command: tuple[str, ...] = ()
    timeout: float = 60.0
    memory: int | None = None
    rtol: float = 1e-3
    atol: float = 1e-4
    golden: Literal["optional", "required"] = "optional"


@dataclass(frozen=True, slots=True)
class Notify:
    """`[model.NAME.notify]`: how the server is told; nothing is set where it watches the folder itself.

    Attributes:
        command: program and arguments.
        signal: name, such as "HUP".
        pid, pidfile: whom it is sent to.
        triton: address of a Triton server; its model repository API is asked to load.
        triton_model: the model's name there.
        timeout: seconds.
    """

    command: tuple[str, ...] = ()
    signal: str | None = None
    pid: int | None = None
    pidfile: Path | None = None
    triton: str | None = None
    triton_model: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Watch:
    """`[model.NAME.watch]`: how a release is looked at after it was put in place.

    Attributes:
        command: exit status 0 passes, 3 is undecided, anything else fails.
        url: is asked by GET; 200 to 299 passes.
        prometheus: address of a Prometheus.
        query: what it is asked.
        min, max: between which every value must be.
        duration: seconds for which it is watched.
        interval: seconds between two looks.
        timeout: seconds for one look.
        failures: looks that may fail before the release is taken back.
        on_inconclusive: what happens when it ends without one look that passed.
    """

    command: tuple[str, ...] = ()
    url: str | None = None
    prometheus: str | None = None
    query: str | None = None
    min: float | None = None
    max: float | None = None
    duration: float = 60.0
    interval: float = 10.0
    timeout: float = 10.0
    failures: int = 0
    on_inconclusive: Literal["keep", "fallback"] = "keep"


@dataclass(frozen=True, slots=True)
class Follow:
    """`[model.NAME]`: one channel that is followed.

    Attributes:
        name: of the table, and of the model unless that is given.
        model, channel: the tag is `MODEL@CHANNEL`.
        folder: has `current` and `releases`.
        variant: machine -> recipe; the key "" is for all others, the value "channel" takes what the tag names.
        principals: who may move the channel; empty for everybody in the allowed-signers file.
        keep: releases that stay on the disk, the current one among them.
        max_bytes: largest bundle that is taken.
        record: "optional" follows models without a record.
        allow_pickle: content that runs code when it is loaded is taken.
        warmup, notify, watch: see there; watch is None for no watch.
    """

    name: str
    model: str
    channel: str
    folder: Path
    variant: Mapping[str, str] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    keep: int = 3
    max_bytes: int = 64 << 30
    record: Literal["required", "optional"] = "required"
    allow_pickle: bool = False
    warmup: Warmup = Warmup()
    notify: Notify = Notify()
    watch: Watch | None = None

    @property
    def current(self) -> Path:
        """What readers open: a link to the release in force."""
        return self.folder / "current"

    def variant_here(self, of_channel: str) -> str:
        """The recipe for this machine, "" for the original; `of_channel` is what the tag names."""
        wanted = self.variant.get(platform.machine(), self.variant.get("", CHANNEL))
        return of_channel if wanted == CHANNEL else "" if wanted == ORIGINAL else wanted


@dataclass(frozen=True, slots=True)
class Http:
    """`[http]`: the server of metrics and state; without a `listen` there is none.

    Attributes:
        listen: "address:port".
        certificate, key: PEM files; with them it speaks TLS.
        users: a file of `name:hash` lines; with it a password is asked for.
        poke: whether POST /poke makes the agent ask the remote at once.
    """

    listen: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    users: Path | None = None
    poke: bool = True


@dataclass(frozen=True, slots=True)
class Reports:
    """`[status]`: telling a remote what runs here; without a `remote` nobody is told.

    Attributes:
        remote: address of the repository that reports are pushed to.
        interval: seconds after which a report is pushed although nothing changed.
    """

    remote: str | None = None
    interval: float = 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All of `agent.toml`.

    Attributes:
        remote: address of the repository.
        store: address of the repository of the weights, when that is another.
        state: the agent's own folder.
        id: by which rings choose this agent.
        interval: seconds between polls.
        timeout: seconds for one git command.
        trust: "signed", or "none" for tags that nobody signs.
        allowed_signers, revoked_keys: files for ssh-keygen.
        object_format: how the remote names objects.
        http: see `Http`.
        status: see `Reports`.
        follows: by name, in the order of the file.
    """

    remote: str
    state: Path
    follows: Mapping[str, Follow]
    store: str | None = None
    id: str = ""
    interval: float = 60.0
    timeout: float = 3600.0
    trust: Literal["signed", "none"] = "signed"
    allowed_signers: Path | None = None
    revoked_keys: Path | None = None
    object_format: Literal["sha1", "sha256"] = "sha1"
    http: Http = Http()
    status: Reports = Reports()


def schemes(settings: Settings) -> frozenset[str]:
    """The transports that git may use for the addresses of these settings."""
    found = set()
    for address in filter(None, (settings.remote, settings.store)):
        scheme = re.match(r"(\w+)://", address)
        found.add(scheme[1] if scheme else "file" if address.startswith("/") else "ssh")
    return frozenset(found)

"""A remote, a person who releases, and an agent: real git, real ssh keys."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blake3 import blake3

from git_lepton.agent.engine import Engine
from git_lepton.agent.events import Event, PollFailed, Refused, SwapFailed, Swapped
from git_lepton.agent.reading import parse
from git_lepton.agent.values import ModelStatus
from git_lepton.git.objects import open_reader
from git_lepton.git.repo import Repo, discover
from git_lepton.record.bundle import BundleFile, make
from git_lepton.record.record import path_of, to_text
from git_lepton.record.values import Outcome, Record, Variant
from git_lepton.release.channels import Channel, find, mirrored, refresh
from git_lepton.release.message import Action, Move
from git_lepton.release.moves import carry_out, plan
from git_lepton.release.names import Version
from git_lepton.store import manifest
from git_lepton.store.source import BytesSource
from git_lepton.store.store import Store
from git_lepton.values import Hash, Oid
from tests.support import git, model_bytes

WEIGHTS = (".safetensors", ".onnx", ".pt", ".bin", ".npz")


@dataclass
class Recorder:
    """Keeps every event."""

    events: list[Event] = field(default_factory=list)

    def notice(self, event: Event) -> None:
        self.events.append(event)

    def refusals(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, Refused)]

    def swaps(self) -> list[Swapped]:
        return [e for e in self.events if isinstance(e, Swapped)]

    def failures(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, SwapFailed)]

    def polls_failed(self) -> list[str]:
        return [e.reason for e in self.events if isinstance(e, PollFailed)]


@dataclass
class World:
    """A folder with `remote.git`, the person's clone `dev`, keys, and the agent's folders."""

    top: Path

    @property
    def remote(self) -> Path:
        return self.top / "remote.git"

    @property
    def signers(self) -> Path:
        return self.top / "allowed_signers"

    @property
    def repo(self) -> Repo:
        return discover(self.top / "dev")

    def key(self, name: str, *, allowed: bool = True) -> Path:
        """A person's ssh key; with `allowed` the agent's list has it."""
        path = self.top / f"key-{name}"
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        if allowed:
            public = path.with_suffix(".pub").read_text().split()[:2]
            with self.signers.open("a") as stream:
                stream.write(f'{name}@example.org namespaces="git" {" ".join(public)}\n')
        return path

    def sign_as(self, key: Path) -> None:
        git(self.top / "dev", "config", "user.signingkey", str(key))

    # What a person does

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        model: str = "digits",
        main: str = "model.safetensors",
        variant: Mapping[str, bytes] | None = None,
        verdict: str = "pass",
        record: bool = True,
        edit: Record | None = None,
        golden: bytes | None = None,
    ) -> tuple[Oid, Record]:
        """Commit and push the files of a model with its record; weights as manifests, their versions under refs."""
        folder = self.top / "dev" / "models" / model
        listed, derived = [], []
        with Store(self.repo) as store:

            def line(name: str, data: bytes) -> BundleFile:
                return BundleFile(name, 0o100644, len(data), Hash(blake3(data).hexdigest()))

            for name, data in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if name.endswith(WEIGHTS):
                    before = [manifest.parse(path.read_bytes())] if path.exists() else []
                    path.write_bytes(store.add(BytesSource(data), name, candidates=before).to_bytes())
                else:
                    path.write_bytes(data)
                listed.append(line(name, data))
            for name, data in (variant or {}).items():
                store.add(BytesSource(data), name)
                derived.append(line(name, data))
            if golden is not None:
                store.add(BytesSource(golden), "golden.npz")
        original = make(listed)
        made = Record(
            model=model,
            root=f"models/{model}",
            main=main,
            bundle=original.hash,
            rules=Hash("0" * 64),
            files=original.files,
            outcome=(Outcome("accuracy", "", verdict),),  # type: ignore[arg-type]
            golden=None if golden is None else line("golden.npz", golden),
        )
        if variant is not None:
            shape = Variant("int8", 1, main=main, files=tuple(derived))
            whole = shape.all_files(original)
            made = replace(made, variant=(replace(shape, bundle=whole.hash, size=whole.size),))
        if record:
            path = self.top / "dev" / path_of(model)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_text(edit or made))
        git(self.top / "dev", "add", "-A")
        git(self.top / "dev", "commit", "-q", "--allow-empty", "-m", "release")
        git(self.top / "dev", "push", "-q", "origin", "HEAD:main", "refs/lepton/models/*:refs/lepton/models/*")
        git(self.top / "dev", "push", "-q", "origin", "refs/lepton/index/*:refs/lepton/index/*")
        return Oid(git(self.top / "dev", "rev-parse", "HEAD")), made

    def move(
        self,
        at: tuple[Oid, Record],
        version: str,
        *,
        channel: str = "prod",
        action: Action = "promote",
        ring: int = 100,
        expires: str | None = None,
        variant: str = "",
        sign: bool = True,
        **changed: object,
    ) -> Channel:
        """Move a channel as `git lepton promote` does."""
        commit, record = at
        bundle = record.bundle
        if variant:
            chosen = next(v for v in record.variant if v.recipe == variant)
            assert chosen.bundle is not None
            bundle = chosen.bundle
        move = Move(
            model=record.model,
            channel=channel,
            seq=1,
            action=action,
            version=Version.parse(version),
            commit=commit,
            bundle=bundle,
            record=Hash(blake3(to_text(record)).hexdigest()),
            variant=variant,
            ring=ring,
            by="Ada <ada@example.org>",
            expires=expires,
        )
        move = replace(move, **changed)  # type: ignore[arg-type]
        repo = self.repo
        objects = open_reader(repo)
        refresh(repo, "origin")
        before = find(mirrored(repo, objects, "origin"), record.model, channel)
        planned = plan(move, before, "origin", sign=sign)
        if "seq" in changed:
            planned = replace(planned, move=replace(planned.move, seq=move.seq))
        moved = carry_out(repo, objects, planned)
        objects.close()
        return moved

    def release(self, seed: int, version: str, **options: object) -> Channel:
        """Commit a small model of this seed, with a tokenizer, and promote it."""
        return self.move(self.commit(files(seed)), version, **options)  # type: ignore[arg-type]

    # The agent

    def settings(
        self,
        *,
        models: Sequence[str] = ("digits",),
        extra: str = "",
        top: str = "",
        trust: str | None = None,
        remote: str | None = None,
    ) -> bytes:
        """An agent.toml. `extra` goes into each model's table, `top` before all tables."""
        lines = [f'remote = "{remote or self.remote}"', f'state = "{self.top / "state"}"', "interval = 1", 'id = "a1"']
        lines += [f'allowed_signers = "{self.signers}"'] if trust is None else [f'trust = "{trust}"']
        lines += [top]
        for name in models:
            lines += [f"[model.{name}]", 'channel = "prod"', f'folder = "{self.top / "srv" / name}"', extra]
        return "\n".join(lines).encode()

    def engine(self, **options: object) -> tuple[Engine, Recorder]:
        """An agent that was started; close it before the next."""
        recorder = Recorder()
        engine = Engine(parse(self.settings(**options)), [recorder])  # type: ignore[arg-type]
        engine.start()
        return engine, recorder

    def served(self, name: str = "digits") -> Path:
        """The folder that `current` leads to."""
        return (self.top / "srv" / name / "current").resolve(strict=True)

    def tokenizer(self, name: str = "digits") -> bytes:
        return (self.served(name) / "tokenizer.json").read_bytes()


def files(seed: int) -> dict[str, bytes]:
    """A model of two weights files, plain files beside them."""
    return {
        "model.safetensors": model_bytes(seed, layers=2, rows=16),
        "tokenizer.json": b'{"seed": %d}\n' % seed,
    }


def one(engine: Engine) -> ModelStatus:
    """The status of an agent with one model."""
    (model,) = engine.status().models
    return model


def new_world(top: Path) -> World:
    """A remote and a clone, with a key that may promote."""
    git(top, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(top, "clone", "-q", str(top / "remote.git"), "dev")
    world = World(top)
    (top / "dev" / "train.py").write_bytes(b"# code that no agent needs\n" * 1000)
    identity = {"user.name": "Ada", "user.email": "ada@example.org"}
    for key, value in {"gpg.format": "ssh", "tag.gpgSign": "true", **identity}.items():
        git(top / "dev", "config", key, value)
    world.sign_as(world.key("ada"))
    return world


def copy_world(template: World, top: Path) -> World:
    """A world of its own for a test, with all that the template has."""
    shutil.copytree(template.top, top, dirs_exist_ok=True, symlinks=True)
    git(top / "dev", "config", "remote.origin.url", str(top / "remote.git"))
    return World(top)


Start = Callable[..., tuple[Engine, Recorder]]
"""Starts an agent that serves release 1.0.0; takes options of `World.engine`."""


def still_old(world: World, engine: Engine, seen: Recorder, reason: str) -> None:
    """Poll: the new move is refused for `reason`, and release 1.0.0 still serves."""
    engine.poll()
    assert seen.refusals() == [reason], seen.events
    assert world.tokenizer() == files(1)["tokenizer.json"]
    assert one(engine).state == "serving"
    assert one(engine).problem


def put_tag(world: World, oid: str, channel: str = "prod") -> None:
    """What who can push, and has no key, can do: point the channel's ref anywhere."""
    git(world.remote, "update-ref", f"refs/tags/digits@{channel}", oid)

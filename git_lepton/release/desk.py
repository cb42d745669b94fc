"""Where moves are prepared: one remote, asked once, with the policy that counts there and the weights that it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from git_lepton.config.values import ChannelSettings, Config
from git_lepton.errors import FrameError, UsageError
from git_lepton.gate import verdicts
from git_lepton.gate.anchor import head_commit
from git_lepton.gate.verdicts import GateVerdict, gate_hash
from git_lepton.git.remote import fetch_refs
from git_lepton.git.repo import Repo
from git_lepton.release import channels, log, versions
from git_lepton.release.candidate import Candidate, config_at
from git_lepton.release.channels import Channel
from git_lepton.release.log import LogEntry
from git_lepton.release.names import Version, check_name
from git_lepton.release.policy import Finding
from git_lepton.release.signing import Signature, Trust, signature_of
from git_lepton.release.versions import Release, Tagged
from git_lepton.store.store import Store
from git_lepton.transfer.check import problems
from git_lepton.transfer.need import Needs
from git_lepton.transfer.places import advertised
from git_lepton.transfer.push import push_needed
from git_lepton.transfer.remotes import store_remote
from git_lepton.values import Hash, Oid


class Desk:
    """One model's channels and versions on one remote, as it answered when this was made."""

    def __init__(self, store: Store, model: str, remote: str, *, offline: bool = False) -> None:
        """Ask the remote; or, `offline`, know of its channels what it said when it was last asked, and no more.

        Raises:
            UsageError: not the name of a model.
            MissingError: the remote cannot be reached.
        """
        self.store = store
        self.repo = store.repo
        self.objects = store.objects
        self.model = check_name(model, "model")
        self.remote = remote
        self._branches = _default_branches(self.repo, remote)
        self._listed = {} if offline else channels.refresh(self.repo, remote, model=model, more=self._branches)
        self._channels = {
            c.channel: c for c in channels.mirrored(self.repo, self.objects, remote) if c.model == self.model
        }

    def channel(self, name: str) -> Channel | None:
        """What a channel points to, None for one that does not exist."""
        return self._channels.get(check_name(name, "channel"))

    def entries(self, channel: Channel | None) -> list[LogEntry]:
        """The whole log of a channel, the newest first. Raises CorruptError when it is damaged."""
        if channel is None or channel.log is None:
            return []
        return list(log.read(self.repo, self.objects, channel.log))

    def signature(self, entry: LogEntry, trust: Trust | None, principals: tuple[str, ...] = ()) -> Signature:
        """What is known of the signature of an older move; only these principals count, or all without any."""
        if trust is None:
            return signature_of(self.repo, entry.tag_oid, signed=entry.tag.signed, trust=None)
        tag = log.restore_tag(self.repo, self.objects, entry)
        return signature_of(self.repo, tag, signed=entry.tag.signed, trust=replace(trust, principals=principals))

    @cached_property
    def versions(self) -> dict[Version, Tagged]:
        """The versions of the model, here and on the remote, in their order."""
        return versions.known(self.repo, self.model, self._listed)

    def release(self, version: Version) -> Release:
        """One version.

        Raises:
            UsageError: there is none.
            VerificationError: its tag is not to be believed.
        """
        tagged = self.versions.get(version)
        if tagged is None:
            some = ", ".join(map(str, [*self.versions][-3:])) or "none yet"
            raise UsageError(
                f"{self.model} has no version {version}; the last are: {some}",
                hint=f"git lepton tag {self.model} {version} --push",
            )
        return versions.read(self.repo, self.objects, self.model, tagged, self.remote)

    @cached_property
    def policy(self) -> Config:
        """lepton.toml as it was reviewed: that of the remote's default branch, as it is now.

        What somebody's own branch says does not count. Where the default branch cannot be told, it is that of HEAD.

        Raises:
            UsageError: it is not valid.
        """
        tips = [self._listed[branch] for branch in self._branches if branch in self._listed]
        rev = tips[0] if tips else head_commit(self.repo)
        return Config() if rev is None else config_at(self.repo, self.objects, rev)

    def settings(self, channel: str) -> ChannelSettings:
        """The policy of a channel; one that lepton.toml does not name has none."""
        return self.policy.channels.get(channel) or ChannelSettings(check_name(channel, "channel"))

    def have(self, commit: Oid) -> None:
        """See that a commit is here, with its files. Raises MissingError when the remote has it no more."""
        if commit not in self.objects.contains([commit]):
            fetch_refs(self.repo, self.remote, [commit], haves="refs/remotes/*")

    def ci(self, candidate: Candidate) -> Mapping[str, GateVerdict]:
        """What CI found about the model, by gate; fetched from the remote."""
        record = candidate.record
        if record is None:
            return {}
        verdicts.fetch(self.repo, self.remote, [record.bundle])
        found = {}
        for rule in candidate.settings.gates:
            data = record.data.get(rule.data) if rule.data is not None else None
            try:
                verdict = verdicts.read(self.repo, self.objects, record.bundle, gate_hash(rule, data))
            except FrameError as error:
                raise FrameError(f"CI's verdict on gate {rule.name} is damaged: {error.message}") from error
            if verdict is not None:
                found[rule.name] = verdict
        return found

    def lacking(self, needs: Needs) -> dict[Hash, str]:
        """Those of these versions that the remote cannot be shown to have whole, and why.

        Raises:
            UsageError: lepton.toml names a store for the weights that was not confirmed in this clone.
            MissingError: the remote cannot be reached.
        """
        target = store_remote(self.repo, self.remote)
        found = problems(self.store, advertised(self.repo, target), needs)
        return {problem.need.hash: problem.reason for problem in found}

    def weights(self, needs: Needs) -> tuple[Needs, list[Finding]]:
        """Which of these versions have to be pushed first, and what to say of those that nobody here has."""
        lacking = self.lacking(needs)
        mine = {digest: needs[digest] for digest in lacking if self.store.has(digest)}
        findings = [
            Finding(
                "refused",
                "weights",
                f"{needs[digest][0].path}: {why}",
                f"whoever has them runs: git lepton push {self.remote}",
            )
            for digest, why in lacking.items()
            if digest not in mine
        ]
        if not lacking:
            findings.append(Finding("ok", "weights", f"{self.remote} has all {len(needs)} weight file(s)"))
        return mine, findings

    def send(self, needs: Needs) -> None:
        """Push weights. Raises as `push_needed`."""
        if needs:
            push_needed(self.store, store_remote(self.repo, self.remote), needs)


def _default_branches(repo: Repo, remote: str) -> list[str]:
    """Refs of the remote that may be its default branch, the likeliest first."""
    prefix = f"refs/remotes/{remote}/"
    done = repo.git("symbolic-ref", "--quiet", f"{prefix}HEAD", check=False)
    known = done.stdout.decode(errors="surrogateescape").strip().removeprefix(prefix)
    return [f"refs/heads/{name}" for name in dict.fromkeys([known, "main", "master"]) if name]

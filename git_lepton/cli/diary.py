"""The diary of a channel, for `git lepton log MODEL@CHANNEL`: every move, who signed it, and why."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Final

from git_lepton.cli.context import print_json, say
from git_lepton.errors import EXIT_OK, EXIT_REFUSED, UsageError
from git_lepton.git.repo import Repo
from git_lepton.release.channels import asked, release_remote
from git_lepton.release.desk import Desk
from git_lepton.release.history import moment, stamp, wanted_at
from git_lepton.release.log import LogEntry
from git_lepton.release.signing import Trust, trust_of
from git_lepton.report.releases import Entry, as_of_text, diary_text, entry_fields, wanted_text
from git_lepton.store.store import Store

_SPEC: Final = re.compile(r"([a-z0-9][a-z0-9._-]*)@(?!v[0-9])([a-z0-9][a-z0-9._-]*)")


def names_channel(word: str) -> bool:
    """Whether an argument of `log` is a channel rather than a revision."""
    return _SPEC.fullmatch(word) is not None


def run(repo: Repo, spec: str, *, at: str | None, limit: int | None, offline: bool, as_json: bool) -> int:
    """Print the moves of a channel, the newest first, or what was wanted at a time.

    Raises:
        UsageError: there is no such channel, or it has no log.
        CorruptError: the log is damaged.
    """
    model, _, channel = spec.partition("@")
    trust = trust_of(repo)
    with Store(repo) as store:
        desk = Desk(store, model, release_remote(repo), offline=offline)
        found = desk.channel(channel)
        if found is None or found.log is None:
            what = "was made with plain git, which keeps no log" if found else f"is not on {desk.remote}"
            raise UsageError(f"{spec} {what}", hint="git lepton channels")
        entries = desk.entries(found)
        if at is not None:
            then = moment(at, time.time())
            shown = _signed(desk, wanted_at(entries, then), entries, trust)
        else:
            shown = _signed(desk, list(islice(entries, limit)), entries, trust)
    as_of = asked(repo, desk.remote)
    if as_json:
        fields = {"model": model, "channel": channel, "remote": desk.remote, "as_of": stamp(as_of)}
        when = {} if at is None else {"at": stamp(then)}
        moves = [entry_fields(one) for one in shown]
        print_json("channel-log", {**fields, "flaw": found.flaw or None, **when, "moves": moves})
        return EXIT_REFUSED if found.flaw else EXIT_OK
    if offline:
        say(as_of_text(as_of, desk.remote))
    if at is not None:
        say(wanted_text(spec, then, shown))
    else:
        say(diary_text(shown))
        if found.flaw:
            say(f"NOT TO BE BELIEVED: {found.flaw}")
    return EXIT_REFUSED if found.flaw else EXIT_OK


def _signed(
    desk: Desk, chosen: Sequence[LogEntry], all_of_them: Sequence[LogEntry], trust: Trust | None
) -> list[Entry]:
    before = {later.commit: earlier for later, earlier in pairwise(all_of_them)}
    found = []
    for entry in chosen:
        earlier = before.get(entry.commit)
        found.append(Entry(entry, earlier.move if earlier is not None else None, desk.signature(entry, trust)))
    return found

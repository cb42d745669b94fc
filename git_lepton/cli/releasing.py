"""What verbs that move channels share: options, who asks, and a proposal that is shown, then carried out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.remote import settle_store_url
from git_lepton.cli.verb import Option, collect, json_option, quiet_option
from git_lepton.errors import (
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_MISSING,
    EXIT_OK,
    EXIT_RACE_LOST,
    EXIT_REFUSED,
    UsageError,
)
from git_lepton.git.repo import Repo
from git_lepton.release.channels import release_remote
from git_lepton.release.desk import Desk
from git_lepton.release.history import duration
from git_lepton.release.names import LIKE_VERSION, split_spec
from git_lepton.release.proposals import Proposal, Wish, carry_out
from git_lepton.release.signing import signs_by_default, trust_of
from git_lepton.report.releases import change, proposal_fields, proposal_text
from git_lepton.store.store import Store

MOVE_EXITS = (EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_RACE_LOST, EXIT_REFUSED, EXIT_MISSING)

push_option = click.option(
    "--push", is_flag=True, help="Carry it out on the remote; without, only the plan is printed."
)
sign_option = click.option(
    "--sign/--no-sign", default=None, help="Sign the tag, or not; by default when git is set up to sign."
)
signers_option = click.option(
    "--allowed-signers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Whose signatures count (default: gpg.ssh.allowedSignersFile).",
)
expires_option = click.option(
    "--expires", metavar="TIME", help="Agents follow no longer than this: 36h, 30d (default: the channel's policy)."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say that every move has.

    Attributes:
        why: goes into the tag.
        push: carry it out.
        sign: make a signed tag; None for what git does by default.
        allowed_signers: whose signatures count; None for git's own file.
        as_json: print JSON.
        quiet: show no progress bar.
    """

    why: str
    push: bool
    sign: bool | None
    allowed_signers: Path | None
    as_json: bool
    quiet: bool


def move_options(*own: Option, needs_why: bool = True) -> Option:
    """The options of every move around those of one's own; the command gets the former as `Asked`, before all else."""
    # click takes `default=None` for an answer, so an option that is required must not have it.
    absent = {"required": True} if needs_why else {"default": ""}
    return collect(
        Asked,
        click.option("-m", "--message", "why", metavar="WHY", help="Why; it goes into the tag.", **absent),
        *own,
        push_option,
        sign_option,
        signers_option,
        json_option,
        quiet_option,
    )


def moving(
    verb: str,
    model: str,
    propose: Callable[[Desk, Wish], Proposal],
    asked: Asked,
    *,
    ring: int = 100,
    expires: str | None = None,
) -> int:
    """Ask the remote, show what a move would do, and do it if that is asked.

    Returns:
        0 when it was done, or could be; else the exit code of what stands in the way.

    Raises:
        RaceLostError: somebody else was first; nothing moved.
    """
    repo = repository()
    settle_store_url(repo, tell=False)
    wish = Wish(
        why=asked.why,
        by=identity(repo),
        sign=signs_by_default(repo) if asked.sign is None else asked.sign,
        now=time.time(),
        ring=ring,
        expires=None if expires is None else duration(expires),
        trust=trust_of(repo, asked.allowed_signers),
    )
    with Store(repo, progress=progress(asked.quiet)) as store:
        desk = Desk(store, model, release_remote(repo))
        proposal = propose(desk, wish)
        name = f"{proposal.plan.move.model}@{proposal.plan.move.channel}"
        code = proposal.exit_code
        go = asked.push and code == EXIT_OK and not proposal.is_there
        if not asked.as_json:
            say(proposal_text(proposal))
        moved = carry_out(desk, proposal, wish) if go else None
    if asked.as_json:
        print_json(verb, proposal_fields(proposal, moved=moved))
    elif moved is not None:
        assert moved.move is not None
        say(f"{name} moved: {change(moved.move, None)}")
    elif code != EXIT_OK:
        note(f"git-lepton: {name} stays as it is")
    elif proposal.is_there:
        say(f"{name} says so already: nothing to do")
    else:
        say("nothing was changed; --push carries it out")
    return code


def identity(repo: Repo) -> str:
    """Name and address of whoever asks, as git would commit.

    Raises:
        UsageError: git knows no name.
    """
    done = repo.git("var", "GIT_COMMITTER_IDENT", check=False)
    if done.status != 0:
        raise UsageError("git does not know who you are", hint='git config user.name "…" and user.email')
    return done.stdout.decode(errors="replace").strip().rpartition(">")[0] + ">"


def model_and_channel(spec: str) -> tuple[str, str]:
    """`digits@prod` as two names. Raises UsageError for anything else."""
    model, channel = split_spec(spec)
    if not channel or LIKE_VERSION.match(channel):
        raise UsageError(f"{spec} names no channel", hint=f"such as {model}@prod")
    return model, channel

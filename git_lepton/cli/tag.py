"""`git lepton tag`: give a commit's model a version."""

from __future__ import annotations

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.releasing import MOVE_EXITS, sign_option
from git_lepton.cli.remote import settle_store_url
from git_lepton.cli.verb import Verb, json_option, quiet_option
from git_lepton.errors import EXIT_OK, UsageError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.remote import ls_remote
from git_lepton.git.repo import Repo
from git_lepton.release import policy, tagging, versions
from git_lepton.release.channels import release_remote
from git_lepton.release.names import TAGS, Version, check_name
from git_lepton.release.signing import signs_by_default
from git_lepton.report.releases import naming_fields, naming_text
from git_lepton.store.store import Store
from git_lepton.transfer.need import Needs
from git_lepton.transfer.push import push_needed
from git_lepton.transfer.remotes import remote_names, store_remote


@click.command(
    "tag",
    cls=Verb,
    exits=MOVE_EXITS,
    examples=(
        ("git lepton tag digits", "The next patch version of the model in HEAD."),
        ("git lepton tag digits --minor -m 'new glyphs' --push", "1.2.3 becomes 1.3.0, here and on the remote."),
        ("git lepton tag digits 2.0.0-rc.1 --commit HEAD~2", "A version of one's own choice, of another commit."),
    ),
)
@click.argument("model")
@click.argument("version", required=False)
@click.option("--major", "part", flag_value="major", help="Count up the first number.")
@click.option("--minor", "part", flag_value="minor", help="Count up the second.")
@click.option("--patch", "part", flag_value="patch", help="Count up the third, which is the default.")
@click.option("--initial", metavar="VERSION", default=str(versions.FIRST), show_default=True, help="The first version.")
@click.option("--commit", "rev", metavar="REV", default="HEAD", show_default=True, help="Which commit.")
@click.option("-m", "--message", "why", default="", metavar="TEXT", help="What is new; it goes into the tag.")
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would be done.")
@click.option("--push", is_flag=True, help="Push the tag, and weights that the remote lacks.")
@sign_option
@json_option
@quiet_option
def command(
    model: str,
    version: str | None,
    part: str | None,
    initial: str,
    rev: str,
    why: str,
    dry_run: bool,
    push: bool,
    sign: bool | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Give the model in a commit a version: an annotated tag MODEL@vVERSION that never moves.

    Refused where the record at that commit is not that of the model's files, or a gate of it failed, and where the
    version is taken, here or on the remote. The tag names the hashes of the files and of the record.
    """
    if version is not None and part is not None:
        raise UsageError("a version and --major, --minor or --patch exclude each other")
    wanted = None if version is None else Version.parse(version)
    repo = repository()
    return run(
        repo,
        model=check_name(model, "model"),
        wanted=wanted,
        part=part or "patch",
        initial=Version.parse(initial),
        rev=rev,
        why=why,
        make=not dry_run,
        push=push,
        sign=signs_by_default(repo) if sign is None else sign,
        as_json=as_json,
        quiet=quiet,
    )


def run(
    repo: Repo,
    *,
    model: str,
    wanted: Version | None,
    part: str,
    initial: Version,
    rev: str,
    why: str,
    make: bool,
    push: bool,
    sign: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Look at the model, and unless something stands in the way make the tag; with `push`, push it.

    Raises:
        VerificationError: the version is there already.
        RaceLostError: somebody else made it meanwhile.
        MissingError: the remote cannot be reached, or weights are nowhere to be had.
    """
    settle_store_url(repo, tell=False)
    remote = release_remote(repo) if push or remote_names(repo) else None
    listed = ls_remote(repo, remote, [f"{TAGS}{model}@v*"]) if remote is not None else {}
    number = tagging.next_version(versions.known(repo, model, listed), wanted, part, initial)
    with Store(repo, progress=progress(quiet)) as store:
        naming = tagging.propose(store, model, number, rev_parse(repo, rev, kind="commit"), why)
        code = policy.exit_code(naming.findings)
        if not as_json:
            say(naming_text(naming))
        tag = tagging.make(store, naming.release, sign=sign) if make and code == EXIT_OK else None
        if tag is not None and remote is not None and push:
            push_needed(store, store_remote(repo, remote), _needs(naming))
            versions.publish(repo, remote, model, number, tag)
        if tag is not None:
            versions.keep(repo, naming.release, tag)
    if as_json:
        print_json("tag", naming_fields(naming, tag=tag, pushed=push and tag is not None))
    elif tag is None:
        note("nothing was changed" if code == EXIT_OK else f"git-lepton: {model}@v{number} was not made")
    elif push:
        say(f"pushed to {remote}")
    else:
        say(f"made here; git push {remote or 'REMOTE'} {model}@v{number} shares it, as a promotion does")
    return code


def _needs(naming: tagging.Naming) -> Needs:
    """All weights of the model and of its variants."""
    record = naming.candidate.record
    recipes = [v.recipe for v in record.variant if not v.skipped] if record is not None else []
    return naming.candidate.needs(["", *recipes])

"""`git lepton doctor`: is everything in place, and if not, what to type."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import click

from git_lepton import __version__
from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.remote import push_remote
from git_lepton.cli.verb import Verb, json_option
from git_lepton.drivers import hookfiles
from git_lepton.drivers.install import COMMAND_KEY, HOOKS_KEY, MERGE_KEY, PROCESS_KEY, REQUIRED_KEY, runs
from git_lepton.drivers.track import collisions, raw_paths
from git_lepton.errors import EXIT_DIFFERS, EXIT_OK, GitError, LeptonError, UsageError
from git_lepton.git.attributes import check_attr
from git_lepton.git.packfile import clean_stale
from git_lepton.git.repo import GIT_FLOOR, Repo, config_bool, config_get, git_version
from git_lepton.report.health import Check, Level, checks_fields, checks_text
from git_lepton.report.table import safe
from git_lepton.report.units import counted
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at
from git_lepton.transfer import check, remotes
from git_lepton.transfer.need import NeedFinder
from git_lepton.transfer.places import advertised
from git_lepton.transfer.probe import known_namespace


@click.command(
    "doctor",
    cls=Verb,
    exits=(EXIT_DIFFERS,),
    examples=(
        ("git lepton doctor", "Check everything, the remote included."),
        ("git lepton doctor --offline", "Ask no remote."),
    ),
)
@click.option("--offline", is_flag=True, help="Ask no remote.")
@json_option
def command(offline: bool, as_json: bool) -> int:
    """Check the installation, the hooks, the attributes and the remote, and tell how to repair what is wrong.

    Also removes temporary files of processes that were killed.
    """
    return run(repository(), offline=offline, as_json=as_json)


def run(repo: Repo, *, offline: bool, as_json: bool) -> int:
    """Print all checks; 1 when one failed."""
    with Store(repo) as store:
        checks = [*_programs(), *_filter(repo), *_hooks(repo), *_files(repo, store), *_leftovers(repo)]
        if not offline:
            checks += _remote(repo, store)
    if as_json:
        print_json("doctor", checks_fields(checks))
    else:
        say(checks_text(checks))
    return EXIT_DIFFERS if any(check.level == "fail" for check in checks) else EXIT_OK


def _programs() -> Iterator[Check]:
    version = ".".join(map(str, git_version()))
    if git_version() < GIT_FLOOR:
        yield Check("fail", "git", f"version {version}", f"install git {'.'.join(map(str, GIT_FLOOR))} or newer")
    else:
        yield Check("ok", "git", f"version {version}")
    program = shutil.which("git-lepton")
    if program is None:
        advice = "activate the environment, or install it for the user: pipx install git-lepton"
        yield Check("warn", "git-lepton", f"version {__version__}, which is not on PATH", advice)
    else:
        yield Check("ok", "git-lepton", f"version {__version__}, {safe(program)}")


def _filter(repo: Repo) -> Iterator[Check]:
    process, command = config_get(repo, PROCESS_KEY), config_get(repo, COMMAND_KEY)
    if not process:
        yield Check("fail", "filter", "git does not know the filter", "git lepton install, or git lepton init")
    elif not config_bool(repo, REQUIRED_KEY, default=False):
        advice = "git lepton init, so that git never adds raw weights when the filter fails"
        yield Check("warn", "filter", f"{REQUIRED_KEY} is not set", advice)
    elif COMMAND_KEY not in process:
        yield Check("ok", "filter", safe(process))
    elif runs(command):
        yield Check("ok", "filter", f"git-lepton on PATH, else {safe(command or '')}")
    else:
        message = f"where git-lepton is not on PATH, {safe(command or 'nothing')} is started, which is not there"
        yield Check("warn", "filter", message, "git lepton init")
    if process and config_get(repo, MERGE_KEY) is None:
        advice = "git lepton install, or git lepton init"
        yield Check("warn", "merge", "git does not know the merge driver: every merge of weights is a conflict", advice)
    if repo.work_tree is not None and config_bool(repo, "merge.renormalize", default=False):
        advice = "git config --unset merge.renormalize"
        yield Check("warn", "merge", "merge.renormalize makes every merge run the filter on three sides", advice)


def _hooks(repo: Repo) -> Iterator[Check]:
    if config_bool(repo, HOOKS_KEY, default=True) is False:
        yield Check("warn", "hooks", f"{HOOKS_KEY} is false: a push leaves weights behind", "git lepton init")
        return
    absent = [name for name in hookfiles.NAMES if not hookfiles.is_active(repo, name)]
    if not absent:
        yield Check("ok", "hooks", safe(os.fspath(hookfiles.folder(repo))))
    elif hookfiles.is_foreign(repo):
        message = f"core.hooksPath is {safe(os.fspath(hookfiles.folder(repo)))}, without {', '.join(absent)}"
        lines = "; ".join(f"in {name}: {hookfiles.line_for(name)}" for name in absent)
        yield Check("fail" if "pre-push" in absent else "warn", "hooks", message, f"add {lines}")
    else:
        level: Level = "fail" if "pre-push" in absent else "warn"
        yield Check(level, "hooks", f"not installed: {', '.join(absent)}", "git lepton init")


def _files(repo: Repo, store: Store) -> Iterator[Check]:
    """Attributes and what the index holds, one against the other."""
    listing = files_at(repo, store.objects, STAGED)
    for path, error in listing.broken:
        advice = f"take one side: git checkout --ours|--theirs -- {safe(path)}"
        yield Check("fail", "manifest", f"{safe(path)}: {error.message}", advice)
    if repo.work_tree is None:
        return
    names = [os.fsencode(file.path) for file in listing.files]
    values = check_attr(repo, names, ("filter", "text", "merge"))
    loose = [name for name in names if values[name].get("filter") != "lepton"]
    converted = [name for name in names if name not in loose and values[name].get("text") != "unset"]
    if loose:
        message = f"{counted(len(loose), 'manifest')} that .gitattributes does not track: {_some(loose)}"
        yield Check("fail", "attributes", message, "git lepton track PATTERN")
    if converted:
        message = (
            f"{counted(len(converted), 'weight file')} without -text, so git may change line ends: {_some(converted)}"
        )
        yield Check("warn", "attributes", message, "git lepton track PATTERN writes the whole line")
    unmerged = [name for name in names if name not in loose and values[name].get("merge") != "lepton"]
    if unmerged:
        message = f"{counted(len(unmerged), 'weight file')} without merge=lepton, so every merge is a conflict"
        yield Check("warn", "attributes", f"{message}: {_some(unmerged)}", "git lepton track PATTERN adds it")
    if not loose and not converted:
        yield Check("ok", "attributes", f"{counted(len(names), 'weight file')} tracked")
    unreadable = {path for path, _ in listing.broken}
    raw = [os.fsencode(path) for path in raw_paths(repo, store) if path not in unreadable]
    if raw:
        message = f"{counted(len(raw), 'tracked file')} in git as raw content: {_some(raw)}"
        yield Check(
            "warn", "attributes", message, "git add --renormalize . && git commit, or git lepton migrate import"
        )
    for group in collisions(repo):
        message = f"one file on systems that do not tell case or Unicode forms apart: {', '.join(map(safe, group))}"
        yield Check("warn", "names", message, "rename one of them: git mv")


def _some(names: list[bytes]) -> str:
    return ", ".join(safe(os.fsdecode(name)) for name in names[:3]) + (", …" if len(names) > 3 else "")


def _leftovers(repo: Repo) -> Iterator[Check]:
    removed = clean_stale(repo)
    if removed:
        yield Check("ok", "leftovers", f"{counted(len(removed), 'file')} of killed processes removed")


def _remote(repo: Repo, store: Store) -> Iterator[Check]:
    """Whether weights can travel: protocol, accepted refs, and what HEAD needs."""
    try:
        name = push_remote(repo)
        remote = remotes.store_remote(repo, name)
    except UsageError as error:
        yield Check("warn", "remote", error.message, error.hint)
        return
    try:
        listed = advertised(repo, remote)
    except LeptonError as error:
        yield Check("fail", "remote", error.message, error.hint)
        return
    yield _protocol(repo, remote)
    place = known_namespace(repo, remote, listed)
    if place is None:
        yield Check("ok", "remote", f"{remote} was not probed yet: the first push tries which refs it takes")
    elif place.name == "heads":
        advice = "keep weights in a repository of their own: [store] url in lepton.toml"
        yield Check("warn", "remote", f"{remote} takes branches only: every plain clone downloads all weights", advice)
    else:
        yield Check("ok", "remote", f"{remote} takes refs/lepton")
    yield from _complete(repo, store, remote)


def _protocol(repo: Repo, remote: str) -> Check:
    """Whether the server speaks version 2, which serves single objects without a setting."""
    command = ("-c", "protocol.version=2", "ls-remote", "--quiet", "--heads", "--", remote)
    done = repo.git(*command, env={"GIT_TRACE_PACKET": "1"}, check=False)
    if b"< version 2\n" in done.stderr:
        return Check("ok", "protocol", f"{remote} speaks version 2: only missing chunks are fetched")
    advice = "on the server: AcceptEnv GIT_PROTOCOL in sshd_config, or git config uploadpack.allowAnySHA1InWant true"
    return Check("warn", "protocol", f"{remote} speaks an old protocol: fetches bring whole versions", advice)


def _complete(repo: Repo, store: Store, remote: str) -> Iterator[Check]:
    """Whether the remote has the weights of what was pushed to it."""
    try:
        needs = NeedFinder(repo, store.objects).for_tree("HEAD")
    except (UsageError, GitError):
        return  # no commit yet
    flaws = check.problems(store, advertised(repo, remote), needs)
    if flaws:
        message = f"{remote} lacks the weights of {counted(len(flaws), 'file')} of HEAD: {safe(flaws[0].need.path)}"
        yield Check("warn", "remote", message, f"git lepton push {remote}, unless HEAD was not pushed yet")
    else:
        yield Check("ok", "remote", f"{remote} has all weights of HEAD")

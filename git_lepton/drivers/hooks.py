"""What the hooks do once the shell has decided that Python is needed (the scripts are in `hooks/`).

Each function is a hook: it returns the exit status for git, 0 or 1, and speaks on standard error through `say`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from git_lepton.drivers import staging
from git_lepton.drivers.children import Children
from git_lepton.drivers.gatecommit import gate_staged, unjudged
from git_lepton.drivers.worktree import holds_manifest
from git_lepton.errors import EXIT_OK, LeptonError, ManifestError, MissingError, UsageError
from git_lepton.git.attributes import check_attr
from git_lepton.git.refs import list_refs
from git_lepton.git.remote import ls_remote
from git_lepton.git.repo import Repo, config_bool, work_tree
from git_lepton.report.progress import for_terminal
from git_lepton.report.units import counted
from git_lepton.store.manifest import parse
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED, files_at, manifest_text
from git_lepton.transfer.need import RefUpdate, parse_updates
from git_lepton.transfer.places import OURS
from git_lepton.transfer.push import push_for_updates
from git_lepton.values import Oid

ALLOW_DELETE_VARIABLE: Final = "GIT_LEPTON_ALLOW_DELETE"
MIRROR_VARIABLE: Final = "GIT_LEPTON_MIRROR"
"""Set by the pre-push script when the push is one with `--mirror`, which deletes without telling the hook."""
ALLOW_INCOMPLETE_KEY: Final = "lepton.allowIncompletePush"
REFUSED: Final = 1
ONLY_JUDGED: Final = "judged"

Say = Callable[[str], None]


def pre_commit(repo: Repo, say: Say, children: Children) -> int:
    """Refuse staged files that the filter did not see, and models that the gate does not let in.

    Manifests that nobody would restore are warned of; records of models that pass are staged. `children` were started
    early.

    Raises:
        LeptonError, OSError: a model could not be judged at all.
    """
    staged = _staged(repo)
    by_index = check_attr(repo, staged, ["filter"], source="index")
    by_tree = check_attr(repo, staged, ["filter"])
    status = EXIT_OK
    with Store(repo, progress=for_terminal()) as store:
        for path, blob in staged.items():
            kept = [values[path].get("filter") == "lepton" for values in (by_index, by_tree)]
            if not any(kept):
                continue
            name = os.fsdecode(path)
            reason = _not_a_manifest(store, blob)
            if reason is not None and all(kept):
                say(f"{name} would be committed without its manifest: {reason}")
                say(f"    repair it with: git lepton install && git add --renormalize -- {name}")
                status = REFUSED
            elif reason is None and not kept[0]:
                say(f"{name} is tracked by a .gitattributes that is not staged: without it, clones get a manifest")
        return status if status != EXIT_OK else gate_staged(repo, store, say, children)


def _staged(repo: Repo) -> dict[bytes, Oid]:
    """Files that the commit changes, with their new blobs."""
    command = (
        "diff",
        "--cached",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--diff-filter=AMT",
        "--ignore-submodules",
    )
    fields = repo.git(*command).stdout.split(b"\0")
    found = {}
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, blob, _ = head.split(b" ")
        if mode.startswith(b"100"):
            found[path] = Oid(blob.decode("ascii"))
    return found


def _not_a_manifest(store: Store, blob: Oid) -> str | None:
    """Why a staged blob is not what the filter would have made; None when it is, or empty."""
    size = store.objects.size(blob)
    if size == 0:
        return None
    text = manifest_text(store.repo, store.objects, blob, size)
    if text is None:
        return "the filter did not run when it was added"
    try:
        parse(text)
    except ManifestError as error:
        return error.message
    return None


def post_commit(repo: Repo, say: Say) -> int:
    """Put the index right where the commit took a record that the index does not have (`git commit PATH`)."""
    staging.settle(repo)
    return EXIT_OK


def post_checkout(repo: Repo, say: Say, arguments: Sequence[str] = ()) -> int:
    """Tell how many weight files are still manifests, after a checkout of a branch (third argument "1")."""
    if list(arguments[2:3]) != ["0"]:
        tell_manifests(repo, say)
    return EXIT_OK


def post_merge(repo: Repo, say: Say, arguments: Sequence[str] = ()) -> int:
    """Tell which models came in without a record that holds, and how many weight files are still manifests.

    The script counts the latter by itself, and then asks with the one argument "judged".
    """
    if list(arguments) != [ONLY_JUDGED]:
        tell_manifests(repo, say)
    with Store(repo) as store:
        for name, fault in unjudged(repo, store).items():
            say(f"model {name} was merged and never judged as it is now: {fault}")
            say(f"    to judge it and make its record: git lepton gate {name} --record")
    return EXIT_OK


def tell_manifests(repo: Repo, say: Say) -> None:
    """Tell how many weight files are still manifests."""
    top = work_tree(repo)
    with Store(repo) as store:
        files = files_at(repo, store.objects, STAGED).files
    count = sum(holds_manifest(top / file.path, file.manifest) for file in files)
    if count:
        say(f"weight files that are still manifests: {count}. To get them: git lepton pull")


def pre_push(repo: Repo, say: Say, remote: str, lines: bytes) -> int:
    """Push the weights that the commits need, before the commits themselves; refuse what would lose weights.

    Args:
        repo: where from.
        say: takes one line for the user.
        remote: name or address, the hook's first argument.
        lines: the hook's standard input.

    Raises:
        LeptonError: the remote cannot be reached, or refuses.
    """
    updates = parse_updates(lines)
    mirror = os.environ.get(MIRROR_VARIABLE, "0") not in {"", "0"}
    if (status := _refuse_deletions(say, _deletions(repo, remote, updates, mirror))) != EXIT_OK:
        return status
    with Store(repo, progress=for_terminal()) as store:
        try:
            report = push_for_updates(store, remote, updates)
        except (MissingError, UsageError) as error:
            if config_bool(repo, ALLOW_INCOMPLETE_KEY, default=False):
                say(f"{error.message} (pushed all the same: {ALLOW_INCOMPLETE_KEY})")
                return EXIT_OK
            _explain(say, error)
            say(f"    to push all the same: git -c {ALLOW_INCOMPLETE_KEY}=true push")
            return REFUSED
    for note in () if report is None else report.notes:
        say(note)
    return EXIT_OK


def _deletions(repo: Repo, remote: str, updates: Sequence[RefUpdate], mirror: bool) -> list[str]:
    """Our refs that the push deletes on the remote. git names them, except those that a mirror does not have."""
    found = {u.remote_ref for u in updates if u.local_oid == repo.null_oid and u.remote_ref.startswith(OURS)}
    if mirror:
        there = ls_remote(repo, remote, [f"{prefix}*" for prefix in OURS])
        found |= there.keys() - {ref for prefix in OURS for ref in list_refs(repo, prefix)}
    return sorted(found)


def _refuse_deletions(say: Say, doomed: Sequence[str]) -> int:
    if not doomed or os.environ.get(ALLOW_DELETE_VARIABLE, "0") not in {"", "0"}:
        return EXIT_OK
    say(f"this push would delete {counted(len(doomed), 'ref')} of stored weights on the remote, such as {doomed[0]}")
    say("    --mirror and --prune delete what is not in this clone; git lepton prune deletes versions on purpose")
    say(f"    to delete them all the same: {ALLOW_DELETE_VARIABLE}=1 git push …")
    return REFUSED


def _explain(say: Say, error: LeptonError) -> None:
    say(error.message)
    if error.hint:
        say(f"    {error.hint}")


def run(repo: Repo, name: str, arguments: Sequence[str], children: Children) -> int:
    """Run the hook `name` as git does, with its arguments and our standard input.

    Args:
        repo: where.
        name: as git calls the hook.
        arguments: from git.
        children: those that were started early.

    Raises as the hook itself.
    """
    match name:
        case "pre-commit" | "pre-merge-commit":
            return pre_commit(repo, to_stderr, children)
        case "post-commit":
            return post_commit(repo, to_stderr)
        case "post-merge":
            return post_merge(repo, to_stderr, arguments)
        case "post-checkout":
            return post_checkout(repo, to_stderr, arguments)
        case "pre-push":
            if not arguments:
                raise UsageError("the pre-push hook gets the name of the remote from git")
            return pre_push(repo, to_stderr, arguments[0], sys.stdin.buffer.read())
    raise UsageError(f"git-lepton has no hook {name}")


def to_stderr(line: str) -> None:
    """A `Say` for the command line."""
    sys.stderr.write(f"git-lepton: {line}\n".encode(errors="backslashreplace").decode())

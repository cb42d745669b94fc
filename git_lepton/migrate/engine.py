"""Planning and carrying out a migration: what import and export share.

A plan is made by the same rewriting that will be carried out, with objects named instead of written and nothing
converted. Carrying it out writes every new object into one pack, publishes it, and then moves all refs in one
transaction, which compares each with its value in the plan and keeps the old ones under `refs/original/lepton/`. Until
then no ref of the user moved: a run that is killed leaves at most objects that gc removes, and stored versions that
the next run finds again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from git_lepton import atomic
from git_lepton.errors import RaceLostError, UsageError
from git_lepton.git.objectid import hash_object
from git_lepton.git.objects import open_reader
from git_lepton.git.packfile import PackWriter
from git_lepton.git.refs import Transaction, list_refs, read_refs
from git_lepton.git.repo import Repo, config_bool, config_get
from git_lepton.migrate.content import Content, Contents
from git_lepton.migrate.history import HistoryRewriter, header_oids, split_headers
from git_lepton.migrate.plan import Direction, FileGroup, Missing, Plan, RefMove, Report, Request
from git_lepton.migrate.policy import Convert, policy_for
from git_lepton.migrate.scope import BACKUPS, as_stored, commits_below, left_behind, resolve
from git_lepton.migrate.selection import Selection, select
from git_lepton.migrate.trees import Put, TreeReader, TreeRewriter
from git_lepton.migrate.worktrees import (
    Unsettled,
    checked_out,
    forget_unsettled,
    note_unsettled,
    require_clean,
    settle,
    unsettled,
)
from git_lepton.store.store import Store
from git_lepton.store.tidying import tidy
from git_lepton.values import Oid

_LOCK_SECONDS: Final = 0.0
_SUBJECTS: Final[dict[Direction, str]] = {
    "import": "Track weights with git-lepton",
    "export": "Keep weights in git itself",
}


class Converter(Protocol):
    """Turns blobs of one side into blobs of the other, and counts."""

    versions: int
    total_bytes: int
    skipped: tuple[Missing, ...]

    def __call__(self, path: bytes, oid: Oid, content: Content) -> Oid:
        """See `Convert`."""

    def check(self) -> None:
        """Called when all is written: raise when something that was converted is gone again."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """A repository opened for reading its objects as they are."""

    repo: Repo
    reader: TreeReader
    contents: Contents


@contextmanager
def workshop(repo: Repo) -> Iterator[Workshop]:
    """Open a repository; its replacement refs are not obeyed."""
    plain = as_stored(repo)
    objects = open_reader(plain)
    try:
        reader = TreeReader(objects, repo.oid_size)
        yield Workshop(plain, reader, Contents(reader))
    finally:
        objects.close()


@dataclass(slots=True)
class _Tally:
    """Counts what will be converted."""

    repo: Repo
    paths: dict[str, set[bytes]] = field(default_factory=dict)
    versions: dict[str, dict[Oid, Content]] = field(default_factory=dict)
    first_paths: dict[Oid, bytes] = field(default_factory=dict)

    def __call__(self, path: bytes, oid: Oid, content: Content) -> Oid:
        name = group_name(path)
        self.paths.setdefault(name, set()).add(path)
        self.versions.setdefault(name, {})[oid] = content
        self.first_paths.setdefault(oid, path)
        return hash_object("blob", [b"planned ", oid.encode()], self.repo.object_format)

    def groups(self) -> tuple[FileGroup, ...]:
        groups = [
            FileGroup(
                name,
                len(self.paths[name]),
                len(found),
                sum(content.size for content in found.values()),
                sum(content.pointer is not None for content in found.values()),
            )
            for name, found in self.versions.items()
        ]
        return tuple(sorted(groups, key=lambda group: (-group.bytes, group.pattern)))

    def contents(self) -> Iterator[tuple[bytes, Content]]:
        """Every version once, with a path that it has."""
        seen: set[Oid] = set()
        for found in self.versions.values():
            for oid, content in found.items():
                if oid not in seen:
                    seen.add(oid)
                    yield self.first_paths[oid], content


def group_name(path: bytes) -> str:
    """The pattern that a path is counted under: `*.suffix`, or its whole name."""
    name = os.fsdecode(path.rpartition(b"/")[2])
    stem, dot, suffix = name.rpartition(".")
    return f"*.{suffix}" if stem and dot and suffix else name


@dataclass(slots=True)
class _Result:
    """What rewriting came to: for each ref its new object; without a rewrite, the new tree of the one branch."""

    new: dict[str, Oid]
    tree: Oid | None
    history: HistoryRewriter


def _rewrite(
    shop: Workshop,
    direction: Direction,
    selection: Selection,
    convert: Convert,
    put: Put,
    moves: Sequence[RefMove],
    commits: Sequence[Oid] | None,
) -> _Result:
    """Rewrite `commits`; None stands for a new commit on the one branch of `moves`."""
    policy = policy_for(direction, selection, shop.reader, shop.contents, convert)
    ignore_case = config_bool(shop.repo, "core.ignorecase", default=False)
    trees = TreeRewriter(shop.reader, put, policy.edit, policy.visit, ignore_case=ignore_case)
    history = HistoryRewriter(
        shop.reader, put, lambda tree, tracked: trees.rewrite(tree, tracked=tracked), policy.begins
    )
    if commits is None:
        old = tree_of(shop.reader, moves[0].old)
        new = trees.rewrite(old, tracked=policy.begins(old))
        return _Result({}, new if new != old else None, history)
    for oid in commits:
        history.commit(oid)
    targets = {move.ref: history.ref_target(move.old) for move in moves}
    old_targets = {move.ref: move.old for move in moves}
    return _Result({ref: oid for ref, oid in targets.items() if oid != old_targets[ref]}, None, history)


def tree_of(reader: TreeReader, commit: Oid) -> Oid:
    """The tree of a commit."""
    return header_oids(split_headers(reader.content(commit, "commit"))[0], b"tree")[0]


def make_plan(
    repo: Repo,
    direction: Direction,
    request: Request,
    missing: Callable[[Iterator[tuple[bytes, Content]]], tuple[Missing, ...]],
) -> Plan:
    """Find out all that a migration will do; see `plan_import` and `plan_export`."""
    unfinished = unsettled(repo)
    with workshop(repo) as shop:
        scope = resolve(shop.repo, request)
        tracked_by = b"lfs" if direction == "import" else b"lepton"
        trees = (tree_of(shop.reader, commit) for commit in scope.commits)
        selection = select(request, shop.reader, shop.contents, trees, tracked_by)
        tally = _Tally(repo)
        commits = None if request.no_rewrite else scope.commits
        result = _rewrite(shop, direction, selection, tally, _name_only(repo), scope.moves, commits)
        moves = scope.moves if result.tree else tuple(move for move in scope.moves if move.ref in result.new)
        behind = left_behind(shop.repo, scope.moves, result.history.oldest)
    _clean_trees(repo, moves, but={item.top for _, item in unfinished})
    commit_count = sum(oid in result.history.mapped for oid in scope.commits)
    return Plan(
        direction=direction,
        request=request,
        patterns=tuple(os.fsdecode(pattern) for pattern in selection.patterns or ()),
        moves=moves,
        commits=len(scope.commits),
        rewritten=int(result.tree is not None) + commit_count,
        groups=tally.groups(),
        missing=missing(tally.contents()),
        signed=result.history.signed,
        left_behind=behind,
        warnings=tuple(_warnings(repo, direction, request, result, tally)),
        unfinished=bool(unfinished),
    )


def _name_only(repo: Repo) -> Put:
    return lambda kind, content: hash_object(kind, [content], repo.object_format)


def _warnings(repo: Repo, direction: Direction, request: Request, result: _Result, tally: _Tally) -> Iterator[str]:
    changes = bool(result.new) or result.tree is not None
    if direction == "import" and not tally.versions and not (request.include or request.above):
        yield "git-lfs tracks nothing here: name files with --include or --above"
    if direction == "import" and changes and repo.work_tree and config_get(repo, "filter.lepton.process") is None:
        yield "git-lepton is not installed in this repository: run `git lepton init` before you work in it"
    if result.new and list_refs(repo, "refs/notes/"):
        yield "notes (refs/notes) stay with the old commits"


@contextmanager
def _exclusive(repo: Repo) -> Iterator[None]:
    repo.lepton_dir.mkdir(exist_ok=True)
    with atomic.Lock(repo.lepton_dir / "migrate.lock", timeout=_LOCK_SECONDS):
        yield


def execute(
    store: Store,
    plan: Plan,
    make_converter: Callable[[Workshop, PackWriter], Converter],
    *,
    object_map: Path | None,
) -> Report:
    """Carry a plan out; see `execute_import` and `execute_export`."""
    repo = store.repo
    with _exclusive(repo):
        settled = _settle_unfinished(store)
        if not plan.moves:
            return Report(plan.direction, (), 0, 0, 0, (), None, settled)
        present = read_refs(repo, [move.ref for move in plan.moves])
        if any(present.get(move.ref) != move.old for move in plan.moves):
            raise RaceLostError("refs have moved since the plan was made", hint="make the plan again")
        _clean_trees(repo, plan.moves)
        with workshop(repo) as shop, PackWriter(repo) as pack:
            converter = make_converter(shop, pack)
            commits = None if plan.request.no_rewrite else commits_below(shop.repo, plan.moves)
            selection = Selection(tuple(map(os.fsencode, plan.patterns)) or None)

            def put(kind: str, content: bytes) -> Oid:
                return pack.add(kind, [content], compress=True)

            result = _rewrite(shop, plan.direction, selection, converter, put, plan.moves, commits)
            with pack.finish() as pending:
                pending.publish()
                converter.check()
                if result.tree is not None:
                    result.new[plan.moves[0].ref] = _new_commit(repo, plan, result.tree)
                if object_map is not None:
                    _write_map(object_map, result.history)
                backup = None if result.tree is not None else _backup_prefix(repo)
                # All this may have taken hours, in which somebody worked here.
                todo = _move(repo, plan.moves, result.new, backup, _clean_trees(repo, plan.moves))
        for tree, item in todo:
            settle(store, tree, item.old, item.new)
        forget_unsettled(repo)
        tidy(repo)
    moved = tuple((move.ref, move.old, result.new[move.ref]) for move in plan.moves if move.ref in result.new)
    commit_count = sum(oid in result.history.mapped for oid in commits or ())
    return Report(
        direction=plan.direction,
        moves=moved,
        rewritten=int(result.tree is not None) + commit_count,
        versions=converter.versions,
        bytes=converter.total_bytes,
        skipped=converter.skipped,
        backup=backup if moved else None,
        settled=(*settled, *(item.top for _, item in todo)),
    )


def _clean_trees(repo: Repo, moves: Sequence[RefMove], but: Collection[str] = ()) -> list[tuple[Repo, str]]:
    """The work trees that have a ref of `moves` checked out, and that ref; UsageError for a dirty one outside `but`."""
    trees = checked_out(repo, {move.ref for move in moves})
    for tree, _ in trees:
        if str(tree.work_tree) not in but:
            require_clean(tree)
    return trees


def _settle_unfinished(store: Store) -> tuple[str, ...]:
    found = unsettled(store.repo)
    for tree, item in found:
        settle(store, tree, item.old, item.new)
    forget_unsettled(store.repo)
    return tuple(item.top for _, item in found)


def _new_commit(repo: Repo, plan: Plan, tree: Oid) -> Oid:
    message = plan.request.message or _SUBJECTS[plan.direction]
    sign = ("-S",) if config_bool(repo, "commit.gpgSign", default=False) else ()
    args = ("commit-tree", *sign, "-p", plan.moves[0].old, "-F", "-", tree)
    return Oid(repo.git(*args, input=message.encode() + b"\n").stdout.decode("ascii").strip())


def _write_map(path: Path, history: HistoryRewriter) -> None:
    text = "".join(f"{old} {new}\n" for old, new in history.mapped.items())
    try:
        atomic.write_file(path, text.encode("ascii"))
    except OSError as error:
        raise UsageError(f"cannot write the object map {path}: {error.strerror}") from error


def _backup_prefix(repo: Repo) -> str:
    """A folder of refs that does not exist yet."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    taken = {ref.removeprefix(BACKUPS).partition("/")[0] for ref in list_refs(repo, BACKUPS)}
    number = 1
    while (name := stamp if number == 1 else f"{stamp}-{number}") in taken:
        number += 1
    return f"{BACKUPS}{name}/"


def _move(
    repo: Repo, moves: Sequence[RefMove], new: dict[str, Oid], backup: str | None, trees: Collection[tuple[Repo, str]]
) -> list[tuple[Repo, Unsettled]]:
    """Move the refs, after a note of the work trees that are to be settled then."""
    transaction = Transaction(repo)
    old = {move.ref: move.old for move in moves if move.ref in new}
    for ref, oid in old.items():
        transaction.update(ref, new[ref], oid)
        if backup is not None:
            transaction.create(backup + ref.removeprefix("refs/"), oid)
    todo = [(tree, Unsettled(str(tree.work_tree), old[ref], new[ref])) for tree, ref in trees if ref in new]
    note_unsettled(repo, [item for _, item in todo])
    transaction.commit()
    return todo

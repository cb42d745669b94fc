"""The log of a channel: one commit a move, never rewritten (docs/releases.md, "Log").

The tree of each commit has one file, `tag`: the raw content of the tag object that was pushed with it. Hashed as a tag
it gives that object's id again, so the log proves what the channel pointed to, and keeps every message and signature
after git has forgotten the tag objects. A server refuses what is no fast-forward, like that of any branch; here the
sequence numbers and the links from each move to the one before are checked as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from git_lepton.errors import CorruptError, FrameError
from git_lepton.git.objectid import BLOB_MODE, TreeEntry, encode_tree, hash_object, parse_commit, parse_tree
from git_lepton.git.objects import ObjectReader
from git_lepton.git.repo import Repo
from git_lepton.release import message
from git_lepton.release.message import Move
from git_lepton.release.tagobject import MAX_TAG, TagObject, parse_tag
from git_lepton.values import Oid

FILE: Final = b"tag"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One move as the log has it.

    Attributes:
        commit: of the log.
        time: seconds since 1970 on the clock of whoever pushed the move.
        tag_oid: id of the tag object.
        tag: the object.
        move: what it says.
    """

    commit: Oid
    time: int
    tag_oid: Oid
    tag: TagObject
    move: Move


def append(repo: Repo, objects: ObjectReader, tag: Oid, previous: Oid | None) -> Oid:
    """Write the log's next commit for the tag object `tag`; no ref moves. Returns the commit.

    Raises:
        VerificationError: it is no tag of a move.
        UsageError: there is no identity to commit with.
    """
    _, content = objects.read(tag)
    move = message.parse(parse_tag(bytes(content)).message)
    blob = repo.git("hash-object", "-w", "--stdin", input=bytes(content)).stdout.decode("ascii").strip()
    tree = encode_tree([TreeEntry(BLOB_MODE, FILE, Oid(blob))])
    written = repo.git("hash-object", "-w", "-t", "tree", "--stdin", input=tree).stdout.decode("ascii").strip()
    parent = ("-p", previous) if previous else ()
    done = repo.git("commit-tree", *parent, "-F", "-", written, input=os.fsencode(move.subject + "\n"))
    return Oid(done.stdout.decode("ascii").strip())


def read(repo: Repo, objects: ObjectReader, tip: Oid) -> Iterator[LogEntry]:
    """The moves of a log, the newest first.

    Raises:
        CorruptError: it is not what `append` writes, or a move is missing between two others.
        VerificationError: a tag in it is malformed.
    """
    following: Move | None = None
    commit: Oid | None = tip
    while commit is not None:
        entry, commit = _read_one(repo, objects, commit)
        if following is not None and (following.seq != entry.move.seq + 1 or following.prev != entry.tag_oid):
            raise CorruptError(
                f"the log of {entry.move.model}@{entry.move.channel} lacks a move before {following.seq}"
            )
        if following is not None and (following.model, following.channel) != (entry.move.model, entry.move.channel):
            raise CorruptError(f"the log of {following.model}@{following.channel} has a move of another channel")
        if commit is None and entry.move.prev is not None:
            raise CorruptError(f"the log of {entry.move.model}@{entry.move.channel} begins at move {entry.move.seq}")
        following = entry.move
        yield entry


def restore_tag(repo: Repo, objects: ObjectReader, entry: LogEntry) -> Oid:
    """See that the tag object of an entry is here, so that git can look at its signature; the log has its content."""
    if entry.tag_oid not in objects.contains([entry.tag_oid]):
        commit = parse_commit(bytes(objects.read(entry.commit)[1]))
        blob = parse_tree(bytes(objects.read(commit.tree)[1]), repo.oid_size)[0].oid
        repo.git("hash-object", "-w", "-t", "tag", "--stdin", input=bytes(objects.read(blob)[1]))
    return entry.tag_oid


def read_entry(repo: Repo, objects: ObjectReader, commit: Oid) -> LogEntry:
    """The move of one commit of a log. Raises as `read`."""
    return _read_one(repo, objects, commit)[0]


def _read_one(repo: Repo, objects: ObjectReader, oid: Oid) -> tuple[LogEntry, Oid | None]:
    try:
        commit = parse_commit(bytes(objects.read(oid)[1]))
        entries = parse_tree(bytes(objects.read(commit.tree)[1]), repo.oid_size)
        if len(entries) != 1 or entries[0].name != FILE or len(commit.parents) > 1:
            raise FrameError("its tree or its parents are not those of a log")
        time = int(commit.committer.rsplit(" ", 2)[1])
    except (FrameError, ValueError, IndexError) as error:
        raise CorruptError(f"commit {oid} is none of a channel's log: {error}") from error
    if objects.size(entries[0].oid) > MAX_TAG:
        raise CorruptError(f"commit {oid} is none of a channel's log: its tag is larger than any tag")
    content = bytes(objects.read(entries[0].oid)[1])
    tag = parse_tag(content)
    entry = LogEntry(oid, time, hash_object("tag", [content], repo.object_format), tag, message.parse(tag.message))
    return entry, commit.parents[0] if commit.parents else None

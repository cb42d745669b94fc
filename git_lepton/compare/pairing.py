"""What corresponds to what: files of one side to files of the other, and the tensors in them.

Files are paired by key; then by equal content (renamed); then by likeness, when at least half of the tensors of either
are in the other (renamed and changed), which shards of a set never are: their tensors are paired one by one.

Tensors are paired, each once, the surest first:

1. by name, inside a pair of files;
2. by equal bytes under another name of that pair of files. A namesake with other bytes gives way where both names
   differ in numbers only: then a layer was taken out, and those after it count anew;
3. by name and bytes, by bytes, by name, across files of one folder, or from a file that went to one that came;
4. by what exporters do to names: other numbers, a suffix for the quantized weight; and, when most of a file has
   other names, because a release renamed everything, by order among tensors of the same type and shape. All this only
   where both sides have equally many.

All of it is a function of the two sides, and takes time in proportion to their tensors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from git_lepton.compare.naming import skeleton
from git_lepton.compare.sides import FileSide, Side
from git_lepton.store.manifest import TensorLine
from git_lepton.values import Hash

_SHARD: Final = re.compile(r"[0-9]{5}-of-[0-9]{5}")
_QUANTIZED: Final = re.compile(r"(?:_quantized|(?:_DQ)?_Q[248]|_packed)\Z")
"""What onnxruntime and compressed-tensors append to the name of a weight that they quantize."""

_LOOKED_AT: Final = 8
"""A name or bytes that more files than these have tell nothing, and looking at all would be quadratic."""


@dataclass(slots=True, eq=False)
class FilePair:
    """A file and what became of it, and how far its tensors are paired.

    Attributes:
        before, after: the file on each side; None where it has none.
        key: the newer key.
        old_key: the older key.
        same: tensors that did not change.
        matched: pairs of tensors that differ, in the order of the newer file once `pair` is done.
        alone_before, alone_after: tensors without a partner, in file order.
    """

    before: FileSide | None
    after: FileSide | None
    key: str
    old_key: str
    same: int = 0
    matched: list[Match] = field(default_factory=list)
    alone_before: list[TensorLine] = field(default_factory=list)
    alone_after: list[TensorLine] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Where the newer file lies."""
        return self.key.rpartition("/")[0]

    @property
    def equal(self) -> bool:
        """Whether both sides are there and have the same content."""
        sides = self.before, self.after
        return None not in sides and len({file.manifest.blake3 for file in sides if file}) == 1


@dataclass(frozen=True, slots=True)
class Match:
    """A tensor on both sides; `source` is the older file, which may belong to another pair."""

    source: FileSide
    before: TensorLine
    after: TensorLine


def pair(before: Side, after: Side) -> list[FilePair]:
    """Pair all files and tensors; pairs are sorted by key."""
    pairs = sorted(_pair_files(before, after), key=lambda p: (p.key, p.after is None))
    for item in pairs:
        if not item.equal:
            _by_name(item)
            _by_content(item)
    _across(pairs)
    for item in pairs:
        if item.alone_before and item.alone_after:
            _by_likeness(item)
        if item.after is not None:
            order = {line.name: number for number, line in enumerate(item.after.manifest.tensors)}
            item.matched.sort(key=lambda match: order[match.after.name])
    return pairs


def _pair_files(before: Side, after: Side) -> Iterator[FilePair]:
    left = {key: file for key, file in before.files.items() if key not in after.files}
    came = {key: file for key, file in after.files.items() if key not in before.files}
    for key, file in after.files.items():
        if key in before.files:
            yield FilePair(before.files[key], file, key, key)
    for old, new in _same_content(left, came):
        yield FilePair(left.pop(old), came[new], new, old)
        del came[new]
    for old, new in _alike(left, came):
        yield FilePair(left.pop(old), came[new], new, old)
        del came[new]
    yield from (FilePair(file, None, key, key) for key, file in left.items())
    yield from (FilePair(None, file, key, key) for key, file in came.items())


def _same_content(left: dict[str, FileSide], came: dict[str, FileSide]) -> list[tuple[str, str]]:
    places: dict[Hash, list[str]] = {}
    for key, file in left.items():
        places.setdefault(file.manifest.blake3, []).append(key)
    found = []
    for key, file in came.items():
        if olds := places.get(file.manifest.blake3):
            found.append((olds.pop(0), key))
    return found


def _alike(left: dict[str, FileSide], came: dict[str, FileSide]) -> list[tuple[str, str]]:
    """Files that went and files that came which have half of their tensors in common, by bytes or by name and shape."""
    places: dict[object, list[str]] = {}
    for key, file in left.items():
        if not _SHARD.search(key):
            for mark in _marks(file):
                places.setdefault(mark, []).append(key)
    votes: Counter[tuple[str, str]] = Counter()
    for new, file in came.items():
        if not _SHARD.search(new):
            votes.update((old, new) for mark in _marks(file) for old in places.get(mark, ())[:_LOOKED_AT])
    found = []
    taken: set[str] = set()
    for (old, new), count in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        most = max(len(left[old].manifest.tensors), len(came[new].manifest.tensors))
        if 2 * count >= most and f"-{old}" not in taken and f"+{new}" not in taken:
            taken |= {f"-{old}", f"+{new}"}
            found.append((old, new))
    return found


def _marks(file: FileSide) -> set[object]:
    """One mark a tensor by which it is known again; a file without tensors is known by its own name."""
    if not file.manifest.tensors:
        return {(file.manifest.format, file.path.rpartition("/")[2])}
    return {(line.name, line.shape) for line in file.manifest.tensors}


def _by_name(item: FilePair) -> None:
    old = {line.name: line for line in item.before.manifest.tensors} if item.before else {}
    for line in item.after.manifest.tensors if item.after else ():
        namesake = old.pop(line.name, None)
        if namesake is None or item.before is None:
            item.alone_after.append(line)
        elif namesake == line:
            item.same += 1
        else:
            item.matched.append(Match(item.before, namesake, line))
    item.alone_before = list(old.values())


def _by_content(item: FilePair) -> None:
    """Tensors with the same bytes under another name; see rule 2 of the module's text."""
    if item.before is None:
        return
    _unstick(item)
    for old, new in _take(item.alone_before, item.alone_after, _content):
        item.matched.append(Match(item.before, old, new))


def _unstick(item: FilePair) -> None:
    """Part namesakes of which one side's bytes are, on the other side, under a name with other numbers."""
    # Only bytes that are there once on each side count: zeros are everywhere.
    parted = [match for match in item.matched if match.before.hash != match.after.hash]
    olds = _once([*item.alone_before, *(match.before for match in parted)])
    news = _once([*item.alone_after, *(match.after for match in parted)])
    moved_old: set[str] = set()
    moved_new: set[str] = set()
    for digest, new in news.items():
        old = olds.get(digest)
        if old is not None and _content(old) == _content(new) and skeleton(old.name) == skeleton(new.name):
            moved_old.add(old.name)
            moved_new.add(new.name)
    unstuck = [m for m in parted if m.before.name in moved_old or m.after.name in moved_new]
    if unstuck:
        names = {match.after.name for match in unstuck}
        item.matched = [match for match in item.matched if match.after.name not in names]
        item.alone_before = _in_order(item.before, [*item.alone_before, *(match.before for match in unstuck)])
        item.alone_after = _in_order(item.after, [*item.alone_after, *(match.after for match in unstuck)])


def _once(lines: Iterable[TensorLine]) -> dict[Hash, TensorLine]:
    """Lines by hash, where the hash is there once."""
    found: dict[Hash, TensorLine] = {}
    twice: set[Hash] = set()
    for line in lines:
        if line.hash in found:
            twice.add(line.hash)
        found[line.hash] = line
    return {digest: line for digest, line in found.items() if digest not in twice}


def _in_order(file: FileSide | None, lines: Iterable[TensorLine]) -> list[TensorLine]:
    names = {line.name for line in lines}
    return [line for line in file.manifest.tensors if line.name in names] if file else []


def _across(pairs: Sequence[FilePair]) -> None:
    """Tensors that are in another file now."""
    olds = [(item, line) for item in pairs for line in item.alone_before]
    if not olds or len(pairs) < 2:
        return
    keys: tuple[tuple[Callable[[TensorLine], object], Callable[[FilePair, FilePair], bool]], ...] = (
        (lambda line: (line.name, line.hash), _related),
        (lambda line: line.hash, _related),
        (lambda line: line.name, _resharded),
    )
    for key, may in keys:
        olds = _move(olds, pairs, key, may)
    left: dict[int, list[TensorLine]] = {id(item): [] for item in pairs}
    for item, line in olds:
        left[id(item)].append(line)
    for item in pairs:
        item.alone_before = left[id(item)]


def _move(
    olds: list[tuple[FilePair, TensorLine]],
    pairs: Sequence[FilePair],
    key: Callable[[TensorLine], object],
    may: Callable[[FilePair, FilePair], bool],
) -> list[tuple[FilePair, TensorLine]]:
    """Pair what has the same key with the first that it `may` come from, and return what is left of `olds`."""
    places: dict[object, list[tuple[FilePair, TensorLine]]] = {}
    for source, line in olds:
        places.setdefault(key(line), []).append((source, line))
    gone: set[tuple[int, str]] = set()
    for item in pairs:
        kept = []
        for line in item.alone_after:
            options = places.get(key(line), [])
            at = next((n for n, (source, _) in enumerate(options[:_LOOKED_AT]) if may(source, item)), None)
            source_file = None if at is None else options[at][0].before
            if at is None or source_file is None:
                kept.append(line)
            else:
                source, old = options.pop(at)
                gone.add((id(source), old.name))
                item.matched.append(Match(source_file, old, line))
        item.alone_after = kept
    return [(item, line) for item, line in olds if (id(item), line.name) not in gone]


def _related(source: FilePair, target: FilePair) -> bool:
    """Whether the bytes of a tensor may have gone from one file to the other."""
    return source is not target and (source.folder == target.folder or (source.after is None and target.before is None))


def _resharded(source: FilePair, target: FilePair) -> bool:
    """Whether a mere name tells the same, because files were cut up or joined."""
    return _related(source, target) and (
        source.after is None or target.before is None or _SHARD.search(target.key) is not None
    )


def _by_likeness(item: FilePair) -> None:
    """See rule 4 of the module's text."""
    assert item.before is not None
    assert item.after is not None

    def quantized(line: TensorLine) -> object:
        return _QUANTIZED.sub("", line.name)

    keys: list[Callable[[TensorLine], object]] = [quantized, lambda line: (skeleton(line.name), line.dtype, line.shape)]
    smaller = min(len(item.before.manifest.tensors), len(item.after.manifest.tensors))
    for key in keys:
        for old, new in _take(item.alone_before, item.alone_after, key):
            item.matched.append(Match(item.before, old, new))
    renamed = sum(match.before.name != match.after.name for match in item.matched)
    if 2 * (renamed + min(len(item.alone_before), len(item.alone_after))) >= smaller:
        for old, new in _take(item.alone_before, item.alone_after, lambda line: (line.dtype, line.shape)):
            item.matched.append(Match(item.before, old, new))


def _take(
    olds: list[TensorLine], news: list[TensorLine], key: Callable[[TensorLine], object]
) -> list[tuple[TensorLine, TensorLine]]:
    """Pair in order what has the same key, where both lists have equally many of it, and take it out of the lists."""
    groups: dict[object, tuple[list[TensorLine], list[TensorLine]]] = {}
    for old in olds:
        groups.setdefault(key(old), ([], []))[0].append(old)
    for new in news:
        groups.setdefault(key(new), ([], []))[1].append(new)
    found = [
        match for left, right in groups.values() if len(left) == len(right) for match in zip(left, right, strict=True)
    ]
    if found:
        taken_old, taken_new = ({match[side].name for match in found} for side in (0, 1))
        olds[:] = [line for line in olds if line.name not in taken_old]
        news[:] = [line for line in news if line.name not in taken_new]
    return found


def _content(line: TensorLine) -> object:
    return line.hash, line.dtype, line.shape

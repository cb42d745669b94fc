"""The three-way merge of a model, as a list of decisions: no weight is read, nothing is written.

Tensors of the common ancestor are found again on either side by `pairing`: by name, else by bytes, else by what
exporters do to names. Then each is decided by itself, as a line of text would be:

    same, both        equal on both sides: as it was, or changed alike
    ours, theirs      one side changed it
    added, removed    one side did, and the other has not touched it
    rows              one side appended rows (a vocabulary that grew), the other trained those that were there
    computed          both changed it, and a rule names a strategy that makes values
    base              as the ancestor had it: only on request
    conflict          both changed it, and no rule says what to do

The *frame* is all bytes outside tensors: a header, a graph. That of a safetensors file is made anew where it must be,
and its metadata merges key by key. That of ONNX and GGUF files belongs to one side: the one that changed it, if the
other did not, and all tensors must fit it. In archives the frame holds checksums of the tensors, and other formats have
no tensors at all: such a file is taken whole or is a conflict.

Without an ancestor (both sides added the file), what differs is a conflict, and so is what only one side has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

from git_lepton.compare.mergevalues import BASE, FRAME, METADATA, SIDES, Decision, Facts, Frame, Merge, Three, Whose
from git_lepton.compare.pairing import pair
from git_lepton.compare.rounding import ROUNDED
from git_lepton.compare.sides import Side, StoredFile
from git_lepton.config.strategies import STRATEGIES, check_options
from git_lepton.config.values import MergeRule
from git_lepton.store.manifest import Manifest, TensorLine

REBUILT: Final = "safetensors"
_FRAMED: Final = frozenset({"onnx", "gguf"})
MERGEABLE: Final = frozenset({REBUILT, *_FRAMED})
"""Formats whose tensors merge one by one."""


def wants_metadata(three: Three) -> bool:
    """Whether a merge needs the metadata of all sides."""
    if not _is_mergeable(three) or three.ours.format != REBUILT or _settled(three):
        return False
    headers = {m.other_hash for m in (three.base, three.ours, three.theirs) if m is not None}
    return len(headers) > 1


def growths(three: Three) -> list[Decision]:
    """Tensors to which one side appended rows, and which the other changed as well."""
    if not _is_mergeable(three) or _settled(three):
        return []
    found = []
    for triple in _triples(three):
        name, agreed = _name(triple)
        grown = _grown(triple) if agreed and _both_changed(triple) else ""
        if grown:
            found.append(Decision(name, "rows", triple.base, triple.ours, triple.theirs, grown=grown))
    return found


def merge(three: Three, rules: Sequence[MergeRule] = (), facts: Facts | None = None) -> Merge:
    """Decide about every tensor, and about the bytes outside them.

    Args:
        three: the manifests.
        rules: what to do where both sides changed something; the first glob that matches counts.
        facts: what else is known.

    Raises:
        UsageError: a rule's strategy or its options make no sense.
    """
    for rule in rules:
        if rule.strategy != BASE:
            check_options(rule.strategy, rule.options)
    if settled := _settled(three):
        return Merge((), Frame(settled))
    if not _is_mergeable(three):
        return Merge((), _taken_whole(three, rules))
    known = facts or Facts()
    decisions = _ordered(three, [_decide(three, triple, rules, known) for triple in _triples(three)])
    if three.ours.format == REBUILT:
        return _rebuilt(three, decisions, rules, known)
    frame = _framed(three, decisions, rules)
    if frame.side and (manifest := three.side(frame.side)):
        places = {line.name: at for at, line in enumerate(manifest.tensors)}
        decisions = tuple(sorted(decisions, key=lambda d: places[d.name] if d.line else len(places)))
    return Merge(decisions, frame)


def ways_out(plan: Merge) -> tuple[str, ...]:
    """The strategies that decide something of what is left; sides first."""
    computing = [name for name, kind in STRATEGIES.items() if kind.computes]
    left = [
        replace(d, grown=_grown(_Triple(d.base, d.ours, d.theirs))) for d in plan.decisions if d.outcome == "conflict"
    ]
    able = [name for name in computing if not all(_cannot_compute(decision, name) for decision in left)]
    return ("ours", "theirs", *able) if plan.conflicts else ()


def _settled(three: Three) -> Literal["", "ours", "theirs"]:
    """The side that a merge of whole files would take without a question."""
    base = three.base.blake3 if three.base else None
    if three.theirs.blake3 in {three.ours.blake3, base}:
        return "ours"
    return "theirs" if three.ours.blake3 == base else ""


def _is_mergeable(three: Three) -> bool:
    made = [m for m in (three.base, three.ours, three.theirs) if m is not None]
    return len({m.format for m in made}) == 1 and made[0].format in MERGEABLE and all(m.tensors for m in made)


def _taken_whole(three: Three, rules: Sequence[MergeRule]) -> Frame:
    asked = _asked_side(rules, FRAME)
    if asked is not None and three.side(asked) is not None:
        return Frame(asked)
    if three.ours.format != three.theirs.format:
        return Frame("conflict", reason=f"the format is {three.ours.format} here and {three.theirs.format} there")
    return Frame("conflict", reason=f"both sides changed it, and a file of format {three.ours.format} is taken whole")


# Which tensors belong together


@dataclass(frozen=True, slots=True)
class _Triple:
    base: TensorLine | None
    ours: TensorLine | None
    theirs: TensorLine | None


def _triples(three: Three) -> Iterator[_Triple]:
    if three.base is None:
        theirs = {line.name: line for line in three.theirs.tensors}
        for line in three.ours.tensors:
            yield _Triple(None, line, theirs.pop(line.name, None))
        yield from (_Triple(None, None, line) for line in theirs.values())
        return
    ours, ours_new = _links(three.base, three.ours)
    theirs_links, theirs_new = _links(three.base, three.theirs)
    for line in three.base.tensors:
        yield _Triple(line, ours.get(line.name), theirs_links.get(line.name))
    for name, line in ours_new.items():
        yield _Triple(None, line, theirs_new.pop(name, None))
    yield from (_Triple(None, None, line) for line in theirs_new.values())


def _links(base: Manifest, other: Manifest) -> tuple[dict[str, TensorLine], dict[str, TensorLine]]:
    """The tensor that each of the base's became, by its old name; and those that came, by theirs."""
    sides = (Side("", {"": StoredFile(None, manifest, "")}) for manifest in (base, other))
    (item,) = pair(*sides)
    came = {} if item.equal else {line.name: line for line in item.alone_after}
    became = {} if item.equal else {match.before.name: match.after for match in item.matched}
    matched = {line.name for line in became.values()}
    became |= {line.name: line for line in other.tensors if line.name not in matched and line.name not in came}
    return became, came


def _ordered(three: Three, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """In the order of ours, unless only theirs has another; what the other side added follows its predecessor there."""
    first, second = (
        ("theirs", "ours")
        if three.base and [t.name for t in three.ours.tensors] == [t.name for t in three.base.tensors]
        else ("ours", "theirs")
    )
    places = {
        whose: {line.name: at for at, line in enumerate(getattr(three, whose).tensors)} for whose in (first, second)
    }
    mates = {
        line.name: mate.name
        for decision in decisions
        if (line := getattr(decision, second)) is not None and (mate := getattr(decision, first)) is not None
    }
    follows: dict[str, int] = {}
    last = -1
    for name in places[second]:
        last = places[first][mates[name]] if name in mates else last
        follows[name] = last

    def key(decision: Decision) -> tuple[int, int]:
        line = getattr(decision, first)
        if line is not None:
            return places[first][line.name], -1
        line = getattr(decision, second)
        return (len(decisions), -1) if line is None else (follows[line.name], places[second][line.name])

    kept = sorted((d for d in decisions if d.outcome != "removed"), key=key)
    return (*kept, *(d for d in decisions if d.outcome == "removed"))


# One tensor


def _decide(three: Three, triple: _Triple, rules: Sequence[MergeRule], facts: Facts) -> Decision:
    base, ours, theirs = triple.base, triple.ours, triple.theirs
    name, agreed = _name(triple)
    made = Decision(name, "conflict", base, ours, theirs)
    if ours is None and theirs is None:
        return replace(made, outcome="removed")
    if ours is None or theirs is None:
        return _one_sided(three, made, rules)
    if agreed:
        before = _content(base)
        if _content(ours) == _content(theirs):
            return replace(made, outcome="same" if _content(ours) == before else "both")
        if _content(ours) == before:
            return replace(made, outcome="theirs")
        if _content(theirs) == before:
            return replace(made, outcome="ours")
    reason = f"it is called {ours.name} here and {theirs.name} there" if not agreed else _difference(base, ours, theirs)
    grown = _grown(triple) if agreed else ""
    if grown and name in facts.kept_rows:
        return replace(made, outcome="rows", grown=grown)
    if grown:
        made, reason = replace(made, grown=grown), "one side appended rows, and both changed those that were there"
    return _by_rule(replace(made, reason=reason), rules)


def _difference(base: TensorLine | None, ours: TensorLine, theirs: TensorLine) -> str:
    """What is in conflict where both sides have a tensor."""
    what = "both sides changed it" if base is not None else "both sides added it, and they differ"
    here, there = (f"{line.dtype} [{','.join(map(str, line.shape))}]" for line in (ours, theirs))
    return what if here == there else f"{what}: {here} here, {there} there"


def _name(triple: _Triple) -> tuple[str, bool]:
    """The name of the merged tensor, and whether the sides agree on it."""
    base, ours, theirs = (None if line is None else line.name for line in (triple.base, triple.ours, triple.theirs))
    if ours is None or theirs is None or ours == theirs:
        return ours or theirs or base or "", True
    return (theirs, True) if ours == base else (ours, theirs == base)


def _both_changed(triple: _Triple) -> bool:
    return len({_content(line) for line in (triple.base, triple.ours, triple.theirs)}) == 3


def _one_sided(three: Three, made: Decision, rules: Sequence[MergeRule]) -> Decision:
    """A tensor that one side does not have."""
    left = made.ours or made.theirs
    if made.base is None:
        if three.base is not None:
            return replace(made, outcome="added")
        there = "here" if made.ours else "there"
        return _by_rule(replace(made, reason=f"it is only {there}, and there is no common ancestor"), rules)
    if _content(left) == _content(made.base):
        return replace(made, outcome="removed")
    gone, changed = ("here", "there") if made.ours is None else ("there", "here")
    return _by_rule(replace(made, reason=f"removed {gone}, changed {changed}"), rules)


def _content(line: TensorLine | None) -> object:
    return None if line is None else (line.dtype, line.shape, line.hash)


def _grown(triple: _Triple) -> Literal["", "ours", "theirs"]:
    """The side that has more rows than the base, where all else fits."""
    base, ours, theirs = triple.base, triple.ours, triple.theirs
    if base is None or ours is None or theirs is None or not base.shape:
        return ""
    if len({base.dtype, ours.dtype, theirs.dtype}) > 1 or len({base.shape[1:], ours.shape[1:], theirs.shape[1:]}) > 1:
        return ""
    rows = base.shape[0]
    if not (ours.shape and theirs.shape) or sorted((ours.shape[0] - rows, theirs.shape[0] - rows))[0] != 0:
        return ""
    if ours.shape[0] > rows:
        return "ours"
    return "theirs" if theirs.shape[0] > rows else ""


def _asked(rules: Sequence[MergeRule], name: str) -> MergeRule:
    conflict = MergeRule("*", "conflict")
    return next((rule for rule in rules if fnmatchcase(name, rule.tensors)), conflict)


def _asked_side(rules: Sequence[MergeRule], name: str) -> Whose | None:
    """The side that the rules take, if they take one."""
    return SIDES.get(_asked(rules, name).strategy)


def _by_rule(made: Decision, rules: Sequence[MergeRule]) -> Decision:
    """What the rules say to a conflict."""
    rule = _asked(rules, made.name)
    if rule.strategy == "conflict":
        return replace(made, grown="")
    side = _asked_side(rules, made.name)
    if side == "base" and made.base is None:
        return replace(made, grown="", reason=f"{made.reason}; no ancestor has it")
    if side is not None and side != "base" and made.grown:
        return replace(made, outcome="rows", strategy=side, reason="")
    if side is not None:
        line = {"base": made.base, "ours": made.ours, "theirs": made.theirs}[side]
        made = replace(made, grown="", reason="")
        return replace(made, outcome="removed") if line is None else replace(made, outcome=side, name=line.name)
    problem = _cannot_compute(made, rule.strategy)
    if problem:
        return replace(made, grown="", reason=f"{made.reason}; {rule.strategy} {problem}")
    options = check_options(rule.strategy, rule.options)
    made = replace(made, outcome="rows" if made.grown else "computed")
    return replace(made, strategy=rule.strategy, options=options, reason="")


def _cannot_compute(made: Decision, strategy: str) -> str:
    """Why values cannot be made; empty when they can."""
    sides = [made.ours, made.theirs]
    if STRATEGIES[strategy].needs_base:
        if made.base is None:
            return "works on changes, and there is no common ancestor"
        sides.append(made.base)
    lines = [line for line in sides if line is not None]
    if len(lines) < len(sides):
        return "needs it on both sides"
    if len({line.dtype for line in lines}) > 1 or lines[0].dtype not in ROUNDED:
        return f"cannot compute with {' and '.join(dict.fromkeys(line.dtype for line in lines))}"
    if not made.grown and len({line.shape for line in lines}) > 1:
        return "needs equal shapes"
    return ""


# The frame


def _rebuilt(three: Three, decisions: tuple[Decision, ...], rules: Sequence[MergeRule], facts: Facts) -> Merge:
    """A safetensors file: the header of a side that says the same, else a new one."""
    conflicts: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for key in dict.fromkeys([*facts.ours, *facts.theirs, *facts.base]):
        base, ours, theirs = (found.get(key) for found in (facts.base, facts.ours, facts.theirs))
        chosen = theirs if ours == base else ours
        if base not in {ours, theirs} and ours != theirs:
            asked = _asked_side(rules, f"{METADATA}.{key}")
            if asked is None:
                conflicts[key] = f"metadata: {_shown(ours)} here, {_shown(theirs)} there"
            chosen = theirs if asked == "theirs" else base if asked == BASE else ours
        if chosen is not None:
            metadata[key] = chosen
    shapes = [(d.name, d.line.dtype, d.line.shape) for d in decisions if d.line]
    twice = len({name for name, *_ in shapes}) < len(shapes)
    frame = Frame("new", metadata)
    first: Whose = "theirs" if three.base and three.ours.other_hash == three.base.other_hash else "ours"
    sides: tuple[Whose, ...] = (first, "ours", "theirs")
    for whose in sides:
        manifest = three.side(whose)
        lines = [(t.name, t.dtype, t.shape) for t in manifest.tensors] if manifest else []
        if metadata == getattr(facts, whose) and shapes == lines:
            frame = Frame(whose)
            break
    if twice:
        frame = Frame("conflict", reason="two tensors would have one name")
    return Merge(decisions, frame, conflicts)


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return repr(value) if len(value) <= 60 else f"{value[:60]!r}…"


def _framed(three: Three, decisions: tuple[Decision, ...], rules: Sequence[MergeRule]) -> Frame:
    """A file whose frame must be that of one side."""
    base = three.base.other_hash if three.base else None
    if three.theirs.other_hash in {three.ours.other_hash, base}:
        whose: Whose = "ours"
    elif three.ours.other_hash == base:
        whose = "theirs"
    else:
        asked = _asked_side(rules, FRAME)
        if asked is None or three.side(asked) is None:
            what = "the graph, or constants in it" if three.ours.format == "onnx" else "keys or the table of tensors"
            return Frame("conflict", reason=f"both sides changed {what}")
        whose = asked
    manifest = three.side(whose)
    assert manifest is not None
    wanted = {(t.name, t.dtype, t.shape) for t in manifest.tensors}
    found = {(d.name, d.line.dtype, d.line.shape) for d in decisions if d.line}
    if found != wanted:
        odd = sorted(name for name, *_ in found ^ wanted)
        where = {"ours": "here", "theirs": "there", "base": "in the common ancestor"}[whose]
        return Frame("conflict", reason=f"the graph is as it is {where}, and {odd[0]} does not fit it")
    return Frame(whose)

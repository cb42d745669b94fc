"""Decisions of a three-way merge, from manifests alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from git_lepton.compare.merge import growths, merge, wants_metadata
from git_lepton.compare.mergevalues import Facts, Merge, Three
from git_lepton.config.values import MergeRule
from git_lepton.errors import UsageError
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import Hash

Spec = Mapping[str, object]


def hashed(value: object) -> Hash:
    return Hash(blake3(repr(value).encode()).hexdigest())


def manifest(tensors: Spec, *, fmt: str = "safetensors", other: object = "head") -> Manifest:
    """`name -> content`, or `name -> (content, dtype, shape)`."""
    lines = []
    for name, value in tensors.items():
        content, dtype, shape = value if isinstance(value, tuple) else (value, "F32", (4, 4))
        lines.append(TensorLine(dtype, shape, hashed(content), name))
    return Manifest(fmt, 1000, hashed((lines, other)), hashed(other), 100, tuple(lines))


def three(base: Spec | None, ours: Spec, theirs: Spec, **options: str) -> Three:
    return Three(
        None if base is None else manifest(base, **options), manifest(ours, **options), manifest(theirs, **options)
    )


def outcomes(found: Merge) -> dict[str, str]:
    return {d.name: d.outcome for d in found.decisions}


def rule(strategy: str, tensors: str = "*", **options: float) -> MergeRule:
    return MergeRule(tensors, strategy, options)


def test_every_outcome() -> None:
    found = merge(
        three(
            {"same": 1, "ours": 1, "theirs": 1, "both": 1, "gone": 1, "conflict": 1, "lost": 1, "off": 1},
            {"same": 1, "ours": 2, "theirs": 1, "both": 3, "conflict": 2, "new": 1, "off": 1},
            {"same": 1, "ours": 1, "theirs": 2, "both": 3, "gone": 1, "conflict": 3, "lost": 2, "newer": 2},
        )
    )
    assert outcomes(found) == {
        "same": "same",
        "ours": "ours",
        "theirs": "theirs",
        "both": "both",
        "conflict": "conflict",
        "lost": "conflict",
        "new": "added",
        "newer": "added",
        "gone": "removed",
        "off": "removed",
    }
    assert found.conflicts == {"conflict": "both sides changed it", "lost": "removed here, changed there"}
    assert found.frame.outcome == "new"


def test_files_of_which_one_side_is_the_base_are_taken_whole() -> None:
    base, other = {"a": 1, "b": 1}, {"a": 2, "c": 1}
    for found, side in (
        (merge(three(base, other, base)), "ours"),
        (merge(three(base, base, other)), "theirs"),
        (merge(three(base, other, other)), "ours"),
    ):
        assert (found.decisions, found.frame.outcome) == ((), side)


def test_renumbered_names_still_merge() -> None:
    names = {f"onnx::MatMul_{n}": n for n in range(6)}
    renamed = {f"onnx::MatMul_{n + 40}": n for n in range(6)}
    trained = names | {"onnx::MatMul_2": "trained"}
    found = merge(three(names, renamed, trained))
    assert not found.conflicts
    assert [d.name for d in found.decisions] == list(renamed)
    assert [d.line.hash for d in found.decisions if d.line] == [hashed(n if n != 2 else "trained") for n in range(6)]


def test_two_new_names_are_a_conflict_that_a_rule_can_end() -> None:
    versions = three({"a": 1, "b": 1}, {"x": 1, "b": 2}, {"y": 1, "b": 3})
    found = merge(versions)
    assert found.conflicts["x"] == "it is called x here and y there"
    assert outcomes(merge(versions, [rule("theirs")])) == {"y": "theirs", "b": "theirs"}


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        ([rule("average")], "computed"),
        ([rule("ours")], "ours"),
        ([rule("theirs")], "theirs"),
        ([rule("base")], "base"),
        ([rule("conflict"), rule("average")], "conflict"),
        ([rule("average", "other*"), rule("ours", "te*")], "ours"),
    ],
)
def test_the_first_rule_that_matches_decides_conflicts_and_nothing_else(rules: list[MergeRule], outcome: str) -> None:
    versions = three({"tensor": 1, "quiet": 1}, {"tensor": 2, "quiet": 1}, {"tensor": 3, "quiet": 5})
    assert outcomes(merge(versions, rules)) == {"tensor": outcome, "quiet": "theirs"}


def test_options_are_whole_and_checked() -> None:
    versions = three({"t": 1}, {"t": 2}, {"t": 3})
    (decision,) = merge(versions, [rule("ties", density=0.5)]).decisions
    assert decision.options == {"ours": 1.0, "theirs": 1.0, "scale": 1.0, "density": 0.5}
    with pytest.raises(UsageError, match="no option"):
        merge(versions, [rule("average", density=0.5)])


@pytest.mark.parametrize(
    ("ours", "theirs", "strategy", "reason"),
    [
        ((2, "I64", (4, 4)), (3, "I64", (4, 4)), "average", "cannot compute with I64"),
        ((2, "BF16", (4, 4)), (3, "F32", (4, 4)), "average", "cannot compute with BF16 and F32"),
        ((2, "F32", (2, 8)), (3, "F32", (4, 4)), "ties", "needs equal shapes"),
    ],
)
def test_what_cannot_be_computed_stays_a_conflict(ours: object, theirs: object, strategy: str, reason: str) -> None:
    found = merge(three({"t": 1, "u": 0}, {"t": ours, "u": 0}, {"t": theirs, "u": 1}), [rule(strategy)])
    assert reason in found.conflicts["t"]


def test_without_an_ancestor_only_what_is_equal_merges() -> None:
    found = merge(three(None, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "d": 1}))
    assert outcomes(found) == {"a": "both", "b": "conflict", "c": "conflict", "d": "conflict"}
    found = merge(three(None, {"a": 1, "b": 1}, {"a": 1, "b": 2}), [rule("ties")])
    assert "no common ancestor" in found.conflicts["b"]
    assert outcomes(merge(three(None, {"a": 1, "b": 1}, {"a": 1, "b": 2}), [rule("slerp")]))["b"] == "computed"


def test_a_vocabulary_that_grew_and_a_tensor_that_was_trained() -> None:
    old, grown, trained = (1, "F32", (100, 8)), (2, "F32", (103, 8)), (3, "F32", (100, 8))
    versions = three({"emb": old, "x": 1}, {"emb": grown, "x": 1}, {"emb": trained, "x": 2})
    assert [(d.name, d.grown) for d in growths(versions)] == [("emb", "ours")]
    found = merge(versions, facts=Facts(kept_rows={"emb"}))
    decision = found.decisions[0]
    assert (decision.outcome, decision.grown, decision.strategy) == ("rows", "ours", "")
    assert decision.line == decision.ours
    assert "appended rows" in merge(versions).conflicts["emb"]
    decided = merge(versions, [rule("ties")]).decisions[0]
    assert (decided.outcome, decided.strategy) == ("rows", "ties")
    swapped = Three(versions.base, versions.theirs, versions.ours)
    assert merge(swapped, facts=Facts(kept_rows={"emb"})).decisions[0].grown == "theirs"


def test_added_tensors_stand_where_their_side_has_them() -> None:
    base = {"a": 1, "b": 1, "c": 1}
    found = merge(three(base, {**base, "a": 2}, {"z": 1, "a": 1, "b": 1, "b2": 1, "b3": 1, "c": 1}))
    assert [d.name for d in found.decisions] == ["z", "a", "b", "b2", "b3", "c"]
    found = merge(three(base, {"a": 2, "b": 1, "x": 1, "c": 1}, {"a": 1, "b": 1, "y": 1, "c": 1}))
    assert [d.name for d in found.decisions] == ["a", "b", "y", "x", "c"]


def test_metadata_merges_key_by_key() -> None:
    versions = Three(
        manifest({"t": 1, "u": 1}, other=0), manifest({"t": 2, "u": 1}, other=1), manifest({"t": 1, "u": 2}, other=2)
    )
    assert wants_metadata(versions)
    facts = Facts({"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "1", "d": "x"}, {"a": "1", "b": "3", "c": "1"})
    found = merge(versions, facts=facts)
    assert not found.conflicts
    assert found.frame.metadata == {"a": "2", "b": "3", "d": "x"}
    clash = replace(facts, theirs={"a": "9"})
    assert list(merge(versions, facts=clash).conflicts) == ["__metadata__.a"]
    assert merge(versions, [rule("theirs", "__metadata__.*")], clash).frame.metadata["a"] == "9"


def test_a_graph_is_taken_from_the_side_that_changed_it() -> None:
    base = manifest({"w": 1, "v": 1}, fmt="onnx", other="graph")
    trained = manifest({"w": 2, "v": 1}, fmt="onnx", other="graph")
    wired = manifest({"w": 1, "v": 1, "new": 1}, fmt="onnx", other="another graph")
    for versions in (Three(base, trained, wired), Three(base, wired, trained)):
        found = merge(versions)
        assert not found.conflicts
        assert [d.name for d in found.decisions] == ["w", "v", "new"]
        assert found.decisions[0].line == trained.tensors[0]
    rewired = manifest({"w": 2, "v": 1}, fmt="onnx", other="a third graph")
    assert "both sides changed the graph" in merge(Three(base, rewired, wired)).conflicts["__frame__"]
    found = merge(Three(base, rewired, wired), [rule("ours")])
    assert found.conflicts == {"__frame__": "the graph is as it is here, and new does not fit it"}


@pytest.mark.parametrize("fmt", ["pytorch", "npz", "raw"])
def test_archives_and_opaque_files_are_taken_whole(fmt: str) -> None:
    versions = three({"w": 1, "v": 1}, {"w": 2, "v": 1}, {"w": 1, "v": 2}, fmt=fmt)
    assert "is taken whole" in merge(versions).conflicts["__frame__"]
    assert merge(versions, [rule("theirs")]).whole(versions) == "theirs"
    assert merge(versions, [rule("base")]).whole(versions) == "base"


NAMES = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 3), min_size=1)


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES)
def test_merging_with_an_unchanged_side_gives_the_other(base: Spec, other: Spec) -> None:
    for versions in (three(base, other, base), three(base, base, other)):
        found = merge(versions)
        whose = found.whole(versions)
        assert whose is not None
        assert versions.side(whose) == manifest(other)


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES, NAMES, st.booleans())
@example({"a": 0, "b": 0, "d": 0}, {"a": 0, "d": 0, "f": 0}, {"g": 0, "a": 0, "f": 0}, True)
def test_the_sides_can_be_swapped(base: Spec, ours: Spec, theirs: Spec, with_base: bool) -> None:
    left, right = three(base if with_base else None, ours, theirs), three(base if with_base else None, theirs, ours)
    mirror = {"ours": "theirs", "theirs": "ours"}
    one, other = merge(left), merge(right)
    if not one.decisions:
        assert not other.decisions
        return
    assert {(d.name, mirror.get(d.outcome, d.outcome)) for d in one.decisions if d.outcome != "conflict"} == {
        (d.name, d.outcome) for d in other.decisions if d.outcome != "conflict"
    }
    # Not as many: a tensor with two new names has ours for the time being, which may be another tensor's name too.
    assert bool(one.conflicts) == bool(other.conflicts)


@settings(max_examples=50, deadline=None)
@given(NAMES, NAMES, NAMES, st.sampled_from(["ours", "theirs", "base", "average", "ties"]))
def test_every_tensor_is_decided_once(base: Spec, ours: Spec, theirs: Spec, strategy: str) -> None:
    versions = three(base, ours, theirs)
    found = merge(versions, [rule(strategy)])
    if found.decisions:
        for whose in ("base", "ours", "theirs"):
            lines = [getattr(d, whose).name for d in found.decisions if getattr(d, whose)]
            assert sorted(lines) == sorted({"base": base, "ours": ours, "theirs": theirs}[whose])
        if found.frame.outcome != "conflict":
            names = [d.name for d in found.kept]
            assert len(set(names)) == len(names)

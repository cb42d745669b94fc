from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.lines import Path, line_of, longest_key

KEYS = st.text(alphabet="abAB-_.[]{}#\"=' \\é", min_size=1, max_size=6) | st.sampled_from(["gate", "1", "model"])
BODIES = st.text(alphabet="ab [](){}#=.,\"'\\é", max_size=8)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key(text: str, style: int) -> str:
    if text.isascii() and text.replace("-", "").replace("_", "").isalnum() and style % 2:
        return text
    return f"'{text}'" if "'" not in text and style % 3 else quoted(text)


@dataclass
class Writer:
    """Writes a document in a spelling drawn at random, and notes on which line each key and element begins."""

    draw: Any
    rows: list[str] = field(default_factory=lambda: [""])
    lines: dict[Path, int] = field(default_factory=dict)

    def put(self, text: str) -> None:
        first, *rest = text.split("\n")
        self.rows[-1] += first
        self.rows += rest

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, len(self.rows))

    def key(self, text: str) -> str:
        return key(text, self.draw(st.integers(0, 5)))

    def scalar(self) -> None:
        body = self.draw(BODIES)
        plain = body.replace("'", "")
        spellings = [
            quoted(body),
            f"'{plain}'",
            f"'''\n{plain}\n[x]\na = 1'''",
            "-1.5e3",
            "1979-05-27T07:32:00Z",
            "true",
        ]
        spellings.append('"""' + body.replace("\\", "\\\\").replace('"', '\\"') + '\n# [y]\nb = "2""""')
        self.put(self.draw(st.sampled_from(spellings)))

    def value(self, path: Path, depth: int) -> None:
        self.note(path)
        kind = self.draw(st.sampled_from(["scalar", "array", "inline"])) if depth else "scalar"
        if kind == "scalar":
            self.scalar()
        elif kind == "array":
            gap = self.draw(st.sampled_from([" ", "\n", " # ] ,\n  "]))
            self.put(f"[{gap}")
            for index in range(self.draw(st.integers(0, 3))):
                self.value((*path, index), depth - 1)
                self.put(f",{gap}")
            self.put("]")
        else:
            self.put("{ ")
            for index, name in enumerate(self.draw(st.lists(KEYS, max_size=3, unique=True))):
                self.put(", " if index else "")
                self.note((*path, name))
                self.put(f"{self.key(name)} = ")
                self.value((*path, name), depth - 1)
            self.put(" }")

    def body(self, path: Path, depth: int, names: set[str]) -> None:
        for name in self.draw(st.lists(KEYS, max_size=3, unique=True)):
            if name in names:
                continue
            names.add(name)
            self.note((*path, name))
            inner = (*path, name)
            self.put(self.key(name))
            if self.draw(st.booleans()):
                self.put(f" . {self.key('dotted')}")
                inner = (*inner, "dotted")
            self.put(" = ")
            self.value(inner, depth)
            self.put(self.draw(st.sampled_from(["\n", " # c = [\n", "\n\n"])))

    def table(self, path: Path, header: list[str], depth: int) -> None:
        names: set[str] = set()
        self.body(path, depth, names)
        for name in self.draw(st.lists(KEYS, max_size=2, unique=True)) if depth else ():
            if name in names:
                continue
            names.add(name)
            inner = [*header, self.key(name)]
            array = self.draw(st.booleans())
            for index in range(self.draw(st.integers(1, 3)) if array else 1):
                self.note((*path, name))
                place = (*path, name, index) if array else (*path, name)
                self.note(place)
                title = " . ".join(inner)
                self.put(f"[[ {title} ]]\n" if array else f"[{title}] # [[\n")
                self.table(place, inner, depth - 1)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_the_line_of_every_key_is_found(data: st.DataObject) -> None:
    writer = Writer(data.draw)
    writer.table((), [], 2)
    text = "\n".join(writer.rows)
    tomllib.loads(text)
    for path, line in writer.lines.items():
        assert line_of(text, path) == line, path
        assert line_of(text, (*path, "not there \0")) == line


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet="ab=.[]{},\"'\\#\n\x00", max_size=60), st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=4))
def test_any_text_has_an_answer(text: str, path: list[str | int]) -> None:
    assert 1 <= line_of(text, tuple(path)) <= text.count("\n") + 1
    assert longest_key(text)[1] <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("model", "digits"), 2),
        (("model", "digits", "gate"), 4),
        (("model", "digits", "gate", 0, "name"), 5),
        (("model", "digits", "gate", 1, "name"), 9),
        (("model", "digits", "gate", 1, "variants", "int8", "max_drop"), 11),
        (("model", "digits", "gate", 1, "extra", "x"), 13),
        (("model", "digits", "gate", 7), 4),
        (("elsewhere",), 1),
    ],
)
def test_lines_of_a_usual_file(path: Path, line: int) -> None:
    text = """# [model.digits]
[model.digits]
main = "[[model.digits.gate]]"
[[model.digits.gate]]
name = "a"

[["model".digits.'gate']]

name = "b"
variants.fp16 = { max_drop = 1 }
variants.int8.max_drop = 1
[model.digits.gate.extra]
x = 1
"""
    assert line_of(text, path) == line


def test_deep_and_long_documents_take_one_pass() -> None:
    assert line_of("a = " + "[" * 100_000, ("a", 0, 0)) == 1
    assert line_of("[x]\n" * 100_000 + "y = 1", ("x", "y")) == 100_001
    assert longest_key("\n" + "a." * 100_000 + "a = 1") == (100_001, 2)
    assert longest_key("a = 1.5\nb.'c.d'.e = 2") == (3, 2)

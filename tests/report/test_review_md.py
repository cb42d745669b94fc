"""The comment of a pull request: whole, short enough, and safe whatever a tensor is called."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from git_lepton.compare.values import FactChange, TensorChange
from git_lepton.report.layers import layer_of, layers, most_changed
from git_lepton.report.review import ReviewReport
from git_lepton.report.review_md import MARKER, MAX_CHARACTERS, code, comment, prose
from git_lepton.report.review_words import alarms, bar, percent, visible, what_happened
from tests.report.samples import HOSTILE, changed, fine_tune, hostile, ref, review

HOST_LIMIT = 65_536


def rendered(markdown: str) -> str:
    """As a host shows it: tables on, raw HTML passed through, as before a host's own filter."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").render(markdown))


class Outline(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.outside: list[str] = []
        self.links: list[str] = []
        self._inside_code = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self._inside_code += tag in {"code", "pre"}
        self.links += [value or "" for key, value in attrs if key in {"href", "src"} or key.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._inside_code -= tag in {"code", "pre"}

    def handle_data(self, data: str) -> None:
        if not self._inside_code:
            self.outside.append(data)


ALLOWED = {
    "h3", "h4", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "sub"
}  # fmt: skip


def test_a_fine_tune_reads_well() -> None:
    text = comment(fine_tune())
    assert text.startswith(
        f"{MARKER}\n### Models: `main → feature`\n\n**Layers 4-5 fine-tuned, the rest unchanged.**\n"
    )
    assert "| `encoder.layer.5` | ██████████ 20 % | 9 changed |" in text
    assert "| `minilm (int8)` | `accuracy` | ✗ fail |" in text
    assert "| metadata | `step` | `1000` | `1120` |" in text
    assert "| `embeddings.word.weight` | reshaped |" in text
    assert text.index("encoder.layer.5.attention.query.weight") < text.index("encoder.layer.4.attention.query.weight")
    assert "2 other weight files did not change." in text
    assert set(Outline(rendered(text)).tags) == ALLOWED


def test_nothing_differs() -> None:
    report = review([])
    empty = ReviewReport(report.comparison, ())
    assert comment(empty).startswith(MARKER)
    assert "|" not in comment(empty)


def test_a_link_to_the_full_report() -> None:
    assert "[Full report](<https://ci.example/1/report.html>)" in comment(
        review([], link="https://ci.example/1/report.html")
    )


def test_hostile_names_are_only_text() -> None:
    outline = Outline(rendered(comment(hostile())))
    assert set(outline.tags) == ALLOWED
    assert outline.links == []
    assert outline.tags["table"] == 5
    rows = outline.tags["tr"]
    assert rows == 5 + 1 + 4 * len(HOSTILE)


def test_hostile_names_reach_nobody() -> None:
    """Hosts turn `@name`, `#1` and addresses into links in one run of text, outside code."""
    for run in Outline(rendered(comment(hostile()))).outside:
        assert not ("@" in run and not run.rstrip().endswith("@"))
        assert "://" not in run
        assert "www." not in run
        assert "#1" not in run


@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_any_name_is_one_cell_of_one_row(name: str) -> None:
    table = f"| a | b |\n|---|---|\n| {code(name)} | {prose(name)} |\n"
    outline = Outline(rendered(table))
    assert outline.tags == {"table": 1, "thead": 1, "tbody": 1, "tr": 2, "th": 2, "td": 2, "code": 1}


@pytest.mark.parametrize("tensors", [500, 20_000])
def test_a_comment_is_never_too_long_for_a_host(tensors: int) -> None:
    text = comment(review([changed(f"model.layers.{n}.mlp.weight", 1 / (n + 1)) for n in range(tensors)]))
    assert len(text) < MAX_CHARACTERS < HOST_LIMIT
    assert "model.layers.0.mlp.weight" in text
    if tensors > 500:
        assert "Left out here: 19,980 of 20,000 layers" in text
        assert len(text) > MAX_CHARACTERS * 0.8, "room is used"
    assert set(Outline(rendered(text)).tags) <= ALLOWED


def test_a_comment_of_the_worst_names_is_not_too_long_either() -> None:
    names = [f"{n}" + "|\u202e" * 5_000 for n in range(1_000)]
    facts = [FactChange(name, name, name, name) for name in names]
    report = review([changed(name, nans=1) for name in names], facts=facts, summary="|" * 70_000, path=names[0])
    assert len(comment(report)) < MAX_CHARACTERS


def test_the_least_important_goes_first() -> None:
    report = fine_tune()
    whole, short = comment(report), comment(report, 5_500)
    assert len(short) < 5_500 < len(whole) + 3_000
    assert "#### Gates" in short
    assert "#### Layers" in short
    assert "of 20 tensors" in short


def test_values_that_broke_stand_above_everything() -> None:
    report = review([changed("layer.0.weight", 0.1), changed("layer.1.weight", math.inf, nans=3)])
    assert alarms(report) == ["layer.1.weight: 3 values are NaN (before: 0)"]
    assert comment(report).index("⚠ layer.1.weight: 3 values are NaN (before: 0)") < comment(report).index(
        "#### Weights"
    )


def test_a_gate_that_failed_stands_there_too() -> None:
    assert alarms(fine_tune()) == ["gate accuracy of minilm (int8) failed: drop above 0.01"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.layer.4.attention.self.query.weight", "encoder.layer.4"),
        ("/model/encoder/layer.11/output/dense/weight", "/model/encoder/layer.11"),
        ("embeddings.word_embeddings.weight", "embeddings.word_embeddings"),
        ("layer_0.weight", "layer_0"),
        ("weight", "weight"),
        ("blk.0.attn_q.weight", "blk.0"),
        ("", ""),
        ("...", "..."),
    ],
)
def test_the_layer_of_a_tensor(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_layers_know_what_stayed_the_same() -> None:
    (model,) = fine_tune().models
    found = {layer.name: layer for layer in layers(model.change, model.names)}
    assert list(found)[:3] == ["embeddings.word", "encoder.layer.0", "encoder.layer.1"]
    assert found["encoder.layer.0"].changes == ()
    assert len(found["encoder.layer.0"].members) == 9
    assert [layer.name for layer in most_changed(found.values())][:2] == ["encoder.layer.5", "encoder.layer.4"]


def test_a_layer_without_new_values_is_not_among_the_changed() -> None:
    renamed = TensorChange("renamed", ref("a.0.w"), ref("b.0.w"))
    assert most_changed(layers(review([renamed]).models[0].change)) == []


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0 %"), (1, "100 %"), (0.0423, "4.2 %"), (0.00003, "0.0030 %"), (1e-9, "< 0.0001 %"), (14, "1,400 %"),
     (math.inf, "from 0"), (math.nan, "-")],
)  # fmt: skip
def test_per_cent(ratio: float, text: str) -> None:
    assert percent(ratio) == text


def test_bars() -> None:
    assert bar(0.5, 1.0) == "█████░░░░░"
    assert bar(1e-9, 1.0) == "█░░░░░░░░░"
    assert bar(0, 0) == "░░░░░░░░░░"
    assert bar(math.inf, 1.0) == "██████████"


def test_what_one_cannot_see_is_written_out() -> None:
    assert visible("a\u200bb\u202ec\n") == "a\\u200bb\\u202ec\\n"
    assert visible("模型.权重") == "模型.权重"
    assert len(visible("x" * 10_000)) < 200


def test_what_happened_to_a_file() -> None:
    assert (
        what_happened(fine_tune().models[0].change) == "18 changed, 1 added, 1 reshaped, 10 the same; metadata differs"
    )

"""How far tensors lie apart: the numbers of a comparison, streamed.

Only chunks whose hashes differ are read. They are decoded and summed by a few threads, a few chunks ahead of one
consumer that merges the sums in their order, so that the result is the same every time, and memory holds some chunks
of a few megabytes whatever the model's size. The largest tensors go first: the last thread is idle for a small one.

BLAS is kept to one thread meanwhile, since these threads already fill the processors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from git_lepton.compare import rank
from git_lepton.compare.alignment import Alignment, Span, align, sample
from git_lepton.compare.sides import FileSide, Side
from git_lepton.compare.tally import Pair, Tally
from git_lepton.compare.values import Comparison, Numbers, TensorChange
from git_lepton.progress import Progress
from git_lepton.store.manifest import TensorLine
from git_lepton.store.reading import in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Products: TypeAlias = tuple[int, NDArray[np.float32]]
    """What `Sketch.part` makes."""

Part = TypeVar("Part")

KINDS: Final = frozenset({"changed", "renamed", "moved", "reshaped", "retyped"})
"""Changes that can have numbers: when their bytes differ."""

QUANTIZED: Final = "quantized, and the scale is not known: no error can be told"
LARGEST_CAST: Final = 1.0
"""A plain cast of a float to an integer moves it by less than this; one that moves it by more applied a scale."""


@dataclass(frozen=True, slots=True)
class NumberOptions:
    """What to measure.

    Attributes:
        sample: read about so many bytes of each side of a tensor at most, and at least one chunk; None for no limit.
        histogram: bins of a histogram of the change; 0 for none.
        top: how many tensors, those that changed most, get a histogram (it takes a second reading).
        rank: look for a low rank of the change where that is cheap.
    """

    sample: int | None = None
    histogram: int = 0
    top: int = 12
    rank: bool = True


def measure(
    comparison: Comparison, before: Side, after: Side, options: NumberOptions, progress: Progress
) -> Comparison:
    """Fill in the numbers of every tensor whose bytes differ, and notes where there are none; the order stays.

    Raises:
        MissingError: a chunk is not here.
        CorruptError: what is stored for a chunk is damaged, or a tensor has fewer bytes than its shape asks for.
        ChangedError: a file on disk is another one by now.
    """
    tasks: dict[tuple[int, int], _Task] = {}
    notes: dict[tuple[int, int], str] = {}
    for place, change in _measurable(comparison):
        assert change.before is not None
        assert change.after is not None
        task, note = _task(*before.find(change.before), *after.find(change.after), options)
        if task is None:
            notes[place] = note
        else:
            tasks[place] = task
    _run(sorted(tasks.values(), key=lambda task: -task.size), options, progress)
    found = {place: (None, note) for place, note in notes.items()} | {
        place: task.result() for place, task in tasks.items()
    }
    files = tuple(
        replace(file, tensors=tuple(_filled(change, found.get((f, t))) for t, change in enumerate(file.tensors)))
        for f, file in enumerate(comparison.files)
    )
    return replace(comparison, files=files, numbers=True, sampled=any(task.sampled for task in tasks.values()))


def _measurable(comparison: Comparison) -> Iterator[tuple[tuple[int, int], TensorChange]]:
    """Changes whose numbers can be asked for, by their place: file, tensor."""
    for f, file in enumerate(comparison.files):
        for t, change in enumerate(file.tensors):
            if change.kind in KINDS and change.before and change.after and change.before.hash != change.after.hash:
                yield (f, t), change


def _filled(change: TensorChange, found: tuple[Numbers | None, str] | None) -> TensorChange:
    return change if found is None else replace(change, numbers=found[0], note=found[1] or change.note)


@dataclass(slots=True)
class _Task:
    """One pair of tensors on its way. Workers call `tally` and `counts`, all else is for the thread that merges."""

    aligned: Alignment
    spans: Sequence[Span]
    sampled: bool
    ranked: bool
    sums: Tally
    sketch: rank.Sketch | None = None
    low_rank: int | None = None
    histogram: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the newer side that will be read."""
        return sum(self.bytes_of(span) for span in self.spans)

    def bytes_of(self, span: Span) -> int:
        """Bytes of the newer side in a span."""
        return (span.stop - span.first) * self.aligned.after.decode.bits // 8

    def pair(self, span: Span) -> Pair | None:
        """Read a span; None when both sides turn out to have the same bytes."""
        # The newer one first: most often it is stored as a delta of the older one, which is at hand then.
        after = self.aligned.after.raw(span.first, span.stop)
        before = self.aligned.before.raw(span.first, span.stop)
        if not span.certain and before == after:
            return None
        return Pair.of(self.aligned.before.decode, before, self.aligned.after.decode, after, span.stop - span.first)

    def begin(self) -> None:
        """Get ready for the first span."""
        if self.ranked:
            self.sketch = rank.Sketch.of(self.aligned.shape)

    def tally(self, span: Span) -> tuple[Tally, _Products | None]:
        """The sums of a span, and its part of the sketch if that needs it to tell whether to go on."""
        pair, sketch = self.pair(span), self.sketch
        if pair is None:
            return Tally(), None
        if sketch is None or span.first >= self._probe(sketch):
            return pair.tally(), None
        return self._sketched(pair, span, sketch)

    def products(self, span: Span) -> _Products | None:
        """The span's part of the sketch alone."""
        pair = self.pair(span)
        assert self.sketch is not None
        return None if pair is None else self._sketched(pair, span, self.sketch)[1]

    def _sketched(self, pair: Pair, span: Span, sketch: rank.Sketch) -> tuple[Tally, _Products]:
        count = span.stop - span.first
        room = sketch.room(span.first, count)
        column = span.first % self.aligned.shape[1]
        sums = pair.tally(room[column : column + count])
        return sums, sketch.part(span.first, room)

    def add(self, span: Span, sums: Tally, products: _Products | None) -> None:
        """Merge what `tally` found; `ranked` stays if the first rows have a low rank, and the others are to be seen."""
        self.sums.merge(sums)
        if self.sketch is None:
            return
        if products is not None:
            self.sketch.add(products)
        last, probe = span is self.spans[-1], self._probe(self.sketch)
        if last or span.stop >= probe:
            whole = last and span.first < probe
            low_rank = self._rank(self.sketch, -(-span.stop // self.aligned.shape[1]))
            self.low_rank = low_rank if whole else None
            self.ranked = low_rank is not None and not whole
            self.sketch = None

    def add_products(self, span: Span, products: _Products | None) -> None:
        """Merge what `products` found."""
        assert self.sketch is not None
        if products is not None:
            self.sketch.add(products)
        if span is self.spans[-1]:
            self.low_rank = self._rank(self.sketch, len(self.sketch.rows))
            self.sketch = None

    def _probe(self, sketch: rank.Sketch) -> int:
        """Up to which element the sketch must be seen to tell whether to go on."""
        return self.spans[0].first + sketch.enough * self.aligned.shape[1]

    def _rank(self, sketch: rank.Sketch, rows: int) -> int | None:
        decode = self.aligned.after.decode
        noise = rank.rounding(decode.step, self.sums.compared, self.sums.after, relative=not decode.is_integer)
        return sketch.rank(noise, rows)

    def counts(self, span: Span, bins: int) -> NDArray[np.int64] | None:
        """The histogram of a span."""
        pair = self.pair(span)
        return None if pair is None else pair.histogram(self.sums.max_abs, bins)

    def result(self) -> tuple[Numbers | None, str]:
        """The numbers, and what is to be said of them."""
        sums, decode_before, decode_after = self.sums, self.aligned.before.decode, self.aligned.after.decode
        if decode_before.is_integer != decode_after.is_integer and sums.max_abs > LARGEST_CAST:
            return None, QUANTIZED
        differing = sum(span.stop - span.first for span in self.aligned.spans)
        unread = differing / sums.compared if self.sampled and sums.compared else 1.0
        found = Numbers(
            elements=self.aligned.elements,
            compared=sums.compared,
            sampled=self.sampled,
            changed=sums.changed,
            l2=math.sqrt(sums.difference * unread),
            relative_l2=sums.relative,
            cosine=sums.cosine,
            max_abs=sums.max_abs,
            before=sums.spread_before.moments(),
            after=sums.spread_after.moments(),
            rank=self.low_rank,
            histogram=self.histogram,
            differing=differing if self.sampled else None,
        )
        return found, self.aligned.note


def _task(
    before: FileSide, line_before: TensorLine, after: FileSide, line_after: TensorLine, options: NumberOptions
) -> tuple[_Task | None, str]:
    """What is to be done for a pair of tensors; None, and why, when nothing can be."""
    aligned, note = align(before, line_before, after, line_after)
    if aligned is None:
        return None, note
    spans = aligned.spans
    if options.sample is not None:
        spans = sample(spans, options.sample, aligned.before.decode)
    sampled = len(spans) < len(aligned.spans)
    decode = aligned.before.decode
    ranked = (
        options.rank
        and not sampled
        and bool(spans)
        and decode == aligned.after.decode
        and not decode.is_complex
        and line_before.shape == line_after.shape
        and rank.worth_asking(aligned.shape)
    )
    return _Task(aligned, spans, sampled, ranked, Tally()), ""


def _run(tasks: Sequence[_Task], options: NumberOptions, progress: Progress) -> None:
    """Do all tasks: sums first, then what takes a second reading.

    That is the rank of those changes whose first rows have a low one, so that all others do not pay for it, and
    histograms of those that moved furthest.
    """
    if not any(task.spans for task in tasks):
        return  # and numpy is not even loaded
    import numpy as np
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        progress.start("comparing weights", sum(task.size for task in tasks))
        for task, span, part in _streamed(tasks, _Task.tally, _Task.begin):
            task.add(span, *part)
            progress.advance(task.bytes_of(span))
        progress.finish()
        ranked = [task for task in tasks if task.ranked]
        for task, span, products in _streamed(ranked, _Task.products, _Task.begin):
            task.add_products(span, products)
        if not options.histogram:
            return
        moved = [task for task in tasks if task.sums.difference]
        moved = sorted(moved, key=lambda task: -task.sums.relative)[: options.top]
        totals: Mapping[int, NDArray[np.int64]] = {id(task): np.zeros(options.histogram, np.int64) for task in moved}
        for task, _, counts in _streamed(moved, lambda task, span: task.counts(span, options.histogram)):
            if counts is not None:
                totals[id(task)][:] += counts
        for task in moved:
            task.histogram = tuple(totals[id(task)].tolist())


def _streamed(
    tasks: Sequence[_Task], work: Callable[[_Task, Span], Part], begin: Callable[[_Task], None] | None = None
) -> Iterator[tuple[_Task, Span, Part]]:
    """Run `work` on every span of every task in a few threads; yield the results in order.

    `begin` is called on this thread before the first span of a task is handed to another one.
    """
    todo = [(task, span) for task in tasks for span in task.spans]

    def rows() -> Iterator[int]:
        for row, (task, span) in enumerate(todo):
            if begin is not None and span is task.spans[0]:
                begin(task)
            yield row

    for (task, span), part in zip(todo, in_order(lambda row: work(*todo[row]), rows()), strict=True):
        yield task, span, part

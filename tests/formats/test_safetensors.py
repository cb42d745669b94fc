from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.errors import FormatError
from git_lepton.formats.safetensors import MAX_HEADER, MAX_PUNCTUATION, parse, read_metadata, write_header
from git_lepton.values import DTYPES, Layout
from tests.formats.samples import safetensors_bytes, safetensors_file


def ours(data: bytes) -> Layout | None:
    try:
        return parse(memoryview(data))
    except FormatError:
        return None


def reference(data: bytes) -> dict[str, Any] | None:
    try:
        return dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return None


def check_same(data: bytes) -> bool:
    """We accept what the reference accepts, and find the same tensors. Returns whether it was accepted."""
    layout, truth = ours(data), reference(data)
    assert (layout is None) == (truth is None), data
    if layout is None or truth is None:
        return False
    assert {t.name for t in layout.tensors} == set(truth)
    for t in layout.tensors:
        expected = truth[t.name]
        assert (t.dtype, list(t.shape)) == (expected["dtype"], expected["shape"])
        assert data[t.start : t.stop] == bytes(expected["data"])
    return True


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def header(*args: object, **kwargs: Any) -> str:
    return json.dumps({"a": entry(*args, **kwargs)})  # type: ignore[arg-type]


def test_a_real_file() -> None:
    data = safetensors_file()
    assert check_same(data)
    layout = parse(memoryview(data))
    assert layout.format == "safetensors"
    assert layout.tensors[-1].stop == layout.size == len(data)


def test_every_dtype_of_numpy() -> None:
    kinds = [np.dtype(c) for c in "?bBhHiIqQefdF"] + [
        np.dtype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
    ]
    assert check_same(bytes(safetensors.numpy.save({str(k): np.ones(3, k) for k in kinds})))


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_name(dtype: str) -> None:
    size = DTYPES[dtype].bits  # bytes of eight elements
    check_same(safetensors_bytes(header(dtype, (8,), (0, size)), bytes(size)))


GOOD = [
    "{}",
    "{}   ",
    '{"__metadata__":null}',
    '{"__metadata__":{"a":"b"}} \n\t\r',
    header(),
    header("F32", (2, 1), (0, 8)),
    header("F4", (16,), (0, 8)),
    header("F6_E2M3", (4, 1), (0, 3)),
    header("F32", (0, 7), (0, 0)),
    header("F64", (), (0, 8)),
    header(extra="field"),
    header(extra=[1, 2.5, None, -3]),
    header().replace("[2]", "[ 2 ]"),
    header(extra=1).replace("1}", "-0}"),
    header().replace('"a"', '"\\ud83d\\ude00"'),
    header().replace('"a"', '""'),
    header().replace('"dtype"', '"d\\u0074ype"'),
    json.dumps({"b": entry("F32", (1,), (4, 8)), "a": entry("F32", (1,), (0, 4)), "c": entry("F32", (0,), (4, 4))}),
]
BAD = [
    "",
    "[]",
    "null",
    "{",
    "{}x",
    '{"a":1}',
    '{"__metadata__":{"a":1}}',
    '{"__metadata__":[]}',
    '{"__metadata__":null,"__metadata__":null}',
    header("F99"),
    header("f32"),
    header("C128", (1,), (0, 16)),
    header("F32", (3,)),
    header("F32", (-2,)),
    header("F32", (2.0,)),
    header("F32", ("2",)),
    header("F32", (True, 2)),
    header("F32", 2),
    header("F32", (2,), (0, 8, 8)),
    header("F32", (2,), (0,)),
    header("F32", (2,), (4, 12)),
    header("F32", (2,), (8, 0)),
    header("F32", (2,), (0, 2**64)),
    header("F32", (2**63, 4)),
    header("F32", (2**62, 2)),
    header("F32", (2**64, 0), (0, 0)),
    header("F32", (2**40, 2**40, 0), (0, 0)),
    header("F4", (15,), (0, 8)),
    header("F6_E3M2", (1,), (0, 1)),
    '{"a":{"dtype":"F32","shape":[2]}}',
    '{"a":{"dtype":"F32","data_offsets":[0,8]}}',
    '{"a":{"shape":[2],"data_offsets":[0,8]}}',
    '{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    header(extra=1).replace("1}", "NaN}"),
    header(extra=1).replace("1}", "Infinity}"),
    header(extra=1).replace("1}", "1e999}"),
    header(extra=1).replace("1}", "9" * 400 + "}"),
    header(extra=1).replace("1}", "01}"),
    header().replace("[2]", "[-0]"),
    header().replace("[2]", "[2,]"),
    header().replace('"a"', '"\\ud800"'),
    header().replace('"a"', '"\\udc00\\ud800"'),
    header().replace('"a"', '"\x01"'),
    header().replace('"a"', "'a'"),
    '{"a":' + "[" * 100_000,
]


@pytest.mark.parametrize("text", GOOD)
def test_accepted_like_the_reference(text: str) -> None:
    size = max((o for t in json.loads(text).values() if t and "shape" in t for o in t["data_offsets"]), default=0)
    assert check_same(safetensors_bytes(text, bytes(size)))


@pytest.mark.parametrize("text", BAD)
def test_refused_like_the_reference(text: str) -> None:
    assert not check_same(safetensors_bytes(text, bytes(8)))


def test_the_frame_is_checked() -> None:
    good = safetensors_bytes(header(), bytes(8))
    for data in (b"", good[:7], good[:-1], good + b"\0", good[:20], safetensors_bytes(b"{\xff}")):
        assert not check_same(data)
    assert not check_same((MAX_HEADER + 1).to_bytes(8, "little") + b"{}")
    assert not check_same((2**64 - 1).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    "text",
    [
        " " + header(),
        header()[:-1] + "," + header()[1:],
        '{"__metadata__":{"a":"b","a":"c"},' + header()[1:],
        '{"a":["F32",[2],[0,8]]}',
        header(extra={"deeper": [1]}),
        header(extra=[[1]]),
        header("F32", (2,) + (1,) * 64),
        header().replace('"a"', '"' + "n" * 20_000 + '"'),
    ],
)
def test_stricter_than_the_reference_where_we_say_so(text: str) -> None:
    data = safetensors_bytes(text, bytes(8))
    assert reference(data) is not None
    assert ours(data) is None


def test_deep_and_wide_headers_end_in_a_refusal() -> None:
    for text in (
        '{"a":' * 50_000,
        '{"a":' + '{"x":' * 900 + "1" + "}" * 901,
        '{"a":[' + "1," * (MAX_PUNCTUATION + 1),
    ):
        with pytest.raises(FormatError):
            parse(memoryview(safetensors_bytes(text)))


def test_twenty_thousand_tensors() -> None:
    entries = {f"layer.{n}.weight": entry("BF16", (2, 2), (8 * n, 8 * n + 8)) for n in range(20_000)}
    data = safetensors_bytes(json.dumps(entries), bytes(160_000))
    assert len(parse(memoryview(data)).tensors) == 20_000


NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from([-1, 2**32, 2**63, 2**64 - 1, 2**64, 1.5, True, None, "1"]))
PLAUSIBLE = st.builds(
    lambda dtype, shape: (dtype, shape, int(np.prod(shape, dtype=object)) * DTYPES[dtype].bits // 8),
    st.sampled_from(["F32", "U8", "F4", "BF16", "F6_E2M3", "C64", "I4"]),
    st.lists(st.integers(0, 4), max_size=3),
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A file that is valid but for up to two mutations of its header's values."""
    tensors: dict[str, Any] = {}
    end = 0
    for index, (dtype, shape, size) in enumerate(draw(st.lists(PLAUSIBLE, max_size=4))):
        tensors[f"t{index}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    order = draw(st.permutations(sorted(tensors)))
    made = {name: tensors[name] for name in order}
    for _ in range(draw(st.integers(0, 2)) if made else 0):
        target = made[draw(st.sampled_from(order))]
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
        target[key] = draw(st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3), st.sampled_from(["F32", "U8", "X"])))
    if draw(st.booleans()):
        made["__metadata__"] = draw(st.one_of(st.dictionaries(st.text(max_size=3), st.text(max_size=3)), st.none()))
    return safetensors_bytes(json.dumps(made), bytes(max(0, end + draw(st.sampled_from([0, 0, 0, 1, -1])))))


@given(headers())
@settings(deadline=None, max_examples=50)
def test_oracle(data: bytes) -> None:
    check_same(data)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=2))
@settings(deadline=None, max_examples=50)
def test_oracle_on_changed_bytes(at: int, change: bytes) -> None:
    """Any change of the header's bytes: what we accept, the reference accepts with the same meaning."""
    data = bytearray(safetensors_file())
    data[at : at + len(change)] = change
    if ours(bytes(data)) is not None:
        assert check_same(bytes(data))


def test_a_header_that_we_write_is_read() -> None:
    head = write_header({"by": "test é"}, [("a é", "F32", (2, 3), 24), ("b", "U8", (), 1)])
    assert len(head) % 8 == 0
    assert read_metadata(head) == {"by": "test é"}
    assert [(t.name, t.dtype, t.shape) for t in parse(memoryview(head + bytes(25))).tensors] == [
        ("a é", "F32", (2, 3)),
        ("b", "U8", ()),
    ]
    with pytest.raises(FormatError, match="UTF-8"):
        write_header({}, [("\udcff", "U8", (1,), 1)])

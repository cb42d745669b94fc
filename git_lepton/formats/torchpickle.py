"""What a PyTorch pickle says about its storages, read as data: nothing is imported, called or constructed.

A pickle is a program for a stack machine. This one runs it over symbols: a `GLOBAL` is just its name, a call is a
node that remembers its arguments. So the three things that we want come out without trust: which storages there are
(the persistent ids, with element type and count), which tensors view them, and under which path the pickle holds each
tensor. Keys are compared only when they are texts or numbers, and the walk over the result is a loop with a visited
set and a depth limit, since a hostile pickle can describe graphs that are cyclic, shared or a million levels deep.

Opcodes: CPython's Lib/pickletools.py. Calls: torch/_utils.py (`_rebuild_tensor_v2` and its relatives).
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from git_lepton.errors import FormatError
from git_lepton.formats.base import MAX_NAME, MAX_RANK

FORMAT: Final = "pytorch"
MAX_OPCODES: Final = 10_000_000
MAX_DEPTH: Final = 64  # of a tensor in the containers of the pickle
MAX_PATHS: Final = 64 << 20  # characters of all paths together

_STORAGES: Final = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
    "QInt8Storage": "I8",
    "QUInt8Storage": "U8",
    "QInt32Storage": "I32",
}
_DTYPES: Final = {
    # torch.dtype of `_rebuild_tensor_v3`, whose storages are untyped
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
_VIEWS: Final = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"})
_PARAMETERS: Final = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})


@dataclass(frozen=True, slots=True)
class View:
    """A tensor of the pickle.

    Attributes:
        path: where the pickle holds it, its keys joined by dots.
        key: of the storage that it views.
        dtype: our name of the element type, or None when it is unknown.
        offset: of its first element in the storage.
        shape: its dimensions.
        dense: its elements lie in the storage in the order of the shape, without gaps.
    """

    path: str
    key: str
    dtype: str | None
    offset: int
    shape: tuple[int, ...]
    dense: bool


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(slots=True)
class _List:
    items: list[object] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """A dictionary or an object: what was called, with what, and the items that it was given since.

    Arguments and state are kept as the nodes that they are, never copied out of them: a pickle may pass one tuple of a
    million elements to a million calls. They are items with the key "".
    """

    function: str = ""
    args: _List = field(default_factory=_List)
    items: list[tuple[object, object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Storage:
    type: str
    key: str


_MARK: Final = object()


def read_views(data: bytes) -> tuple[View, ...]:
    """All tensors of a pickle, in its order; one that is held in several places appears once, at its first path.

    Raises:
        FormatError: the pickle is malformed, or uses an opcode that PyTorch does not write.
    """
    return tuple(_walk(_Machine().run(data)))


class _Machine:
    """Runs a pickle over symbols; the methods below are named after the opcodes."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.actions: dict[str, Callable[[], None]] = {
            "PROTO": lambda: None,
            "FRAME": lambda: None,
            "MARK": lambda: self.stack.append(_MARK),
            "POP": self.drop,
            "MEMOIZE": lambda: self.remember(len(self.memo)),
            "EMPTY_DICT": lambda: self.stack.append(_Call()),
            "EMPTY_LIST": lambda: self.stack.append(_List()),
            "EMPTY_SET": lambda: self.stack.append(_List()),
            "EMPTY_TUPLE": lambda: self.stack.append(_List()),
            "TUPLE": lambda: self.stack.append(_List(self.pop_mark())),
            "TUPLE1": lambda: self.stack.append(_List(self.pop_many(1))),
            "TUPLE2": lambda: self.stack.append(_List(self.pop_many(2))),
            "TUPLE3": lambda: self.stack.append(_List(self.pop_many(3))),
            "LIST": lambda: self.stack.append(_List(self.pop_mark())),
            "DICT": self.dict,
            "APPEND": lambda: self.extend(self.pop_many(1)),
            "APPENDS": lambda: self.extend(self.pop_mark()),
            "ADDITEMS": lambda: self.extend(self.pop_mark()),
            "SETITEM": lambda: self.set_items(self.pop_many(2)),
            "SETITEMS": lambda: self.set_items(self.pop_mark()),
            "STACK_GLOBAL": self.stack_global,
            "BINPERSID": self.persistent_id,
            "REDUCE": self.call,
            "NEWOBJ": self.call,
            "BUILD": self.build,
        }

    def run(self, data: bytes) -> object:
        """The value that the pickle leaves."""
        try:
            for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
                if count > MAX_OPCODES:
                    raise FormatError(FORMAT, f"the pickle has more than {MAX_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return self.pop()
                self.step(opcode.name, opcode.stack_after, arg)
        except (ValueError, OverflowError) as error:  # of genops: a malformed or truncated argument
            raise FormatError(FORMAT, f"the pickle is malformed: {error}") from error
        raise FormatError(FORMAT, "the pickle does not stop")

    def step(self, name: str, pushes: list[pickletools.StackObject], arg: object) -> None:
        action = self.actions.get(name)
        if action is not None:
            action()
        elif name == "GLOBAL":
            self.stack.append(_Global(str(arg).replace(" ", ".", 1)))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.remember(arg)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            if not isinstance(arg, int) or arg not in self.memo:
                raise FormatError(FORMAT, f"the pickle reads memo {arg!r:.20}, which it never wrote")
            self.stack.append(self.memo[arg])
        elif len(pushes) == 1 and pushes[0] in _PLAIN:  # a constant; of interest are only texts and integers
            self.stack.append(arg if isinstance(arg, str | int) else None)
        else:
            raise FormatError(FORMAT, f"the pickle uses the opcode {name}")

    def pop(self) -> object:
        return self.pop_many(1)[0]

    def drop(self) -> None:
        self.pop()

    def top(self) -> object:
        if not self.stack:
            raise FormatError(FORMAT, "the pickle reads an empty stack")
        return self.stack[-1]

    def pop_many(self, count: int) -> list[object]:
        items = self.stack[-count:]
        if len(items) != count or any(item is _MARK for item in items):
            raise FormatError(FORMAT, "the pickle pops an empty stack")
        del self.stack[-count:]
        return items

    def pop_mark(self) -> list[object]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise FormatError(FORMAT, "the pickle pops to a mark that is not there")

    def remember(self, key: object) -> None:
        if not isinstance(key, int):
            raise FormatError(FORMAT, "the pickle writes a memo that is no number")
        self.memo[key] = self.top()

    def dict(self) -> None:
        items = self.pop_mark()
        self.stack.append(_Call())
        self.set_items(items)

    def extend(self, items: list[object]) -> None:
        target = self.top()
        if isinstance(target, _List):
            target.items.extend(items)
        elif isinstance(target, _Call):
            target.items.extend(enumerate(items, start=len(target.items)))

    def set_items(self, flat: list[object]) -> None:
        target = self.top()
        if isinstance(target, _Call):
            target.items.extend(zip(flat[::2], flat[1::2], strict=False))

    def stack_global(self) -> None:
        module, name = self.pop_many(2)
        self.stack.append(_Global(f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""))

    def persistent_id(self) -> None:
        """`("storage", <storage type>, key, device, element count)`."""
        pid = self.pop()
        items = pid.items if isinstance(pid, _List) else []
        if len(items) >= 3 and items[0] == "storage" and isinstance(items[1], _Global) and isinstance(items[2], str):
            self.stack.append(_Storage(items[1].name.rpartition(".")[2], items[2]))
        else:
            self.stack.append(None)

    def call(self) -> None:
        function, args = self.pop_many(2)
        if not isinstance(args, _List):
            args = _List()
        name = function.name if isinstance(function, _Global) else ""
        if name.removeprefix("torch._utils.") in _PARAMETERS and args.items:
            self.stack.append(args.items[0])
        else:
            self.stack.append(_Call(name, args, [("", args)]))

    def build(self) -> None:
        """Give an object its state: `__dict__` of a module, `_metadata` of an ordered dictionary."""
        self.set_items(["", self.pop()])


_PLAIN: Final = (
    pickletools.pynone,
    pickletools.pybool,
    pickletools.pyint,
    pickletools.pyinteger_or_bool,
    pickletools.pylong,
    pickletools.pyfloat,
    pickletools.pyunicode,
    pickletools.pystring,
    pickletools.pybytes,
    pickletools.pybytes_or_str,
)


def _walk(root: object) -> Iterator[View]:
    """The tensors under `root`, depth first in the order of the pickle."""
    stack: list[tuple[object, str, int]] = [(root, "", 0)]
    visited: set[int] = set()
    characters = 0
    while stack:
        node, path, depth = stack.pop()
        if not isinstance(node, _List | _Call) or id(node) in visited:
            continue
        visited.add(id(node))
        view = _view(node, path)
        if view is not None:
            yield view
            continue
        for key, child in reversed(_children(node)):
            if isinstance(child, _List | _Call):
                child_path = f"{path}.{key}" if path and key else path or key
                characters += len(child_path)
                if depth == MAX_DEPTH or characters > MAX_PATHS:
                    raise FormatError(FORMAT, "the pickle nests too deeply")
                stack.append((child, child_path, depth + 1))


def _children(node: _List | _Call) -> list[tuple[str, object]]:
    """What a container or an object holds, by index or key; keys that are neither text nor small are left out."""
    if isinstance(node, _List):
        return [(str(index), child) for index, child in enumerate(node.items)]
    return [
        (str(key), child)
        for key, child in node.items
        if (isinstance(key, str) and len(key) <= MAX_NAME) or (isinstance(key, int) and abs(key) < 1 << 63)
    ]


def _view(node: object, path: str) -> View | None:
    """The tensor that a call of `_rebuild_tensor…(storage, offset, size, stride, …)` would build."""
    if not isinstance(node, _Call) or node.function.removeprefix("torch._utils.") not in _VIEWS:
        return None
    if len(node.args.items) < 4:
        return None
    storage, offset, size, stride, *rest = node.args.items[:7]
    shape, strides = _sizes(size), _sizes(stride)
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or shape is None or strides is None:
        return None
    dtype = _STORAGES.get(storage.type)
    if node.function.endswith("_v3"):
        named = rest[2] if len(rest) > 2 else None
        dtype = _DTYPES.get(named.name.removeprefix("torch.")) if isinstance(named, _Global) else None
    return View(path, storage.key, dtype, offset, shape, _dense(shape, strides))


def _sizes(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, _List) or len(value.items) > MAX_RANK:
        return None
    sizes = tuple(item for item in value.items if isinstance(item, int) and 0 <= item < 1 << 63)
    return sizes if len(sizes) == len(value.items) else None


def _dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    if len(shape) != len(strides):
        return False
    return all(
        stride == math.prod(shape[axis + 1 :]) or size == 1
        for axis, (size, stride) in enumerate(zip(shape, strides, strict=True))
    )

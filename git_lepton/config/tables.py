"""Every key of `lepton.toml`: what it may be and what it is for.

This is the one table from which the file is parsed (`reading`), the schema for editors and the tables of
docs/lepton-toml.md are written (`schema`). What a key means to the program is documented at `values`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from git_lepton.config.kinds import (
    ANY_TEXT,
    GLOB,
    PATH,
    Choice,
    Drop,
    Duration,
    Key,
    ListOf,
    MapOf,
    Number,
    Place,
    Schema,
    Size,
    Table,
    Tables,
    Text,
    Truth,
    kind_of,
    meant,
)
from git_lepton.config.names import NAME_PATTERN, channel_problem, name_problem, path_problem, plain_path
from git_lepton.config.recipes import parse_recipe
from git_lepton.config.store import StoreSettings, url_problem
from git_lepton.config.strategies import STRATEGIES, Option
from git_lepton.config.values import (
    Budget,
    ChannelSettings,
    Config,
    GateRule,
    Golden,
    MergeRule,
    ModelSettings,
    ProvenanceSettings,
    TeacherRule,
    VariantRule,
)
from git_lepton.errors import UsageError

ORIGINAL: Final = "original"
"""How the model itself is written where variants are named; its name in `values` is ""."""

FUNCTION: Final = r"[A-Za-z_]\w{0,99}(?:\.[A-Za-z_]\w{0,99}){0,19}:[A-Za-z_]\w{0,99}"
"""`pkg.module:function`."""


@dataclass(frozen=True, eq=False, repr=False)
class _StoreUrl:
    """An address that git may be given; a password in it is refused, and not repeated."""

    what: str = "an ssh, https or file address"

    def read(self, value: object, place: Place) -> str:
        problem = url_problem(value)
        if problem is not None or not isinstance(value, str):
            raise place.error(problem or "must be a string", hint="passwords belong in a git credential helper")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^[^\s-][^\s]*:[^\s]+$"}


@dataclass(frozen=True, eq=False, repr=False)
class _Recipe:
    """How a variant is made."""

    what: str = 'a recipe, such as "int8" or "prune50+int8"'

    def read(self, value: object, place: Place) -> str:
        if not isinstance(value, str):
            raise place.error(f"must be a recipe, not {kind_of(value)}", hint="such as int8, fp16, prune50+int8")
        try:
            parse_recipe(value)
        except UsageError as error:
            raise place.error(f": {error.message}", hint=error.hint) from error
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^[a-z0-9:_+-]+$", "maxLength": 64}


@dataclass(frozen=True, eq=False, repr=False)
class _MergeRules:
    """Globs over tensor names in the order of the file, each with a strategy or with a table that names one."""

    what: str = "a table: glob = strategy, or glob = { strategy, … }"

    def read(self, value: object, place: Place) -> tuple[MergeRule, ...]:
        if not isinstance(value, dict):
            raise place.error(f"must be a table, not {kind_of(value)}", hint="write [merge]")
        if len(value) > 1000:
            raise place.error("must not have more than 1000 entries")
        return tuple(self._rule(glob, entry, place.at(glob)) for glob, entry in value.items())

    def _rule(self, glob: str, entry: object, place: Place) -> MergeRule:
        if problem := path_problem(glob.replace("/", "")):
            raise place.error(f": a glob over tensor names {problem}")
        table = {"strategy": entry} if isinstance(entry, str) else entry
        if not isinstance(table, dict):
            raise place.error(f"must be a strategy or a table, not {kind_of(entry)}")
        if "strategy" not in table:
            raise place.error("lacks strategy", hint='globs with dots stand in quotes: "encoder.*" = "average"')
        strategy = Choice(tuple(STRATEGIES)).read(table["strategy"], place.at("strategy"))
        known = STRATEGIES[strategy].options
        for name in table:
            if name != "strategy" and name not in known:
                problem = f"is no option of {strategy}{meant(name, known)}"
                raise place.at(name).error(problem, hint=f"its options: {', '.join(known) or 'none'}")
        options = {
            name: _number(name, option).read(table[name], place.at(name))
            for name, option in known.items()
            if name in table
        }
        return MergeRule(glob, strategy, options)

    def schema(self) -> Schema:
        rules: list[Schema] = [{"enum": list(STRATEGIES)}]
        for strategy, kind in STRATEGIES.items():
            numbers = {name: _number(name, option).schema() for name, option in kind.options.items()}
            known = {"strategy": {"const": strategy, "description": kind.summary}} | numbers
            rules.append(
                {"type": "object", "properties": known, "required": ["strategy"], "additionalProperties": False}
            )
        return {"type": "object", "additionalProperties": {"anyOf": rules}}


def _number(name: str, option: Option) -> Number:
    return Number(option.least, option.most, whole=name == "seed")


_RECIPE = _Recipe()
_MODEL_NAME = Text("a model's name", name_problem, pattern=NAME_PATTERN)
_CHANNEL_NAME = Text("a channel's name", channel_problem, pattern=NAME_PATTERN)
_SERVED = Text(ANY_TEXT.what, tidy=lambda text: "" if text == ORIGINAL else text)
_SHARE = Number(0, 1)
_METRIC = Text(
    'the name of a metric, or "pkg.module:function"', pattern=rf"[A-Za-z][A-Za-z0-9._@/-]{{0,99}}|{FUNCTION}"
)
_REVISION = Text("a channel, tag or revision", pattern=r"[^\s\-:?*\[\\][^\s:?*\[\\]{0,255}")
_ROOT = Text('a folder from the top; "." for the top', path_problem, tidy=plain_path)
_MAIN = Text('a path; "." for the folder', path_problem, tidy=lambda text: plain_path(text) or ".")
_PATHS = ListOf(Text("a path or glob from the top", path_problem, tidy=plain_path), single=True)


def _variant_map(item: Any) -> MapOf:
    return MapOf("variant", item, plain="", alias=ORIGINAL)


VARIANT_RULE: Final = Table(
    "variants = { NAME = { … } }",
    VariantRule,
    (
        Key("max_drop", Drop(), "how much worse than the original the metric may be"),
        Key("min_agreement", _SHARE, "least share of examples with the same prediction as the original"),
        Key("max_output_error", Number(0), "largest difference of any output"),
        Key("min", Number(), "least value of the variant's own metric"),
        Key("max", Number(), "greatest value of the variant's own metric"),
    ),
)

TEACHER_RULE: Final = Table(
    "teacher = { … }",
    TeacherRule,
    (
        Key("min_agreement", _SHARE, "least share of examples with the same prediction as the teacher"),
        Key("max_kl", Number(0), "greatest mean KL divergence from the teacher's outputs, in nats"),
    ),
)

GATE: Final = Table(
    "[[model.NAME.gate]]",
    GateRule,
    (
        Key("name", Text("a gate's name", name_problem, pattern=NAME_PATTERN), "unique in the model", required=True),
        Key("data", PATH, "examples, `.npz` or `.safetensors`, from the top of the repository"),
        Key("blake3", Text("64 hexadecimal digits", pattern="[0-9a-f]{64}"), "hash of data that lie outside git"),
        Key("metric", _METRIC, "what is measured; with `command`, the field of its JSON", default="`accuracy`"),
        Key(
            "command",
            Text("a shell command", lines=True),
            "prints the metric as JSON, instead of our own evaluator; `{model}` is the folder of the bundle, "
            "`{main}` the path of main. Runs after `git lepton trust`",
        ),
        Key(
            "task",
            Choice(("classification", "regression", "ranking")),
            "how outputs are read",
            default="the metric's own",
        ),
        Key(
            "inputs",
            MapOf("input of the model", ANY_TEXT),
            "the array in the data for each input of the model",
            default="equal names",
        ),
        Key("labels", ANY_TEXT, "the array of expected answers", default="labels, label, y, target or targets"),
        Key("output", ANY_TEXT, "the output that is judged", default="the first"),
        Key(
            "direction",
            Choice(("higher", "lower")),
            "which way is better; required with `command` or a function",
            default="the metric's own",
        ),
        Key("min", Number(), "least value"),
        Key("max", Number(), "greatest value"),
        Key("max_drop", Drop(), "how much worse than the baseline it may be"),
        Key("slices", ANY_TEXT, "an array in the data: each of its distinct values is judged by itself too"),
        Key("slice_max_drop", Drop(), "`max_drop` of a slice", default="`max_drop`"),
        Key(
            "on_inconclusive", Choice(("warn", "fail")), "whether an undecided verdict stops a commit", default="`warn`"
        ),
        Key("when", Choice(("commit", "ci")), "judged at commit, or left to CI", default="`commit`"),
        Key("sample", Number(1, 1 << 40, whole=True), "rows to use, the same for both models", default="all"),
        Key("batch", Number(1, 1 << 20, whole=True), "rows a call of the model", default="chosen"),
        Key("timeout", Duration(), "for one evaluation", default="`5m`"),
        Key("first", Choice(("record", "fail")), "without a baseline: record the value, or fail", default="`record`"),
        Key("variants", MapOf("variant", VARIANT_RULE), "what is asked of each variant"),
        Key("teacher", TEACHER_RULE, "what is asked against the model's teacher"),
    ),
)

BUDGET: Final = Table(
    "[model.NAME.budget]",
    Budget,
    (
        Key("size_bytes", _variant_map(Size()), "of all files of the bundle"),
        Key(
            "latency_p50_ratio",
            _variant_map(Number(0, 1000, open_low=True)),
            "median time of a call by the baseline's, measured in turns on the same host",
        ),
        Key("peak_memory_bytes", _variant_map(Size()), "most memory resident while it runs, beyond the runtime's"),
    ),
)

GOLDEN: Final = Table(
    "golden = { … }",
    Golden,
    (
        Key("gate", ANY_TEXT, "the gate whose data the examples come from", required=True),
        Key("rows", Number(1, 4096, whole=True), "how many", default="`8`"),
        Key("rtol", _SHARE, "relative tolerance of an agent's warm-up", default="`0.001`"),
        Key("atol", Number(0), "absolute tolerance", default="`0.0001`"),
    ),
)

PROVENANCE: Final = Table(
    "provenance = { … }",
    ProvenanceSettings,
    (
        Key("data", _PATHS, "training data"),
        Key("code", _PATHS, "programs that made the model"),
        Key("params", _PATHS, "hyperparameters"),
        Key("packages", _PATHS, "lock files or lists of packages"),
    ),
)


def model(
    name: str, main: str, root: str | None = None, files: tuple[str, ...] | None = None, **others: Any
) -> ModelSettings:
    """`[model.NAME]` with the defaults that follow from `main`: without `root`, main is a path from the top.

    A folder as main needs `root`; without, `main` becomes "", which `checks` refuses where it can name the line.
    """
    if root is None:
        root, _, main = ("", "", "") if main == "." else main.rpartition("/")
    if files is None:
        files = ("**",) if main == "." else (re.sub(r"([*?\[])", r"[\1]", main),)
    if "gate" in others:
        others["gates"] = others.pop("gate")
    return ModelSettings(name=name, root=root, files=files, main=main, **others)


MODEL: Final = Table(
    "[model.NAME]",
    model,
    (
        Key("main", _MAIN, "what a loader opens: a file, or `.` for the folder", required=True),
        Key("root", _ROOT, "the model's folder; with it, `main` and `files` are below it", default="`main`'s folder"),
        Key(
            "files",
            ListOf(GLOB, empty=False),
            "globs below `root`; what matches is the model's bundle",
            default='`main`, or `["**"]` when main is a folder',
        ),
        Key("variants", ListOf(_RECIPE), "recipes of variants that every commit builds"),
        Key(
            "exclude",
            MapOf("variant", ListOf(ANY_TEXT), plain="", alias="all"),
            "globs of tensors or nodes that quantizers leave alone",
        ),
        Key("calibration", PATH, "examples for int8-static; never the data of a gate"),
        Key("provenance", PROVENANCE, "what made the model"),
        Key(
            "baseline",
            _REVISION,
            "a channel, tag or revision to be judged against",
            default="the last version, else the merge base with the default branch, else the first parent",
        ),
        Key("teacher", _MODEL_NAME, "the model that this one was distilled from"),
        Key("golden", GOLDEN, "examples with their outputs, for the agent's warm-up"),
        Key("gate", Tables(GATE), "what is measured and asked, in this order"),
        Key("budget", BUDGET, "limits of size, time and memory"),
    ),
    named=True,
)

CHANNEL: Final = Table(
    "[channel.NAME]",
    ChannelSettings,
    (
        Key("critical", Truth(), "promotion needs a passed gate; undecided verdicts fail", default="`false`"),
        Key("after", _CHANNEL_NAME, "the channel that a version must have been on first"),
        Key("soak", Duration(zero=True), "how long it must have been there", default="`0`"),
        Key("variant", _SERVED, f"the variant that the channel serves, or `{ORIGINAL}`", default=f"`{ORIGINAL}`"),
        Key("promoters", ListOf(ANY_TEXT), "who may move it, as in the allowed-signers file", default="everybody"),
        Key("needs_ci", Truth(), "a verdict of CI must exist", default="`false`"),
        Key("expires", Duration(), "age at which a move is no longer followed", default="never"),
    ),
    named=True,
)

STORE: Final = Table(
    "[store]",
    StoreSettings,
    (Key("url", _StoreUrl(), "a repository for the weights alone: ssh, https or file", default="with the code"),),
)


def _config(
    store: StoreSettings | None = None,
    model: Mapping[str, ModelSettings] | None = None,
    channel: Mapping[str, ChannelSettings] | None = None,
    merge: tuple[MergeRule, ...] = (),
) -> Config:
    return Config(store or StoreSettings(), model or {}, channel or {}, merge)


TOP: Final = Table(
    "lepton.toml",
    _config,
    (
        Key("store", STORE, "where the weights live when they are not with the code"),
        Key("model", MapOf("name", MODEL, name_problem), "the models of this repository"),
        Key("channel", MapOf("name", CHANNEL, channel_problem), "policy of channels"),
        Key("merge", _MergeRules(), "how tensors are merged that both sides changed: glob over names = strategy"),
    ),
)

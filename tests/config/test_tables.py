"""What each table of lepton.toml means, and what is refused in it."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.config.kinds import Table, Tables
from git_lepton.config.reading import parse
from git_lepton.config.tables import (
    BUDGET,
    CHANNEL,
    GATE,
    GOLDEN,
    MODEL,
    ORIGINAL,
    PROVENANCE,
    TEACHER_RULE,
    VARIANT_RULE,
)
from git_lepton.config.values import (
    Budget,
    ChannelSettings,
    GateRule,
    Golden,
    MergeRule,
    ModelSettings,
    ProvenanceSettings,
    TeacherRule,
    Tolerance,
    VariantRule,
)
from git_lepton.errors import UsageError

FULL = """
[model.big]
main = "models/big/model.onnx"

[model.digits]
root = "./models//digits/"
files = ["*.onnx", "labels.json"]
main = "digits.onnx"
variants = ["int8", "fp16", "prune50+int8-static"]
exclude = { all = ["head.*"], int8 = ["/conv/*"] }
calibration = "eval/calib.npz"
provenance = { data = ["data/train.csv"], code = ["train.py", "lib/**"], params = "params.toml" }
baseline = "prod"
teacher = "big"
golden = { gate = "accuracy", rows = 4 }

[[model.digits.gate]]
name = "accuracy"
data = "eval/test.npz"
direction = "higher"
min = 0.95
max_drop = "2%"
slices = "group"
slice_max_drop = 0.05
on_inconclusive = "fail"
when = "ci"
sample = 2000
batch = 64
timeout = "1h 30m"
first = "fail"
inputs = { "input.1" = "x" }
[model.digits.gate.variants]
int8 = { max_drop = 0.01, min_agreement = 0.985, max_output_error = 2, min = 0.9, max = 1 }
[model.digits.gate.teacher]
min_agreement = 0.9
max_kl = 0.1

[[model.digits.gate]]
name = "own"
command = \"\"\"
python eval.py {model} |
    tail -1\"\"\"
metric = "F1"
direction = "higher"

[[model.digits.gate]]
name = "function"
data = "eval/test.npz"
blake3 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
metric = "tools.judge:score"
direction = "lower"
timeout = 30

[model.digits.budget]
size_bytes = { original = "4 MB", int8 = 200_000 }
latency_p50_ratio = 1.10
peak_memory_bytes = "64 MiB"

[channel.staging]
[channel.prod]
critical = true
after = "staging"
soak = "2d"
variant = "int8"
promoters = ["ada@example.com"]
needs_ci = true
expires = "30d"

[merge]
"*.embeddings.*" = "ours"
"head.*" = { strategy = "dare-ties", density = 0.2, scale = 1, seed = 7 }
"*" = "average"
"""


def test_everything_that_can_be_said() -> None:
    config = parse(FULL.encode())
    assert config.models["big"] == ModelSettings("big", "models/big", ("model.onnx",), "model.onnx")
    digits = config.models["digits"]
    gates, plain = digits.gates, dataclasses.replace(digits, gates=())
    assert plain == ModelSettings(
        name="digits",
        root="models/digits",
        files=("*.onnx", "labels.json"),
        main="digits.onnx",
        variants=("int8", "fp16", "prune50+int8-static"),
        exclude={"": ("head.*",), "int8": ("/conv/*",)},
        calibration="eval/calib.npz",
        provenance=ProvenanceSettings(("data/train.csv",), ("train.py", "lib/**"), ("params.toml",)),
        baseline="prod",
        teacher="big",
        golden=Golden("accuracy", rows=4),
        budget=Budget({"": 4_000_000, "int8": 200_000}, {"": 1.1}, {"": 64 << 20}),
    )
    assert gates[0] == GateRule(
        name="accuracy",
        data="eval/test.npz",
        direction="higher",
        min=0.95,
        max_drop=Tolerance(0.02, relative=True),
        slices="group",
        slice_max_drop=Tolerance(0.05),
        on_inconclusive="fail",
        when="ci",
        sample=2000,
        batch=64,
        timeout=5400,
        first="fail",
        inputs={"input.1": "x"},
        variants={"int8": VariantRule(Tolerance(0.01), 0.985, 2.0, 0.9, 1.0)},
        teacher=TeacherRule(0.9, 0.1),
    )
    assert gates[1].command == "python eval.py {model} |\n    tail -1"
    assert (gates[2].metric, gates[2].timeout) == ("tools.judge:score", 30)
    assert config.channels["staging"] == ChannelSettings("staging")
    assert config.channels["prod"] == ChannelSettings(
        "prod", True, "staging", 172_800, "int8", ("ada@example.com",), True, 30 * 86_400
    )
    assert config.merge == (
        MergeRule("*.embeddings.*", "ours"),
        MergeRule("head.*", "dare-ties", {"density": 0.2, "scale": 1.0, "seed": 7}),
        MergeRule("*", "average"),
    )


@pytest.mark.parametrize(
    ("text", "root", "main", "files"),
    [
        ('main = "m.onnx"', "", "m.onnx", ("m.onnx",)),
        ('main = "a/b/m.onnx"', "a/b", "m.onnx", ("m.onnx",)),
        ('main = "a/m[1]*.onnx"', "a", "m[1]*.onnx", ("m[[]1][*].onnx",)),
        ('root = "a"\nmain = "b/m.onnx"', "a", "b/m.onnx", ("b/m.onnx",)),
        ('root = "a"\nmain = "."', "a", ".", ("**",)),
        ('root = "."\nmain = "."\nfiles = ["*.safetensors", "*.json"]', "", ".", ("*.safetensors", "*.json")),
        ('root = "Größe 1"\nmain = "m.onnx"', "Größe 1", "m.onnx", ("m.onnx",)),
    ],
)
def test_where_a_model_is(text: str, root: str, main: str, files: tuple[str, ...]) -> None:
    model = parse(f"[model.m]\n{text}".encode()).models["m"]
    assert (model.root, model.main, model.files) == (root, main, files)


def test_two_models_may_share_files() -> None:
    config = parse(b'[model.a]\nmain = "m/x.onnx"\n[model.b]\nmain = "m/x.onnx"')
    assert config.models["a"].files == config.models["b"].files


def test_a_channel_may_say_that_it_serves_the_original() -> None:
    assert parse(b'[channel.prod]\nvariant = "original"').channels["prod"].variant == ""


MODEL_TEXT = '[model.m]\nmain = "a/m.onnx"\n'
GATE_TEXT = MODEL_TEXT + '[[model.m.gate]]\nname = "g"\ndata = "d.npz"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[modle.m]\nmain = "x"', "1: unknown key modle (did you mean model?)"),
        ('[model.m]\nmain = "x"\nvariant = ["int8"]', "3: unknown key model.m.variant (did you mean variants?)"),
        (GATE_TEXT + '[[model.m.gate]]\nname = "h"\ndata = "e"\n\nmax_dorp = 1', "10: unknown key model.m.gate.max_"),
        ("model = 1", "1: model must be a table, not a number"),
        ("model.m = 1", "1: model.m must be a table, not a number"),
        ("[model.m]\n", "1: model.m lacks main"),
        ('[model.M]\nmain = "x"', "1: model.M: name must be 1 to 64 of a-z"),
        ('[model."a/b"]\nmain = "x"', '1: model."a/b": name must be'),
        ('[model."a..b"]\nmain = "x"', "git refuses such refs"),
        ('[model."a.lock"]\nmain = "x"', "git refuses such refs"),
        (f'[model.{"a" * 65}]\nmain = "x"', "name must be 1 to 64"),
        ('[model."a\\u0000b"]\nmain = "x"', '1: model."a\\x00b" is no name'),
        ('[model."\\u202Eb"]\nmain = "x"', "is no name"),
        ('[model.m]\nmain = "../x"', "2: model.m.main must not lead upwards"),
        ('[model.m]\nmain = "a/../../x"', "must not lead upwards"),
        ('[model.m]\nmain = "/etc/passwd"', "must be relative"),
        ('[model.m]\nmain = "c:/x"', "must be relative"),
        ('[model.m]\nmain = ".git/config"', "must not lead into .git"),
        ('[model.m]\nmain = "a/.GIT/x"', "must not lead into .git"),
        ('[model.m]\nmain = "a/.git . /x"', "must not lead into .git"),
        ('[model.m]\nmain = "a\\\\..\\\\x"', "must be written with /"),
        ('[model.m]\nmain = "a\\u0000"', "must not hold control characters"),
        ('[model.m]\nmain = "a\\nb"', "must not hold control characters"),
        ('[model.m]\nmain = ""', "must not be empty"),
        (f'[model.m]\nmain = "{"é" * 600}"', "must not be longer than 1024 bytes"),
        ('[model.m]\nmain = "."', "only root can tell"),
        (MODEL_TEXT + 'files = ["../*"]', "3: model.m.files must not lead upwards"),
        (MODEL_TEXT + "files = []", "must have 1 to 1000 entries"),
        (MODEL_TEXT + 'files = ["a",\n"b",\n"a"]', "5: model.m.files has a twice"),
        (MODEL_TEXT + 'files = "a"', "must be an array, not a string"),
        (MODEL_TEXT + 'variants = ["int9"]', "3: model.m.variants: 'int9' is no step of a recipe"),
        (MODEL_TEXT + 'variants = ["int8", "int8"]', "has int8 twice"),
        (MODEL_TEXT + "variants = [8]", "must be a recipe, not a number"),
        (MODEL_TEXT + 'variants = ["prune50+int8-static"]', "with int8-static need calibration"),
        (MODEL_TEXT + 'variants = ["int8"]\nexclude = { int4 = ["x"] }', "4: model.m.exclude.int4 is no"),
        (MODEL_TEXT + 'teacher = "m"', "must be another model"),
        (MODEL_TEXT + 'teacher = "n"', "3: model.m.teacher must be a model of this file, not n"),
        (MODEL_TEXT + 'baseline = "--exec=x"', "must be a channel, tag or revision"),
        (MODEL_TEXT + 'golden = { gate = "x" }', "must be a gate of this model, not x"),
        (GATE_TEXT + '[model.m.golden]\ngate = "gg"', "7: model.m.golden.gate must be a gate of this model, not gg"),
        (MODEL_TEXT + 'golden = { gate = "g", rows = 0 }', "golden.rows must be a whole number from 1 to 4096, not 0"),
        (MODEL_TEXT + 'provenance = { dta = "x" }', "unknown key model.m.provenance.dta (did you mean data?)"),
        (MODEL_TEXT + 'gate = "x"', "must be an array of tables, not a string"),
        (MODEL_TEXT + "[[model.m.gate]]\ndata = 'x'", "3: model.m.gate lacks name"),
        (MODEL_TEXT + "[[model.m.gate]]\nname = 'x'", "3: model.m.gate (x) needs data or command"),
        (GATE_TEXT + "[[model.m.gate]]\nname = 'g'\ndata = 'x'", "7: model.m.gate.name is there twice: g"),
        (GATE_TEXT + "min = nan", "must be a number, not nan"),
        (GATE_TEXT + "min = inf", "must be a number, not inf"),
        (GATE_TEXT + "min = true", "must be a number, not true"),
        (GATE_TEXT + f"min = 1{'0' * 400}", "not one of more than 63 bits"),
        (GATE_TEXT + f"min = 0x{'f' * 5000}", "not one of more than 63 bits"),
        (GATE_TEXT + "min = 2\nmax = 1", "6: model.m.gate.min is above max: 2 > 1"),
        (GATE_TEXT + "max_drop = -1", "0 or more, or a percentage"),
        (GATE_TEXT + 'max_drop = "200%"', "or a percentage"),
        (GATE_TEXT + 'max_drop = "2"', "or a percentage"),
        (GATE_TEXT + "slice_max_drop = 1", "6: model.m.gate.slice_max_drop needs slices"),
        (GATE_TEXT + 'timeout = "5 minutes"', "must be seconds, or text such as"),
        (GATE_TEXT + "timeout = 0", "must be seconds"),
        (GATE_TEXT + 'timeout = "999999w"', "must be seconds"),
        (GATE_TEXT + "timeout = 2020-01-01", "not a date or time"),
        (GATE_TEXT + 'when = "comit"', '6: model.m.gate.when must be "commit" or "ci" (did you mean commit?)'),
        (GATE_TEXT + "sample = 1.5", "must be a whole number"),
        (GATE_TEXT + 'blake3 = "ABC"', "must be 64 hexadecimal digits"),
        (GATE_TEXT + 'metric = "os.system"\n"dir\\u0001" = 1', 'unknown key model.m.gate."dir\\x01"'),
        (GATE_TEXT + 'metric = "a:b:c"', "must be the name of a metric"),
        (GATE_TEXT + 'metric = "a.b:c"', "3: model.m.gate (g) needs direction"),
        (GATE_TEXT + 'command = "x"', "needs direction: git-lepton cannot know which way a command gets better"),
        (GATE_TEXT + 'command = "x\\u001b[2J"\ndirection = "lower"', "must not hold control characters"),
        (GATE_TEXT + 'command = "x"\ndirection = "lower"\nmetric = "a:b"', "one of them must measure"),
        (GATE_TEXT + "teacher = { max_kl = 1 }", "needs the model's own teacher"),
        (GATE_TEXT + "variants = { int8 = {} }", "6: model.m.gate.variants.int8 is no variant of this model"),
        (GATE_TEXT.replace("[[", 'calibration = "./d.npz"\n[['), "is the model's calibration data"),
        (GATE_TEXT + "[model.m.budget]\nsize_bytes = -1", "must be bytes, or text"),
        (GATE_TEXT + '[model.m.budget]\nsize_bytes = "2 GO"', "must be bytes, or text"),
        (GATE_TEXT + "[model.m.budget]\nsize_bytes = { int8 = 1 }", "7: model.m.budget.size_bytes.int8 is no variant"),
        (GATE_TEXT + "[model.m.budget]\nlatency_p50_ratio = 0", "must be a number from 0 to 1000"),
        ("[channel.v1]", "1: channel.v1: name reads like a version"),
        ('[channel.prod]\nafter = "stg"\n[channel.staging]', "2: channel.prod.after must be a channel of this file"),
        ('[channel.a]\nafter = "b"\n[channel.b]\nafter = "a"', "goes round in a circle: a after b after a"),
        ('[channel.a]\nsoak = "1d"', "needs after"),
        ('[channel.a]\nvariant = "int8"', "must be a variant of any model"),
        ("[channel.a]\ncritical = 1", "must be true or false, not a number"),
        ("merge = 1", "merge must be a table"),
        ('[merge]\n"*" = "avrage"', '2: merge."*".strategy must be "conflict" or'),
        ('[merge]\nencoder.weight = "average"', "2: merge.encoder lacks strategy"),
        ('[merge]\n"*" = { strategy = "ours", weight = 1 }', '2: merge."*".weight is no option of ours'),
        ('[merge]\n"*" = { strategy = "ties", densty = 1 }', "is no option of ties (did you mean density?)"),
        ('[merge]\n"*" = { strategy = "ties", density = 0 }', "must be a number from 1e-06 to 1, not 0"),
        ('[merge]\n"*" = 1', "must be a strategy or a table, not a number"),
        ("x" + ".x" * 70 + " = 1", "1: a key of 71 parts is longer than 64"),
        (f"a = {'9' * 5000}", "not valid TOML"),
        ("a = 1\na = 2", "2: not valid TOML: Cannot overwrite a value"),
    ],
)  # fmt: skip
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text.encode())
    assert message in caught.value.message
    assert caught.value.message.startswith("lepton.toml:")
    assert caught.value.message.isprintable()


def tables() -> dict[str, tuple[Table, type]]:
    return {
        table.title: (table, values)
        for table, values in (
            (GATE, GateRule),
            (VARIANT_RULE, VariantRule),
            (TEACHER_RULE, TeacherRule),
            (BUDGET, Budget),
            (GOLDEN, Golden),
            (PROVENANCE, ProvenanceSettings),
            (CHANNEL, ChannelSettings),
            (MODEL, ModelSettings),
        )
    }


@pytest.mark.parametrize("title", tables())
def test_every_setting_has_a_key(title: str) -> None:
    table, values = tables()[title]
    names = {"gates" if isinstance(key.kind, Tables) else key.name for key in table.keys}
    assert names | ({"name"} if table.named else set()) == {field.name for field in dataclasses.fields(values)}


@pytest.mark.parametrize("title", tables())
def test_defaults_are_told_as_they_are(title: str) -> None:
    table, values = tables()[title]
    fields = {field.name: field.default for field in dataclasses.fields(values)}
    for key in table.keys:
        told = key.default.strip("`")
        if key.default == f"`{told}`" and told not in fields:
            value = fields[key.name]
            assert str(value).lower() in {told, f"{told}.0"} or (told, value) in {("5m", 300.0), (ORIGINAL, "")}


WORDS = st.sampled_from(sorted({key.name for table, _ in tables().values() for key in table.keys} | {"m", "merge"}))
SCALARS = st.sampled_from(["1", "-1.5", '"x"', "true", "[]", '["int8"]', '"2%"', '"5m"', "{}", "nan", "1979-05-27"])
LINES = (
    st.builds("{} = {}".format, WORDS, SCALARS)
    | st.builds("[{}.{}]".format, WORDS, WORDS)
    | st.builds("[[model.m.{}]]".format, WORDS)
)


@settings(deadline=None, max_examples=50)
@given(st.lists(LINES, max_size=8))
def test_any_table_gives_values_or_a_usage_error(lines: list[str]) -> None:
    with suppress(UsageError):
        parse("\n".join(lines).encode())

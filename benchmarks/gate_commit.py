"""What the gate adds to a commit of a model that is committed again and again with slightly other weights.

    python benchmarks/gate_commit.py              the digits of the demo, without a variant, then with int8
    python benchmarks/gate_commit.py --runs 15
    python benchmarks/gate_commit.py --encoder    a 90 MB encoder with int8: memory and time

Digits, in turns: Python importing numpy and onnxruntime and nothing else; a commit of the next model, which the gate
judges against the one before; `git commit --no-verify` of another. "The evaluation itself" is what the gate's child
needed to run the models on their examples, as the gate notes it. Required: a gated commit takes at most three times the
imports and that.

The encoder, in turns: a commit of the next model, for which nothing is known beforehand, so that int8 is built and
three models are run on all examples; a script that does that with onnxruntime and nothing else. Required: memory of at
most three times the model, and at most 15 % more time than the script's.

Exits with 1 when a requirement is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import encoder
from benchmarks.data import CACHE, MODELS, Data
from benchmarks.table import Row, clock, heading, size
from benchmarks.timing import Sample, Watch, interleave, run
from git_lepton.demo import digits
from git_lepton.demo.gating import RULES
from git_lepton.demo.stage import Stage
from git_lepton.gate.arrays import write

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

AT_MOST: Final = 3.0
MOST_MEMORY: Final = 3.0  # times the model
MOST_OWN: Final = 0.15  # of the time
IMPORTS: Final = "import numpy, onnxruntime"
DIGITS: Final = "digits.onnx"
ENCODER: Final = "encoder.onnx"
EXAMPLES: Final = 64
NOISE: Final = 1e-4
AGE: Final = 24 * 3600.0

ENCODER_RULES: Final = """[model.encoder]
main = "encoder.onnx"
variants = ["int8"]

[[model.encoder.gate]]
name = "accuracy"
data = "test.npz"
metric = "accuracy"
max_drop = 0.05
"""

ALONE: Final = """import sys
import numpy, onnxruntime
from onnxruntime.quantization import quantize_dynamic
before, now, made, examples = sys.argv[1:]
quantize_dynamic(now, made)
with numpy.load(examples) as found:
    given = {name: found[name] for name in found if name != "labels"}
for path in (before, now, made):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for at in range(0, len(given["input_ids"]), 8):
        session.run(None, {name: array[at : at + 8] for name, array in given.items()})
"""


class Committer:
    """A repository with a gate, and a model of which there is always another version."""

    def __init__(self, root: Path, model: str, rules: str) -> None:
        root.mkdir()
        self._stage = stage = Stage(root, lambda _: None)
        stage.prepare()
        stage.quietly("git", "lepton", "init")
        stage.quietly("git", "lepton", "track", "*.onnx", "*.npz")
        (stage.work / "lepton.toml").write_text(rules)
        self.path = stage.work / model
        self.examples = stage.work / "test.npz"
        self.noted = stage.work / ".git/lepton/cache/gate"
        self._count = 0
        self._began = time.time() - AGE

    @property
    def env(self) -> dict[str, str]:
        """Of every command that is measured."""
        merged = {**os.environ, **self._stage.environment()}
        return {name: value for name, value in merged.items() if value is not None}

    def change(self, number: int) -> None:
        """Write the next version of the model."""
        raise NotImplementedError

    def commit(self, *options: str, watch: Watch | None = None) -> Sample:
        """Commit the next version."""
        self._count += 1
        self.change(self._count)
        # As trained a while ago: what is staged within a second of its last change, git cleans again at the commit.
        os.utime(self.path, (self._began + self._count,) * 2)
        self._stage.quietly("git", "add", ".")
        return self.run("git", "commit", "-q", "-m", f"number {self._count}", *options, watch=watch)

    def run(self, *command: str, watch: Watch | None = None) -> Sample:
        """Measure a command in the work tree."""
        return run(command, cwd=self._stage.work, env=self.env, watch=watch)

    def write_examples(self, **arrays: encoder.Array) -> None:
        """What the models are judged by."""
        with self.examples.open("wb") as out:
            write(out, arrays)


class Digits(Committer):
    """The model of the demo, which differs from all before in its last layer."""

    def __init__(self, root: Path, recipes: list[str], network: MLPClassifier, images: digits.Images) -> None:
        rules = RULES.replace('["int8"]', json.dumps(recipes))
        super().__init__(root, DIGITS, rules if recipes else rules.replace("variants = { int8", "# { int8"))
        pixels, labels = images.test
        self.write_examples(pixels=pixels, labels=labels.astype("int64"))
        self._network = network
        self.evaluations: list[float] = []
        self.judged()
        self.evaluations.clear()

    def change(self, number: int) -> None:
        """Write the next version of the model."""
        import numpy as np

        kernel = self._network.coefs_[-1]
        noise = np.random.default_rng(number).normal(0, NOISE, kernel.shape)
        self._network.coefs_[-1] = kernel + noise.astype(kernel.dtype)
        digits.write_onnx(self._network, self.path)
        self._network.coefs_[-1] = kernel

    def judged(self) -> Sample:
        """A commit that the gate judges."""
        sample = self.commit()
        noted = (path for path in self.noted.glob("*.json") if path.name != "times.json")
        newest = max(noted, key=lambda path: path.stat().st_mtime_ns)
        outcomes = json.loads(newest.read_bytes())["outcome"]["gates"]
        self.evaluations.append(sum(found["seconds"] for found in outcomes))
        return sample

    def unjudged(self) -> Sample:
        """A commit of which no hook knows."""
        return self.commit("--no-verify")

    def imports(self) -> Sample:
        """What no gate can do without."""
        return self.run(sys.executable, "-c", IMPORTS)


class Encoder(Committer):
    """MiniLM with all its weights changed a little; the first version is committed unjudged."""

    def __init__(self, root: Path, source: Path) -> None:
        super().__init__(root, ENCODER, ENCODER_RULES)
        self._source = source
        self._before = root / "before.onnx"
        self._made = root / "int8.onnx"
        given = encoder.examples(EXAMPLES)
        encoder.write(source, self.path)
        self.write_examples(**given, labels=encoder.answers(self.path, given))
        self.commit("--no-verify")
        self.watch, self.alone_watch = Watch(), Watch()

    def change(self, number: int) -> None:
        """Write the next version of the model."""
        if self.path.exists():
            shutil.copyfile(self.path, self._before)
        encoder.write(self._source, self.path, noise=NOISE, seed=number)

    def judged(self) -> Sample:
        """A commit that the gate judges, without what it knows of models before."""
        shutil.rmtree(self.noted, ignore_errors=True)
        return self.commit(watch=self.watch)

    def alone(self) -> Sample:
        """The same without the gate."""
        paths = map(str, (self._before, self.path, self._made, self.examples))
        return self.run(sys.executable, "-c", ALONE, *paths, watch=self.alone_watch)


def digits_rows(committer: Digits, runs: int, what: str) -> list[Row]:
    """Measure, and tell what came of it."""
    found = interleave(runs, imports=committer.imports, judged=committer.judged, unjudged=committer.unjudged)
    imports, judged = found["imports"], found["judged"]
    evaluation = statistics.median(committer.evaluations)
    ratio = (judged.wall - evaluation) / imports.wall
    return [
        Row(
            f"a gated commit of the digits model, {what}",
            f"{clock(judged)}, {judged.cpu:.2f} s of processors",
            f"imports {clock(imports)}, {imports.cpu:.2f} s of processors; evaluation {1000 * evaluation:.0f} ms",
            f"{ratio:.2f} x the imports and the evaluation",
            f"≤ {AT_MOST:g} x",
            ratio <= AT_MOST,
        ),
        Row("that commit, unjudged", clock(found["unjudged"])),
    ]


def encoder_rows(committer: Encoder, runs: int) -> list[Row]:
    """Measure memory and time of the encoder's commits."""
    found = interleave(runs, judged=committer.judged, alone=committer.alone)
    judged, alone = found["judged"], found["alone"]
    model = committer.path.stat().st_size
    ours, theirs = ((watch.private, max(watch.marks.values())) for watch in (committer.watch, committer.alone_watch))
    own = 1 - alone.wall / judged.wall
    return [
        Row(
            f"memory: a gated commit of an encoder of {size(model)}, with int8",
            f"RssAnon + RssShmem {size(ours[0])} of all processes, VmHWM {size(ours[1])}",
            f"onnxruntime alone {size(theirs[0])}, {size(theirs[1])}",
            f"{ours[0] / model:.2f} and {ours[1] / model:.2f} x the model",
            f"≤ {MOST_MEMORY:g} x",
            max(ours) <= MOST_MEMORY * model,
        ),
        Row(
            "its time",
            f"{clock(judged)}, {judged.cpu:.2f} s of processors",
            f"onnxruntime alone {clock(alone)}, {alone.cpu:.2f} s of processors",
            f"{max(0.0, 100 * own):.0f} % are the gate's own",
            f"≤ {100 * MOST_OWN:.0f} %",
            own <= MOST_OWN,
        ),
    ]


def main() -> int:
    """Print the table."""
    options = _parser().parse_args()
    print(heading())
    met = True
    with tempfile.TemporaryDirectory(prefix="gate-commit-") as name:
        for row in _rows(options, Path(name)):
            print(row.markdown(), flush=True)
            met &= row.met is not False
    return 0 if met else 1


def _rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    if options.encoder:
        source = Data(options.data, 1.0, options.models, sys.executable).minilm().weights
        yield from encoder_rows(Encoder(folder / "encoder", source), options.runs)
        return
    images = digits.load_images()
    network = digits.train_first(images)
    for what, recipes in (("without a variant", []), ("with int8", ["int8"])):
        yield from digits_rows(Digits(folder / what, recipes, network, images), options.runs, what)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="runs of each contender (9)")
    parser.add_argument("--encoder", action="store_true", help="measure the encoder")
    parser.add_argument("--data", type=Path, default=CACHE, help=f"folder in which MiniLM is kept ({CACHE})")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder that has it already ($LEPTON_MODELS)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

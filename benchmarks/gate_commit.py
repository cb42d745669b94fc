"""What the gate adds to a commit: the digits model of the demo, committed again and again with slightly other weights.

    python benchmarks/gate_commit.py              without a variant, then with int8
    python benchmarks/gate_commit.py --runs 15

In turns: Python importing numpy and onnxruntime and nothing else; a commit of the next model, which the gate judges
against the one before; `git commit --no-verify` of another. "The evaluation itself" is what the gate's child needed to
run the models on their examples, as the gate notes it. Required: a gated commit takes at most three times the imports
and that. Exits with 1 when it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.table import Row, clock, heading
from benchmarks.timing import Sample, interleave, run
from git_lepton.demo import digits
from git_lepton.demo.gating import RULES
from git_lepton.demo.stage import Stage
from git_lepton.gate.arrays import write

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

AT_MOST: Final = 3.0
IMPORTS: Final = "import numpy, onnxruntime"
MODEL: Final = "digits.onnx"
NOISE: Final = 1e-4
AGE: Final = 24 * 3600.0


class Committer:
    """A repository with a gate, and a model of which there is always another version."""

    def __init__(self, root: Path, recipes: list[str], network: MLPClassifier, images: digits.Images) -> None:
        root.mkdir()
        self._stage = stage = Stage(root, lambda _: None)
        stage.prepare()
        stage.quietly("git", "lepton", "init")
        stage.quietly("git", "lepton", "track", "*.onnx", "*.npz")
        rules = RULES.replace('["int8"]', json.dumps(recipes))
        (stage.work / "lepton.toml").write_text(rules if recipes else rules.replace("variants = { int8", "# { int8"))
        pixels, labels = images.test
        with (stage.work / "test.npz").open("wb") as out:
            write(out, {"pixels": pixels, "labels": labels.astype("int64")})
        self._network = network
        self._count = 0
        self._began = time.time() - AGE
        self.evaluations: list[float] = []
        self.judged()
        self.evaluations.clear()

    def judged(self) -> Sample:
        """A commit that the gate judges."""
        sample = self._commit()
        noted = (self._stage.work / ".git/lepton/cache/gate").glob("*.json")
        newest = max((path for path in noted if path.name != "times.json"), key=lambda path: path.stat().st_mtime_ns)
        outcomes = json.loads(newest.read_bytes())["outcome"]["gates"]
        self.evaluations.append(sum(found["seconds"] for found in outcomes))
        return sample

    def unjudged(self) -> Sample:
        """A commit of which no hook knows."""
        return self._commit("--no-verify")

    def imports(self) -> Sample:
        """What no gate can do without."""
        return run([sys.executable, "-c", IMPORTS], cwd=self._stage.work, env=self._env)

    @property
    def _env(self) -> dict[str, str]:
        merged = {**os.environ, **self._stage.environment()}
        return {name: value for name, value in merged.items() if value is not None}

    def _commit(self, *options: str) -> Sample:
        """Commit a model that differs from all before in its last layer."""
        import numpy as np

        self._count += 1
        kernel = self._network.coefs_[-1]
        noise = np.random.default_rng(self._count).normal(0, NOISE, kernel.shape)
        self._network.coefs_[-1] = kernel + noise.astype(kernel.dtype)
        path = self._stage.work / MODEL
        digits.write_onnx(self._network, path)
        self._network.coefs_[-1] = kernel
        # As trained a while ago: what is staged within a second of its last change, git cleans again at the commit.
        os.utime(path, (self._began + self._count,) * 2)
        self._stage.quietly("git", "add", ".")
        command = ["git", "commit", "-q", "-m", f"number {self._count}", *options]
        return run(command, cwd=self._stage.work, env=self._env)


def rows(committer: Committer, runs: int, what: str) -> list[Row]:
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


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="runs of each contender (9)")
    runs = parser.parse_args().runs
    images = digits.load_images()
    network = digits.train_first(images)
    print(heading())
    met = True
    with tempfile.TemporaryDirectory(prefix="gate-commit-") as name:
        for what, recipes in (("without a variant", []), ("with int8", ["int8"])):
            for row in rows(Committer(Path(name, what), recipes, network, images), runs, what):
                print(row.markdown(), flush=True)
                met &= row.met is not False
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

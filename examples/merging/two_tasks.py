"""Two people fine-tune one small model on two tasks, and git merges what both learned.

    python examples/merging/two_tasks.py            in a temporary folder
    python examples/merging/two_tasks.py FOLDER     keeps the repository there

The model is a classifier of handwritten digits (scikit-learn's, 8 by 8 pixels) with one hidden layer, trained on all
ten digits from 120 examples only. One branch goes on with many examples of the digits 0 to 4, the other with those of
5 to 9; each gets better at its own task and forgets the other's. Then `git merge` meets tensors that both changed, and
`[merge]` in lepton.toml says by which strategy they become one. Training is numpy alone, seeded, and takes seconds.

And the gate says so: in a repository that asks for 80 % of each task, `git merge` commits the merged model, and refuses
one that has the tensors of one side only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

Array = NDArray[np.float64]
Model = dict[str, Array]

TASKS = {"low": range(5), "high": range(5, 10)}
STRATEGIES = {
    "average": '"*" = "average"\n',
    "task-arithmetic": '"*" = "task-arithmetic"\n',
    "ties": '"*" = { strategy = "ties", density = 0.5 }\n',
}
JUDGED = {"ties": STRATEGIES["ties"], "theirs": '"*" = "theirs"\n'}
"""A merge, and one side only."""
HIDDEN = 64
GATE = """
[[model.digits.gate]]
name = "{task}"
data = "eval/{task}.npz"
metric = "accuracy"
min = 0.8
"""
RULES = "".join(
    [
        '[model.digits]\nroot = "model"\nmain = "digits.onnx"\nfiles = ["*.onnx"]\n',
        *(GATE.format(task=t) for t in TASKS),
    ]
)


def data() -> tuple[Array, NDArray[np.intp], Array, NDArray[np.intp]]:
    """Pixels and digits: two thirds to learn from, one third to be judged by."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels, answers = digits.data[order] / 16.0, digits.target[order]
    cut = len(order) * 2 // 3
    return pixels[:cut], answers[:cut], pixels[cut:], answers[cut:]


def scores(model: Model, pixels: Array) -> tuple[Array, Array]:
    """The hidden layer, and the score of each digit."""
    hidden = np.maximum(pixels @ model["hidden.weight"] + model["hidden.bias"], 0)
    return hidden, hidden @ model["output.weight"]


def train(model: Model, pixels: Array, answers: NDArray[np.intp], *, steps: int, rate: float, seed: int) -> Model:
    """Gradient descent on the cross entropy, in batches of 64."""
    random = np.random.default_rng(seed)
    model = {name: values.copy() for name, values in model.items()}
    for _ in range(steps):
        rows = random.integers(0, len(answers), 64)
        hidden, score = scores(model, pixels[rows])
        error = np.exp(score - score.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(64), answers[rows]] -= 1
        error /= 64
        back = error @ model["output.weight"].T * (hidden > 0)
        model["output.weight"] -= rate * hidden.T @ error
        model["hidden.weight"] -= rate * pixels[rows].T @ back
        model["hidden.bias"] -= rate * back.sum(axis=0)
    return model


def start() -> Model:
    """Random weights."""
    random = np.random.default_rng(1)
    return {
        "hidden.weight": random.normal(0, 0.2, (64, HIDDEN)),
        "hidden.bias": np.zeros(HIDDEN),
        "output.weight": random.normal(0, 0.2, (HIDDEN, 10)),
    }


def accuracy(model: Model, pixels: Array, answers: NDArray[np.intp]) -> dict[str, float]:
    """Share of right answers in each task."""
    right = scores(model, pixels)[1].argmax(axis=1) == answers
    return {task: float(right[np.isin(answers, digits)].mean()) for task, digits in TASKS.items()}


def git(folder: Path, *args: str, check: bool = True) -> int:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    return subprocess.run(["git", *who, *args], cwd=folder, check=check).returncode


def save(model: Model, path: Path) -> None:
    """As ONNX, which the gate runs: pixels [n, 64] in, scores [n, 10] out."""
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["pixels", "hidden.weight", "hidden.bias"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "output.weight"], ["scores"]),
        ],
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in model.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def read(path: Path) -> Model:
    weights = onnx.load(path).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in weights}


def play(folder: Path) -> dict[str, dict[str, float]]:
    """Train, branch, train on, merge; the accuracy of every model in both tasks."""
    pixels, answers, unseen, expected = data()
    path = folder / "model" / "digits.onnx"
    git(folder, "init", "-q", "-b", "main")
    git(folder, "lepton", "init")
    git(folder, "lepton", "track", "*.onnx", "*.npz")
    for part in ("model", "eval"):
        (folder / part).mkdir()
    for task, digits in TASKS.items():
        rows = np.isin(expected, digits)
        np.savez(folder / "eval" / f"{task}.npz", pixels=unseen[rows].astype(np.float32), labels=expected[rows])
    base = train(start(), pixels[:120], answers[:120], steps=400, rate=0.3, seed=2)
    save(base, path)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "a model that has seen little")
    found = {"base": accuracy(read(path), unseen, expected)}
    for seed, (task, digits) in enumerate(TASKS.items()):
        git(folder, "checkout", "-q", "-b", task, "main")
        rows = np.isin(answers, digits)
        save(train(base, pixels[rows], answers[rows], steps=150, rate=0.3, seed=10 + seed), path)
        git(folder, "commit", "-q", "-a", "-m", f"more examples of {task} digits")
        found[task] = accuracy(read(path), unseen, expected)
    for strategy, rules in STRATEGIES.items():
        git(folder, "checkout", "-q", "-b", f"merged-{strategy}", "low")
        (folder / "lepton.toml").write_text(f"[merge]\n{rules}")
        git(folder, "add", "lepton.toml")
        git(folder, "commit", "-q", "-m", f"merge by {strategy}")
        git(folder, "merge", "-q", "-m", f"what both learned, by {strategy}", "high")
        found[strategy] = accuracy(read(path), unseen, expected)
    return found


def judged(folder: Path, strategy: str, rules: str) -> bool:
    """Merge where both tasks have a gate; whether the merge was let in. The gate tells on standard error."""
    git(folder, "checkout", "-q", "-b", f"judged-{strategy}", "low")
    (folder / "lepton.toml").write_text(f"[merge]\n{rules}{RULES}")
    git(folder, "add", "lepton.toml")
    # The rules come first: the branch of one task does not meet them, and is not asked to.
    git(folder, "commit", "-q", "--no-verify", "-m", "ask for both tasks")
    merged = git(folder, "merge", "-q", "-m", f"what both learned, by {strategy}", "high", check=False) == 0
    said = git(folder, "lepton", "gate", check=False) == 0
    assert merged == said, "the hook and the command agree"
    if not merged:
        git(folder, "merge", "--abort")
    return merged


def main() -> None:
    """Print a table, and what the gate says."""
    with tempfile.TemporaryDirectory(prefix="two-tasks-") as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = play(folder)
        verdicts = {strategy: judged(folder, strategy, rules) for strategy, rules in JUDGED.items()}
    print(f"{'accuracy of unseen digits':<28} {'0 to 4':>8} {'5 to 9':>8}")
    names = {"base": "before", "low": "branch of 0 to 4", "high": "branch of 5 to 9"}
    for name, tasks in found.items():
        label = names.get(name, f"merged by {name}")
        print(f"{label:<28} {tasks['low']:>8.1%} {tasks['high']:>8.1%}")
    for strategy, merged in verdicts.items():
        print(f"a merge by {strategy} was {'let in' if merged else 'refused'}")


if __name__ == "__main__":
    main()

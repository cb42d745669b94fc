"""Two people fine-tune one small model on two tasks, and git merges what both learned.

    python examples/merging/two_tasks.py            in a temporary folder
    python examples/merging/two_tasks.py FOLDER     keeps the repository there

The model is a classifier of handwritten digits (scikit-learn's, 8 by 8 pixels) with one hidden layer, trained on all
ten digits from 120 examples only. One branch goes on with many examples of the digits 0 to 4, the other with those of
5 to 9; each gets better at its own task and forgets the other's. Then `git merge` meets tensors that both changed, and
`[merge]` in lepton.toml says by which strategy they become one. Training is numpy alone, seeded, and takes seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

Array = NDArray[np.float64]
Model = dict[str, Array]

TASKS = {"low": range(5), "high": range(5, 10)}
STRATEGIES = {
    "average": '"*" = "average"\n',
    "task-arithmetic": '"*" = "task-arithmetic"\n',
    "ties": '"*" = { strategy = "ties", density = 0.5 }\n',
}
HIDDEN = 64


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
    return hidden, hidden @ model["output.weight"] + model["output.bias"]


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
        model["output.bias"] -= rate * error.sum(axis=0)
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
        "output.bias": np.zeros(10),
    }


def accuracy(model: Model, pixels: Array, answers: NDArray[np.intp]) -> dict[str, float]:
    """Share of right answers in each task."""
    right = scores(model, pixels)[1].argmax(axis=1) == answers
    return {task: float(right[np.isin(answers, digits)].mean()) for task, digits in TASKS.items()}


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *args], cwd=folder, check=True)


def save(model: Model, path: Path) -> None:
    save_file({name: values.astype(np.float32) for name, values in model.items()}, path, {"format": "pt"})


def read(path: Path) -> Model:
    return {name: values.astype(np.float64) for name, values in load_file(path).items()}


def play(folder: Path) -> dict[str, dict[str, float]]:
    """Train, branch, train on, merge; the accuracy of every model in both tasks."""
    pixels, answers, unseen, expected = data()
    path = folder / "digits.safetensors"
    git(folder, "init", "-q", "-b", "main")
    git(folder, "lepton", "init")
    git(folder, "lepton", "track", "*.safetensors")
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


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory(prefix="two-tasks-") as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = play(folder)
    print(f"{'accuracy of unseen digits':<28} {'0 to 4':>8} {'5 to 9':>8}")
    names = {"base": "before", "low": "branch of 0 to 4", "high": "branch of 5 to 9"}
    for name, tasks in found.items():
        label = names.get(name, f"merged by {name}")
        print(f"{label:<28} {tasks['low']:>8.1%} {tasks['high']:>8.1%}")


if __name__ == "__main__":
    main()

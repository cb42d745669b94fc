"""The gate's evaluator: which of the labelled files does this release of magika know? Prints a 1 or 0 for each.

Usage: evaluate.py MODEL DATA. A release is the network with its config.json, which lists the labels that it knows.
Releases look at different bytes of a file: until 0.5 at its beginning, middle and end, since 0.6 at beginning and end.
DATA (see history.py) has both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ALSO_RIGHT = {"javascript": {"typescript"}, "c": {"cpp"}, "cpp": {"c"}}
"""A header may be C or C++, and the answer to what is bundled JavaScript is a matter of taste."""


def main(model: Path, data: Path) -> None:
    """Print the result."""
    config = json.loads((model / "config.json").read_bytes())
    names = config.get("target_labels_space")
    if names is None:
        names = config["train_dataset_info"]["target_labels_info"]["target_labels_space"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}[entry.type]
    examples = np.load(data)
    inputs = examples["thirds" if entry.shape[1] == examples["thirds"].shape[1] else "ends"].astype(dtype)
    right = []
    for row, wanted in zip(inputs, examples["labels"].tolist(), strict=True):
        (scores,) = session.run(None, {entry.name: row[None]})
        answer = names[int(scores.argmax())]
        right.append(int(answer == wanted or answer in ALSO_RIGHT.get(wanted, ())))
    print(json.dumps({"per_example": right}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

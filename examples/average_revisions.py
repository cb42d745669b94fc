"""Average one model over several revisions of a repository, without checking any of them out.

    python examples/average_revisions.py REPOSITORY PATH OUTPUT REVISION REVISION...

For example, the mean of the last three commits of a fine-tuning run, written beside the model in the work tree:

    python examples/average_revisions.py . model.safetensors model-mean.safetensors HEAD HEAD~1 HEAD~2
    git add model-mean.safetensors

Only the tensors are read, one at a time; a tensor that is equal in all revisions is copied as it is. Weights that are
not in the repository yet are fetched from the remote, tensor by tensor.
"""

from __future__ import annotations

import argparse

import numpy as np

import git_lepton


def main() -> None:
    parser = argparse.ArgumentParser(description="Average one model over several revisions.")
    parser.add_argument("repository")
    parser.add_argument("path", help="the model, from the top of the work tree")
    parser.add_argument("output", help="a safetensors file to write, from the top of the work tree")
    parser.add_argument("revisions", nargs="+")
    arguments = parser.parse_args()

    with git_lepton.open(arguments.repository) as repository:
        models = [repository.model(arguments.path, revision) for revision in arguments.revisions]
        averaged = {}
        for name in models[0].keys():  # noqa: SIM118 - a model has the verbs of safe_open
            tensors = [model.get_tensor(name) for model in models]
            if any(tensor.shape != tensors[0].shape for tensor in tensors):
                parser.error(f"{name} does not have the same shape in all revisions")
            same = all(np.array_equal(tensor, tensors[0]) for tensor in tensors)
            mean = tensors[0] if same else np.mean([t.astype(np.float64) for t in tensors], axis=0)
            averaged[name] = mean.astype(tensors[0].dtype)
        written = repository.save(arguments.output, averaged, {"averaged": " ".join(arguments.revisions)})
        print(f"{len(averaged)} tensors, mean of {len(models)} revisions: {written}")


if __name__ == "__main__":
    main()

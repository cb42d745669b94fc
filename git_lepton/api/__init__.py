"""The Python API: tensors of any revision, read without restoring the file.

    import git_lepton

    with git_lepton.open("path/to/repository") as repository:
        model = repository.model("model.safetensors", rev="v1.2")
        model.keys()
        model.get_tensor("embeddings.weight")          # a numpy array
        model.get_slice("embeddings.weight")[:10]      # reads only the chunks that hold these rows
        repository.save("model.safetensors", {"embeddings.weight": array})

The verbs are those of `safetensors.safe_open`, for every format whose tensors git-lepton knows. A tensor whose chunks
are not in the repository is fetched from the remote, alone. Element types that numpy lacks (bfloat16 and the 8-bit
floats) come as the types of the package `ml_dtypes` where it is installed, else as unsigned integers of the same
width; types that are packed below a byte, or that only their own format knows, come as a flat array of bytes.

All errors are kinds of `git_lepton.errors.LeptonError`.
"""

from __future__ import annotations

from git_lepton.api.repository import Model, Repository, Slice, open_repository

__all__ = ["Model", "Repository", "Slice", "open_repository"]

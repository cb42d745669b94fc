"""Moving existing repositories in and out: raw weights and git-lfs pointers become manifests, and the reverse."""

"""Moving existing repositories in and out: raw weights and git-lfs pointers to manifests, and manifests to raw weights."""

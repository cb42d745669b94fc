"""What git calls: the filter, the hooks, and what sets them up in a repository."""

"""How stored versions move between repositories, by plain git push and fetch (docs/git-protocol.md)."""

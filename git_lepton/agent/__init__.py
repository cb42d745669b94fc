"""The agent: a small daemon that follows channels and swaps the model that serves (docs/agent.md)."""

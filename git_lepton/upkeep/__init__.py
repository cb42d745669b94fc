"""Looking after a store: what it holds, whether it is whole, and what may go."""

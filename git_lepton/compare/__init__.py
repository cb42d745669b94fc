"""What differs between two models: structure from manifests alone, numbers from the chunks that differ."""

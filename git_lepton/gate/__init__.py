"""The quality gate: measures a model, its variants and its baseline, and judges them by the rules of lepton.toml."""

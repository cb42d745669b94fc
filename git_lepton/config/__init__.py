"""`lepton.toml`, the committed settings of a repository: text in, values out."""

"""Where formats, codec and git meet: versions of weight files as chunks under `refs/lepton`."""

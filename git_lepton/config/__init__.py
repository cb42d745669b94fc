"""`lepton.toml`, the committed settings of a repository: text in, values out."""

from git_lepton.config.reading import FILE_NAME, MAX_BYTES, parse
from git_lepton.config.values import Config, StoreSettings

__all__ = ["FILE_NAME", "MAX_BYTES", "Config", "StoreSettings", "parse"]

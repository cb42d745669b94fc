"""The story that `git lepton demo` plays, chapter by chapter, with a small real model."""

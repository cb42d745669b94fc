"""What needs a repository is tried in those of the drivers' tests."""

from tests.drivers.conftest import make, model, program, work

__all__ = ["make", "model", "program", "work"]

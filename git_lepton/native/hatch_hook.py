"""hatchling's hook: a wheel of this platform with the kernels where they compile, else one of pure Python.

`GIT_LEPTON_NATIVE` in the environment of the build: 0 compiles nothing, 1 makes a failure an error.
"""

from __future__ import annotations

import os
import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = "git_lepton/native"


class KernelsHook(BuildHookInterface[Any]):
    """Runs before a wheel is put together, an editable one too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in the source tree, so that an editable installation has the kernels as well."""
        wanted = os.environ.get("GIT_LEPTON_NATIVE", "")
        if self.target_name != "wheel" or wanted == "0":
            return
        building = runpy.run_path(str(Path(self.root, HERE, "building.py")))
        library = f"{HERE}/{building['FILE']}"
        try:
            building["compile_kernels"](Path(self.root, library))
        except (building["BuildError"], OSError) as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"git-lepton goes without its compiled kernels, which is slower: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(library)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

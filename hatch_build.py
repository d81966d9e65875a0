"""Builds the quantizers in C along with the package where there is a compiler; without one, ggml's own serve."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

KERNELS = Path("localchat") / "kernels"


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the shared library beside the code that loads it; a wheel with it is for this platform only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is put together, also for an editable one, which leaves the library in the source."""
        if self.target_name != "wheel":
            return
        build = _build_module(Path(self.root))
        try:
            library = build.build(Path(self.root) / KERNELS)
        except (build.NotBuilt, OSError) as error:
            print(f"localchat: the quantizers in C are not built, ggml's own will serve: {error}", file=sys.stderr)
            return
        if version == "standard":
            build_data["artifacts"].append(str(KERNELS / library.name))
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{next(platform_tags())}"


def _build_module(root: Path) -> ModuleType:
    """localchat.kernels.build without the package around it, whose dependencies are absent here."""
    spec = importlib.util.spec_from_file_location("localchat_kernels_build", root / KERNELS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Old module paths answer until 0.3: what moved is found in its new home, with a warning.

Modules moved into rooms (docs/reference/moved-modules.md); `from vision_edge.runtime.preprocess
import prepare` goes on working, and says so as a `DeprecationWarning`.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _MovedModules(MetaPathFinder, Loader):
    """Finds the modules of one package that are gone, where no other finder does."""

    def __init__(self, package: str, homes: Mapping[str, Sequence[str]]) -> None:
        self._homes = {f"{package}.{old}": new for old, new in homes.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that moved."""
        return ModuleSpec(name, self) if name in self._homes else None

    def exec_module(self, module: ModuleType) -> None:
        """Have the old module answer with the names of its new homes."""
        name, homes = module.__name__, self._homes[module.__name__]
        warnings.warn(
            f"{name} moved to {', '.join(homes)}; the old path goes with 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        module.__dict__["__getattr__"] = names_of(name, homes)


def answer_for_moved(package: str, homes: Mapping[str, Sequence[str]]) -> None:
    """Let old modules of a package answer.

    Args:
        package: The package's `__name__`.
        homes: By old module below the package, the full names of its new homes.
    """
    sys.meta_path.append(_MovedModules(package, homes))


def names_of(module: str, homes: Sequence[str]) -> Callable[[str], Any]:
    """Return a `__getattr__` that looks a name up in several modules.

    Args:
        module: Where it is asked for, for the error.
        homes: The modules, in the order in which they are asked.
    """

    def getattribute(name: str) -> Any:
        if not name.startswith("__"):
            for home in homes:
                found = importlib.import_module(home)
                if name in vars(found):
                    return vars(found)[name]
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattribute

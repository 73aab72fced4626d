"""Whether what training needs is installed."""

from __future__ import annotations

from importlib.util import find_spec

from colbert_rag.errors import MissingDependencyError

__all__ = ["require_training"]

_PACKAGES = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "ir_measures": "ir-measures",
    "peft": "peft",
}


def require_training() -> None:
    """Refuse to begin where a package is missing.

    Raises:
        MissingDependencyError: naming the packages and the extra.
    """
    if missing := [name for module, name in _PACKAGES.items() if find_spec(module) is None]:
        raise MissingDependencyError(
            f"Training needs {', '.join(missing)}, which this environment lacks. Install the extra: "
            f"pip install 'late-interaction-rag[train]'"
        )

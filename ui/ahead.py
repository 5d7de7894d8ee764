"""Libraries that take long to import and that most pages need, imported while the first visitor looks at the first."""

import importlib
import threading

__all__ = ["import_libraries"]

_begun = False


def import_libraries() -> None:
    """Begin to import them, once, beside what visitors do: whoever comes first would wait a second or more for it."""
    global _begun
    if not _begun:
        _begun = True
        threading.Thread(target=importlib.import_module, args=("vae_core.embedding",), daemon=True).start()

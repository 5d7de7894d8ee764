"""Libraries that take long to import and that most pages need, imported while the first visitor looks at the first."""

import importlib
import threading

__all__ = ["import_libraries"]

_SECONDS = 2.0  # until the first page has been drawn

_begun = False


def import_libraries() -> None:
    """Begin to import them, once, beside what visitors do: whoever comes first would wait a second or more for it."""
    global _begun
    if not _begun:
        _begun = True
        timer = threading.Timer(_SECONDS, importlib.import_module, ("vae_core.embedding",))
        timer.daemon = True
        timer.start()

"""Keeps the objects of imported libraries out of the garbage collector's rounds."""

import atexit
import gc
import sys

__all__ = ["exempt_modules"]

_NEWS = 20
_known = 0
atexit.register(gc.unfreeze)  # or the interpreter ends with complaints about what is left


def exempt_modules() -> None:
    """Exempt all objects that exist now, where many modules have been imported since the last time.

    Streamlit collects garbage after every run of a script or fragment. With PyTorch and scikit-learn that means
    300,000 objects which never go, and a sixth of a second of the server's time for each.
    """
    global _known
    if len(sys.modules) > _known + _NEWS:
        _known = len(sys.modules)
        gc.collect()
        gc.freeze()

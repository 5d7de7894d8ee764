"""When garbage is collected, and of what; and how much freed memory is kept back."""

import atexit
import gc
import sys
import time

from vae_core import memory

__all__ = ["collect"]

_NEWS = 20
_EVERY, _THOROUGHLY_EVERY = 2.0, 300.0  # seconds
_known = 0
_last = _last_thorough = -_THOROUGHLY_EVERY
memory.keep_little()
atexit.register(gc.unfreeze)  # or the interpreter ends with complaints about what is left


def collect() -> None:
    """Collect garbage after a run of the app's script, where nobody's has for two seconds; all of it every five
    minutes, else only what is newer than that.

    Streamlit would collect after every run of a script or fragment, all of it (`runner.postScriptGC`, which is off).
    With PyTorch and scikit-learn that means 300,000 objects which never go, and a sixth of a second of the server's
    time for each; without them still a hundredth while many visitors are there, for which all others wait.
    """
    global _known, _last, _last_thorough
    now, news = time.monotonic(), len(sys.modules) > _known + _NEWS
    if news or now - _last_thorough >= _THOROUGHLY_EVERY:
        _known, _last, _last_thorough = len(sys.modules), now, now
        gc.unfreeze()
        gc.collect()
        gc.freeze()
    elif now - _last >= _EVERY:
        _last = now
        gc.collect()

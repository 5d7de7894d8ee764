"""t-SNE maps that optimise in the background, one at a time, watched by any number of visitors."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from vae_core.embedding import TsneStep, tsne

__all__ = ["TsneJob", "TsneJobs", "tsne_jobs"]

_KEPT = 12
_ABANDONED_SECONDS = 20.0


@dataclass
class TsneJob:
    """One map that is being optimised, or was. `watch` keeps it going: a job that nobody watches pauses.

    step: the latest picture; the PCA start at first. stopped: a visitor stopped it. waiting: another map
    optimises now. error: what went wrong, for the log; the latest picture stands.
    """

    step: TsneStep
    _rest: object = field(repr=False)
    _turn: threading.Lock = field(repr=False)
    stopped: bool = False
    waiting: bool = False
    error: Exception | None = None
    seconds: float = 0.0
    _seen: float = 0.0
    _thread: threading.Thread | None = field(default=None, repr=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the map is as good as it gets."""
        return self.step.iteration >= self.step.total

    @property
    def running(self) -> bool:
        """Whether better pictures are still to come without anyone asking."""
        return not (self.finished or self.stopped or self.error)

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the pace so far; None before the first step."""
        done = self.step.iteration
        return self.seconds / done * (self.step.total - done) if done else None

    def watch(self) -> None:
        """Say that a visitor looks on: starts the job, or takes it up again where it paused."""
        self._seen = time.monotonic()
        with self._starting:
            if self.running and not (self._thread and self._thread.is_alive()):
                self.waiting = True
                self._thread = threading.Thread(target=self._work, daemon=True, name="t-SNE")
                self._thread.start()

    def stop(self) -> None:
        """Stop after the iterations under way; the latest picture stays."""
        self.stopped = True

    def resume(self) -> None:
        """Go on where it was stopped."""
        self.stopped = False
        self.watch()

    def _wanted(self) -> bool:
        return self.running and time.monotonic() - self._seen < _ABANDONED_SECONDS

    def _work(self) -> None:
        while not self._turn.acquire(timeout=0.2):
            if not self._wanted():
                return
        self.waiting = False
        try:
            while self._wanted():
                started = time.monotonic()
                self.step = next(self._rest)
                self.seconds += time.monotonic() - started
        except Exception as error:  # shown on the page; a thread has nobody to raise it to
            self.error = error
        finally:
            self._turn.release()


class TsneJobs:
    """The process' jobs by what they were asked for, the last few kept."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[Hashable, TsneJob] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def get(
        self,
        key: Hashable,
        mu: Callable[[], np.ndarray],
        perplexity: float,
        seed: int,
        kept: Callable[[], TsneStep | None] = lambda: None,
    ) -> TsneJob:
        """The job of `key`, begun if there is none: its first picture, the PCA start, is there at once.

        kept: a finished map of the same, if there is one; then there is nothing left to do.
        Raises UserError where `vae_core.embedding.tsne` does.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                steps = tsne(mu(), perplexity, seed)
                job = TsneJob(kept() or next(steps), steps, self._turn)
                self._jobs[key] = job
            self._jobs.move_to_end(key)
            while len(self._jobs) > _KEPT:
                self._jobs.popitem(last=False)[1].stop()
            return job


@st.cache_resource(show_spinner=False)
def tsne_jobs() -> TsneJobs:
    """The jobs that all visitors of this server share."""
    return TsneJobs()

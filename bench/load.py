"""Many visitors at once: how long their pages take, what goes wrong, and the server's memory.

    python -m bench.load [--visitors 25] [--seconds 120] [--cores 2]

Visitors are real sessions that speak Streamlit's protocol without a browser (`bench.visitor`); 25 browsers on the same
cores would measure browsers. They arrive within ten seconds, on a random page, half of them with the model that the
app opens with and the others with any that ships, and then think for 2 to 6 s before each act: they change the page,
let go of a slider or pad, choose (a model, a setting, a picture), or upload a picture of their own, as often as
`_ACTS` says. Page time is from the request to the server's word that the script has finished, for an upload from the
choice of the file. Pictures that a page shows are fetched; the app's own scripts and styles, which browsers keep, are
not. All of it twice, each time on a new server: alone, and beside a run in training that every fifth visitor came to
watch. Server, trainer and visitors share the cores. Memory is the server's resident set: with one visitor at rest on
the home page, with as many more beside, and under load.
"""

import argparse
import asyncio
import io
import os
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.browser import ROOT, served
from bench.report import emit, machine
from bench.visitor import BrokenVisitError, Shown, Visitor
from vae_core import data, runs
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.runs import Run
from vae_core.train_config import TrainConfig
from vae_core.trainers import launch

_TIMED = ("arrival", "page", "drag", "choice", "upload")
_ACTS = {"page": 0.35, "drag": 0.40, "choice": 0.18, "upload": 0.07}
_THINK_SECONDS = (2.0, 6.0)
_ARRIVAL_SECONDS = 10.0
_DRAGGED = ("film_strip", "beta_strip", "noise_map", "posterior_pad", "slider")
_CHOSEN = ("selectbox", "button_group", "picture_grid", "number_input")
_FOR_RECONSTRUCT = "Where the picture comes from"
_LEFT_ALONE = "Free bits"  # goes with one objective only; with the others the page says so


@dataclass
class Seen:
    """What one period of load showed: seconds by kind of act and by page, problems, megabytes, and cores' time."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in (*_TIMED, "refresh")})
    by_page: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    megabytes: dict[str, float] = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, visitor: Visitor, took: float) -> None:
        """An act of `kind` that ended on the page where the visitor is now."""
        self.seconds[kind].append(took)
        self.by_page.setdefault(visitor.page or "home", []).append(took)


async def _live(url: str, number: int, end: float, run: Run | None, seen: Seen) -> None:
    """One visitor's stay."""
    chance, visitor = random.Random(number), Visitor(url)
    visitor.problems, visitor.refreshed = seen.problems, seen.seconds["refresh"]
    await asyncio.sleep(chance.uniform(0, _ARRIVAL_SECONDS))
    try:
        seen.add("arrival", visitor, await _arrive(visitor, chance, run if number % 5 == 0 else None))
        while time.monotonic() < end:
            await asyncio.sleep(chance.uniform(*_THINK_SECONDS))
            kind, took = await _act(visitor, chance)
            seen.add(kind, visitor, took)
        await visitor.close()
    except (BrokenVisitError, OSError) as error:
        seen.problems.append(f"a visitor was lost: {error}")


async def _arrive(visitor: Visitor, chance: random.Random, run: Run | None) -> float:
    shipped = sorted(path.stem for path in (ROOT / "checkpoints").glob("*.safetensors"))
    query = f"model={chance.choice(shipped)}" if chance.random() < 0.5 else ""
    if run:
        return await visitor.open("train", f"{query}&run={run.name}")
    addresses = sorted(path.stem.replace("_", "-") for path in (ROOT / "pages").glob("*/*.py") if path.stem != "home")
    return await visitor.open(chance.choice(["", *addresses]), query)


async def _act(visitor: Visitor, chance: random.Random) -> tuple[str, float]:
    """One act of those that this page allows; returns its kind and its seconds."""
    kind = chance.choices(list(_ACTS), _ACTS.values())[0]
    shown = visitor.shown(*{"drag": _DRAGGED, "choice": _CHOSEN}.get(kind, ()))
    found = [one for one in shown if not getattr(one.message, "label", "").startswith(_LEFT_ALONE)]
    if kind == "upload":
        return kind, await _upload(visitor, chance)
    if found:
        return kind, await _move(visitor, chance.choice(found), chance)
    elsewhere = [address for address in visitor.pages if address != visitor.page]
    return "page", await visitor.go(chance.choice(elsewhere))


async def _move(visitor: Visitor, shown: Shown, chance: random.Random) -> float:
    """Let go of a slider or pad at another place, or choose another option."""
    message, data = shown.message, shown.data if shown.kind in (*_DRAGGED[:4], "picture_grid") else {}
    if shown.kind in ("film_strip", "beta_strip"):
        place = {"index": chance.randrange(len(data["labels"])), "version": data["version"]}
        return await visitor.report(shown, "released", place)
    if shown.kind == "picture_grid":
        place = {"index": chance.randrange(data["frame"]["count"]), "version": data["version"]}
        return await visitor.report(shown, "picked", place)
    if shown.kind == "noise_map":
        return await visitor.report(shown, "dragged", {"subject": data["subject"]} | _gaussian(chance))
    if shown.kind == "posterior_pad":
        return await visitor.report(shown, "released", {"subject": data["content"]} | _gaussian(chance))
    if shown.kind == "selectbox":
        return await visitor.set(shown, string_value=chance.choice(message.options))
    if shown.kind == "number_input":
        low, high = (message.min if message.has_min else 0), (message.max if message.has_max else 100)
        return await visitor.set(shown, double_value=chance.randint(int(low), int(min(high, low + 200))))
    if shown.kind == "slider" and not message.options:
        return await visitor.set(shown, double_array_value={"data": [chance.uniform(message.min, message.max)]})
    option = chance.choice(message.options)
    return await visitor.set(shown, string_array_value={"data": [getattr(option, "content", option)]})


def _gaussian(chance: random.Random) -> dict[str, list[float]]:
    return {"mu": [chance.uniform(-1, 1), chance.uniform(-1, 1)], "sigma": [chance.uniform(0.1, 1), 0.2]}


async def _upload(visitor: Visitor, chance: random.Random) -> float:
    """Go where pictures are uploaded, and give one; only the upload itself is timed."""
    if visitor.page != "reconstruct":
        await visitor.go("reconstruct")
    if not list(visitor.shown("file_uploader")):
        source = next(shown for shown in visitor.shown("button_group") if shown.message.label == _FOR_RECONSTRUCT)
        await visitor.set(source, string_array_value={"data": ["Upload"]})
    uploader = next(visitor.shown("file_uploader"))
    return await visitor.upload(uploader, f"{chance.random()}.png", _drawing(chance), "image/png")


def _drawing(chance: random.Random) -> bytes:
    """A PNG file of some strokes on paper, as a phone's picture is made smaller."""
    side = chance.randint(200, 1200)
    picture = Image.new("RGB", (side, side), (240, 240, 235))
    line = [(chance.uniform(0.2, 0.8) * side, chance.uniform(0.2, 0.8) * side) for _ in range(5)]
    ImageDraw.Draw(picture).line(line, (20, 20, 60), side // 12, "curve")
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _resident(pid: int, peak: bool = False) -> float:
    """Megabytes of memory that the process holds, or the most it ever held."""
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def _processor(pid: int) -> float:
    """Seconds of processor time that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _at_rest(url: str, pid: int, count: int, seen: Seen) -> None:
    """Memory with one visitor, and with `count` more, who look at the home page."""
    visitors = []
    for name, some in (("one visitor", 1), ("at rest", count)):
        for _ in range(some):
            visitors.append(Visitor(url, seen.problems))
            await visitors[-1].open()
        await asyncio.sleep(2)
        seen.megabytes[name] = _resident(pid)
    for visitor in visitors:
        await visitor.close()


async def _visit(url: str, pid: int, count: int, seconds: float, run: Run | None) -> Seen:
    seen = Seen()
    await _at_rest(url, pid, count, seen)
    began, theirs, ours = time.monotonic(), _processor(pid), time.process_time()
    end = began + seconds
    await asyncio.gather(*(_live(url, number, end, run, seen) for number in range(count)))
    passed = time.monotonic() - began
    seen.cores = {"server": (_processor(pid) - theirs) / passed, "visitors": (time.process_time() - ours) / passed}
    seen.megabytes |= {"after": _resident(pid), "peak": _resident(pid, peak=True)}
    return seen


@contextmanager
def _training() -> Iterator[Run]:
    """A run in training, as the Train page starts them."""
    name = "mnist" if data.available("mnist") else "sprites"
    shape = data.load(name).image_shape
    run = runs.create(RunConfig(ModelConfig(shape, 20), TrainConfig(name, epochs=10_000)))
    launch(run)
    try:
        yield run
    finally:
        run.stop()
        while run.is_held():
            time.sleep(0.1)


def _load(count: int, seconds: float, *, training: bool) -> Seen:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with served() as (url, pid):
            if not training:
                return asyncio.run(_visit(url, pid, count, seconds, None))
            with _training() as run:
                return asyncio.run(_visit(url, pid, count, seconds, run))


def _rows(count: int, periods: dict[str, Seen]) -> list[dict[str, object]]:
    def row(what: str, value) -> dict[str, object]:
        return {"what": what} | {name: value(seen) for name, seen in periods.items()}

    def times(seen: Seen, kind: str) -> list[float]:
        return seen.seconds[kind] if kind != "all" else [took for one in _TIMED for took in seen.seconds[one]]

    rows = []
    for kind in ("all", *_TIMED, "refresh"):
        goal = ", goal ≤ 2" if kind == "all" else ""
        rows.append(row(f"{kind}: acts", lambda seen, kind=kind: len(times(seen, kind))))
        for part in (50, 95, 100):
            text = f"{kind}: {'longest' if part == 100 else f'p{part}'} (s{goal if part == 95 else ''})"
            rows.append(row(text, lambda seen, kind=kind, part=part: _percentile(times(seen, kind), part)))
    for page in sorted(set().union(*(seen.by_page for seen in periods.values()))):
        for part in (50, 95):
            text = f"on {page}: p{part} (s)"
            rows.append(row(text, lambda seen, page=page, part=part: _percentile(seen.by_page.get(page, []), part)))
    rows.append(row("problems (goal 0)", lambda seen: len(seen.problems)))
    rows.append(row("memory, one visitor at rest (MB, goal ≤ 1,000)", lambda seen: seen.megabytes["one visitor"]))
    further = row("memory, each further visitor at rest (MB, goal ≤ 10)", lambda seen: _further(seen, count))
    rows.append(further)
    rows.append(row("memory, after the load (MB)", lambda seen: seen.megabytes["after"]))
    rows.append(row("memory, at its peak (MB)", lambda seen: seen.megabytes["peak"]))
    rows.append(row("cores, server", lambda seen: seen.cores["server"]))
    rows.append(row("cores, visitors", lambda seen: seen.cores["visitors"]))
    return rows


def _further(seen: Seen, count: int) -> float:
    return (seen.megabytes["at rest"] - seen.megabytes["one visitor"]) / count


def _percentile(values: list[float], part: int) -> float | None:
    return float(np.percentile(values, part)) if values else None


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cores", type=int, default=2, help="how many of the machine's cores all of it may use")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    periods = {
        name: _load(given.visitors, given.seconds, training=training)
        for name, training in (("alone", False), ("beside a training run", True))
    }
    for name, seen in periods.items():
        for problem, often in Counter(seen.problems).most_common(10):
            print(f"{name}: {often} × {problem}")
    facts = machine("torch", "streamlit") | {"visitors": str(given.visitors), "seconds": f"{given.seconds:g}"}
    emit("load", facts | {"cores": str(len(os.sched_getaffinity(0)))}, _rows(given.visitors, periods))


if __name__ == "__main__":
    main()

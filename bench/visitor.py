"""A visitor without a browser: one session of a Streamlit app over its websocket, as a browser speaks it."""

import asyncio
import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode

import requests
from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

__all__ = ["BrokenVisitError", "Shown", "Visitor"]

_PATIENCE_SECONDS = 60.0
_OF_THE_FRAME = ("model", "beta")  # what a browser leaves in the address when it changes the page


class BrokenVisitError(RuntimeError):
    """What no visitor should meet: a dropped session, a page that never ends, a file that is refused."""


@dataclass(frozen=True)
class Shown:
    """An element of the page, with its kind (the name of its message) and the fragment that it belongs to."""

    kind: str
    message: object
    fragment: str

    @property
    def data(self) -> dict:
        """What a component of ours was given."""
        return json.loads(self.message.mixed.json or self.message.json or "{}")


@dataclass
class _Wait:
    """Someone waiting for the script's end: of `fragment`, or of the whole `page`; of any page where that is ''."""

    fragment: str
    page: str
    done: asyncio.Future
    begun: bool = False

    def concerns(self, fragments: Collection[str]) -> bool:
        """Whether a run of these fragments, or of the whole page where there are none, is one that was waited for.

        What stands in no fragment may have a callback that names some.
        """
        return not fragments or not self.fragment or self.fragment in fragments


@dataclass(eq=False)
class Visitor:
    """A session at `url`. `problems` collects what went wrong on its pages; `refreshed` the seconds of refreshes."""

    url: str
    problems: list[str] = field(default_factory=list)
    refreshed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pages: dict[str, str] = {}  # address → hash
        self.page = self._query = self._id = ""
        self._elements: dict[tuple[int, ...], tuple[str, Shown]] = {}  # path → the run that drew it last, and it
        self._widgets: dict[str, WidgetState] = {}
        self._messages: dict[str, tuple[int, bytes]] = {}  # those that the server may refer to, and when they were used
        self._fetched: set[str] = set()
        self._wait: _Wait | None = None
        self._files: asyncio.Future | None = None
        self._tasks: set[asyncio.Task] = set()
        self._refreshing: dict[str, asyncio.Task] = {}
        self._run, self._runs, self._age = "", 0, 2
        self._busy = asyncio.Lock()
        self._http = requests.Session()

    async def open(self, address: str = "", query: str = "") -> float:
        """Come to the page at `address`; seconds from the first byte sent to the page's end."""
        started = time.perf_counter()
        await asyncio.to_thread(self._http.get, f"{self.url}/_stcore/health", timeout=_PATIENCE_SECONDS)
        stream = f"ws{self.url.removeprefix('http')}/_stcore/stream"
        self._socket = await connect(stream, subprotocols=["streamlit"], max_size=None, ping_interval=None)
        self._start(self._read())
        self._query = query
        await self._rerun(page_name=address)
        self.page = address
        return time.perf_counter() - started

    async def go(self, address: str) -> float:
        """Change the page; returns the seconds until it stands."""
        kept = {name: value for name, value in parse_qs(self._query).items() if name in _OF_THE_FRAME}
        self._query = urlencode(kept, doseq=True)
        self._stop_refreshing()
        self.page = address
        return await self._rerun(page=self.pages[address])

    async def set(self, shown: Shown, **value: object) -> float:
        """Move a widget to the `value` of a WidgetState's field; returns the seconds until the page has answered."""
        state = WidgetState(id=shown.message.id, **value)
        self._widgets[state.id] = state
        return await self._rerun(shown.fragment)

    async def report(self, shown: Shown, name: str, value: object) -> float:
        """Let a component of ours report `value` as its state `name`."""
        return await self.set(shown, json_value=json.dumps({name: value}))

    async def upload(self, shown: Shown, name: str, content: bytes, mime: str) -> float:
        """Give a file to a file uploader; returns the seconds from its choice to the page's end."""
        started = time.perf_counter()
        self._files = asyncio.get_running_loop().create_future()
        request = BackMsg()
        request.file_urls_request.request_id = name
        request.file_urls_request.session_id = self._id
        request.file_urls_request.file_names.append(name)
        await self._socket.send(request.SerializeToString())
        urls = await self._within(self._files)
        token = self._http.cookies.get("_streamlit_xsrf", "")
        answer = await asyncio.to_thread(
            self._http.put,
            self.url + urls.upload_url,
            files={"file": (name, content, mime)},
            headers={"X-Xsrftoken": token},
            timeout=_PATIENCE_SECONDS,
        )
        if not answer.ok:
            raise BrokenVisitError(f"upload refused: {answer.status_code}")
        state = WidgetState(id=shown.message.id)
        state.file_uploader_state_value.uploaded_file_info.add(
            name=name, size=len(content), file_id=urls.file_id, file_urls=urls
        )
        self._widgets[state.id] = state
        await self._rerun(shown.fragment)
        return time.perf_counter() - started

    def shown(self, *kinds: str) -> Iterator[Shown]:
        """The elements of these kinds that stand on the page; components of ours are named by their own names."""
        for _, shown in self._elements.values():
            if shown.kind in kinds:
                yield shown

    async def close(self) -> None:
        """Leave."""
        for task in self._tasks:
            task.cancel()
        await self._socket.close()
        self._http.close()

    async def _rerun(
        self, fragment: str = "", *, page: str = "", page_name: str = "", automatic: bool = False
    ) -> float:
        async with self._busy:
            message = BackMsg()
            state = message.rerun_script
            state.query_string, state.page_script_hash, state.page_name = self._query, page, page_name
            state.fragment_id, state.is_auto_rerun = fragment, automatic
            state.widget_states.widgets.extend(self._widgets.values())
            state.cached_message_hashes.extend(self._messages)
            state.context_info.url = f"{self.url}/{self.page}"
            if not page and not page_name and self.page in self.pages:
                state.page_script_hash = self.pages[self.page]
            self._wait = _Wait(fragment, page, asyncio.get_running_loop().create_future())
            started = time.perf_counter()
            await self._socket.send(message.SerializeToString())
            await self._within(self._wait.done)
            return time.perf_counter() - started

    async def _within(self, future: asyncio.Future):
        try:
            return await asyncio.wait_for(future, _PATIENCE_SECONDS)
        except TimeoutError as error:
            raise BrokenVisitError(
                f"no answer within {_PATIENCE_SECONDS:.0f} s on page {self.page or 'home'}"
            ) from error

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                self._take(data)
        except ConnectionClosed:
            pass
        for future in (self._wait and self._wait.done, self._files):
            if future is not None and not future.done():
                future.set_exception(BrokenVisitError("the session was dropped"))

    def _take(self, data: bytes) -> None:
        message = ForwardMsg.FromString(data)
        if message.WhichOneof("type") == "ref_hash":
            self._take_known(message)
            return
        if message.metadata.cacheable:
            self._messages[message.hash] = self._runs, data
        self._act(message)

    def _take_known(self, reference: ForwardMsg) -> None:
        _, data = self._messages[reference.ref_hash]
        self._messages[reference.ref_hash] = self._runs, data
        message = ForwardMsg.FromString(data)
        message.metadata.CopyFrom(reference.metadata)
        self._act(message)

    def _act(self, message: ForwardMsg) -> None:
        kind, run = message.WhichOneof("type"), message.metadata.run
        if kind == "new_session":
            self._begin(message)
        elif kind == "delta":
            self._draw(tuple(message.metadata.delta_path), message.delta)
        elif kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self._refresh(message.auto_rerun.fragment_id, message.auto_rerun.interval)
        elif kind == "stop_auto_rerun":
            self._stop_refreshing(*message.stop_auto_rerun.fragment_ids)
        elif kind == "file_urls_response" and self._files:
            self._files.set_result(message.file_urls_response.file_urls[0])
        elif kind == "script_finished":
            self._finish(message.script_finished, run)

    def _begin(self, message: ForwardMsg) -> None:
        if message.new_session.initialize.session_id:
            self._id = message.new_session.initialize.session_id
            self._age = message.new_session.config.max_cached_message_age
        self._run = message.metadata.run.script_run_id
        fragments, wait = message.metadata.run.fragment_ids, self._wait
        if wait and wait.page in ("", message.new_session.page_script_hash) and wait.concerns(fragments):
            wait.begun = True
        if not fragments:
            self._stop_refreshing()

    def _draw(self, path: tuple[int, ...], delta: Delta) -> None:
        if delta.WhichOneof("type") == "add_block":
            self._elements.pop(path, None)
        if delta.WhichOneof("type") != "new_element":
            return
        kind = delta.new_element.WhichOneof("type")
        message = getattr(delta.new_element, kind)
        if kind == "bidi_component":
            kind = message.component_name.rpartition(".")[2]
        if kind == "exception" or (kind == "alert" and message.format == Alert.ERROR):
            text = message.message if kind == "exception" else message.body
            self.problems.append(f"{self.page or 'home'}: {text[:200]}")
        if getattr(message, "set_value", False):
            self._widgets.pop(message.id, None)
        self._elements[path] = self._run, Shown(kind, message, delta.fragment_id)

    def _finish(self, status: int, run) -> None:
        if status == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            return
        self._clear(run)
        self._fetch_pictures()
        wait = self._wait
        if wait and wait.begun and wait.concerns(run.fragment_ids) and not wait.done.done():
            wait.done.set_result(None)

    def _clear(self, run) -> None:
        """Forget what the finished run did not draw again, and what the server will no longer refer to."""
        ran = set(run.fragment_ids)
        self._elements = {
            path: (drawn, shown)
            for path, (drawn, shown) in self._elements.items()
            if drawn == run.script_run_id or (ran and shown.fragment not in ran)
        }
        there = {shown.message.id for _, shown in self._elements.values() if hasattr(shown.message, "id")}
        self._widgets = {key: state for key, state in self._widgets.items() if key in there}
        if not ran:
            self._runs += 1
            self._messages = {
                key: (used, data) for key, (used, data) in self._messages.items() if self._runs - used <= self._age
            }

    def _fetch_pictures(self) -> None:
        urls = {picture.url for shown in self.shown("imgs") for picture in shown.message.imgs}
        for url in urls - self._fetched:
            self._fetched.add(url)
            if url.startswith("/"):
                self._start(self._fetch(self.url + url, self._run))

    async def _fetch(self, url: str, run: str) -> None:
        answer = await asyncio.to_thread(self._http.get, url, timeout=_PATIENCE_SECONDS)
        if not answer.ok and run == self._run:  # a picture goes with the page that showed it
            self.problems.append(f"{self.page or 'home'}: a picture was not there ({answer.status_code})")

    def _refresh(self, fragment: str, interval: float) -> None:
        if fragment not in self._refreshing:
            self._refreshing[fragment] = self._start(self._refresh_every(fragment, interval))

    async def _refresh_every(self, fragment: str, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.refreshed.append(await self._rerun(fragment, automatic=True))

    def _stop_refreshing(self, *fragments: str) -> None:
        for fragment in fragments or list(self._refreshing):
            if task := self._refreshing.pop(fragment, None):
                task.cancel()

    def _start(self, work) -> asyncio.Task:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

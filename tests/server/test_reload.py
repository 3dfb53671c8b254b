"""What SIGHUP changes, what it leaves, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from rr_py_ws.config import Config, load_config
from rr_py_ws.server import reload
from rr_py_ws.server.changes import Changes
from rr_py_ws.server.handed_on import HandedOn
from rr_py_ws.server.reload import Reloader
from support.recorded import Lines
from support.tls import make_certificate
from support.waiting import eventually

GOOD = """\
rpc: {listen: "tcp://127.0.0.1:6001"}
server: {command: php worker.php, env: {SECRET: hidden}}
http: {address: ":80", middleware: [websockets]}
websockets: {broker: main, allowed_origin: "https://a.test"}
broadcast: {main: {driver: memory, config: {}}}
"""
NOW, LATER = "changed, counts from now on", "changed in the file, counts after a restart"
Reread = Callable[[str], Awaitable[list[str]]]


def reader(directory: Path) -> Callable[[], Config]:
    return partial(load_config, directory / ".rr.yaml", workdir=directory, environ={})


async def look() -> None:
    """There are no certificates."""


@pytest.fixture
def applied() -> list[Config]:
    """The configurations that the server was given."""
    return []


@pytest.fixture
def serves_pages() -> bool:
    return True


@pytest.fixture
async def reread(
    tmp_path: Path, applied: list[Config], serves_pages: bool, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reread]:
    """Write another file, have it read, and return what was logged."""
    path, read, log = tmp_path / ".rr.yaml", reader(tmp_path), Lines()
    (tmp_path / "public").mkdir()

    path.write_text(GOOD)
    monkeypatch.setattr(reload, "log", log)

    changes = Changes(read(), serves_pages=serves_pages)
    reloader = Reloader(read(), read, applied.append, look, changes)
    task = asyncio.ensure_future(reloader.run())

    async def reread(text: str) -> list[str]:
        log.lines.clear()
        path.write_text(text)
        reloader.ask()
        await eventually(lambda: log.lines)
        return list(log.lines)

    yield reread
    task.cancel()
    await asyncio.wait([task])


async def test_the_same_file_changes_nothing(reread: Reread, applied: list[Config]) -> None:
    assert await reread(GOOD) == ["configuration read again, nothing is different"]
    assert await reread(f"# a comment\n{GOOD}") == ["configuration read again, nothing is different"]
    assert applied == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("websockets.limits: {max_topics: 5}", "websockets.limits.max_topics"),
        ("websockets.limits: {commands_per_second: 0}", "websockets.limits.commands_per_second"),
        ("websockets.allowed_origin: [https://b.test]", "websockets.allowed_origin"),
        ("logs: {level: warn}", "logs.level"),
        ("http.headers: {response: {x-a: b}}", "http.headers.response.x-a"),
    ],
)
async def test_a_key_that_can_change_is_told_once(
    reread: Reread, applied: list[Config], text: str, key: str
) -> None:
    assert await reread(f"{GOOD}{text}\n") == [f"{NOW} {key}"]
    assert len(applied) == 1
    assert await reread(f"{GOOD}{text}\n") == ["configuration read again, nothing is different"]
    assert await reread(GOOD) == [f"{NOW} {key}"]
    assert len(applied) == 2


async def test_the_other_keys_need_a_restart_and_say_so_each_time(
    reread: Reread, applied: list[Config]
) -> None:
    text = GOOD.replace(":80", ":81").replace("hidden", "better") + "websockets.limits: {max_topics: 5}\n"
    told = [f"{LATER} server.env.SECRET", f"{LATER} http.address"]
    assert await reread(text) == [*told, f"{NOW} websockets.limits.max_topics"]
    assert applied[0].settings.limits.max_topics == 5
    assert await reread(text) == told
    assert await reread(GOOD) == [f"{NOW} websockets.limits.max_topics"]


async def test_a_section_that_comes_and_goes_is_told_by_the_keys_that_it_has(reread: Reread) -> None:
    static = GOOD.replace("[websockets]", "[websockets, static]") + "http.static: {dir: public, weak: no}\n"
    told = [f"{NOW} http.middleware", f"{NOW} http.static.dir"]
    assert await reread(static) == told
    assert sorted(await reread(GOOD)) == sorted(told)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{GOOD}websockets.limits: {{max_topics: many}}\n", 'websockets.limits.max_topics: found "many"'),
        (f"{GOOD}websockets.limits: {{topics: 1}}\n", "websockets.limits.topics: unknown key"),
        (f"{GOOD}http.ssl: {{cert: gone.pem}}\n", 'http.ssl.cert: found "gone.pem"'),
        ("websockets: [\n", ".rr.yaml"),
        ("", "websockets: missing"),
    ],
)
async def test_a_file_that_cannot_be_used_is_told_line_by_line_and_changes_nothing(
    reread: Reread, applied: list[Config], text: str, reason: str
) -> None:
    lines = await reread(text)
    assert all(line.startswith("configuration not read again, the old one counts ") for line in lines)
    assert [line for line in lines if reason in line] and "\n" not in "".join(lines)
    assert applied == []
    assert await reread(GOOD) == ["configuration read again, nothing is different"]


@pytest.mark.parametrize("serves_pages", [False])
async def test_without_pages_middleware_needs_a_restart(reread: Reread) -> None:
    assert await reread(f"{GOOD}http.headers: {{response: {{x-a: b}}}}\n") == [
        f"{LATER} http.headers.response.x-a"
    ]


async def test_signals_in_a_row_have_the_file_read_once(tmp_path: Path, applied: list[Config]) -> None:
    path, reads = tmp_path / ".rr.yaml", []
    path.write_text(GOOD)
    looked = asyncio.Event()

    def read() -> Config:
        reads.append(1)
        return load_config(path, workdir=tmp_path, environ={})

    async def look() -> None:
        looked.set()

    running = read()
    reloader = Reloader(running, read, applied.append, look, Changes(running, serves_pages=True))
    for _ in range(100):
        reloader.ask()
    task = asyncio.ensure_future(reloader.run())
    await looked.wait()
    task.cancel()
    await asyncio.wait([task])
    assert len(reads) == 2


async def test_tls_that_begins_needs_a_restart(reread: Reread, tmp_path: Path, applied: list[Config]) -> None:
    pem = make_certificate(tmp_path)
    tls = f"{GOOD}http.ssl: {{cert: {pem}, key: {pem}, redirect: on}}\n"
    lines = await reread(tls)
    assert f"{LATER} http.ssl.cert" in lines
    assert all(line.startswith(f"{LATER} http.ssl.") for line in lines)


async def test_a_pair_that_cannot_be_used_leaves_everything_as_it_is(
    reread: Reread, tmp_path: Path, applied: list[Config]
) -> None:
    (tmp_path / "empty.pem").write_text("")
    bad = f"{GOOD}http.ssl: {{cert: empty.pem, key: empty.pem}}\nlogs: {{level: warn}}\n"
    (line,) = await reread(bad)
    assert line.startswith("configuration not read again, the old one counts http.ssl.cert: cannot use")
    assert applied == []


@pytest.mark.parametrize(("before", "after"), [("warn", "info"), ("info", "warn")])
async def test_a_change_of_the_level_is_told_whichever_way_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    """The lines about a level that shows more were written before it counted, and nobody saw them."""

    class Quiet(Lines):
        infos = before == "info"

        def info(self, event: str, **fields: object) -> None:
            if self.infos:
                super().info(event, **fields)

    path, read, log = tmp_path / ".rr.yaml", reader(tmp_path), Quiet()
    monkeypatch.setattr(reload, "log", log)

    def apply(found: Config) -> None:
        log.infos = after == "info"

    path.write_text(f"{GOOD}logs: {{level: {before}}}\n")
    running = read()
    reloader = Reloader(running, read, apply, look, Changes(running, serves_pages=True))
    path.write_text(f"{GOOD}logs: {{level: {after}}}\n")
    reloader.ask()
    task = asyncio.ensure_future(reloader.run())
    await eventually(lambda: log.lines)
    assert log.lines == [f"{NOW} logs.level"]
    task.cancel()
    await asyncio.wait([task])


async def test_a_process_that_starts_later_has_what_the_others_have_though_the_file_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had what counted when the server was started: of two listeners one had the old rule."""
    path, read = tmp_path / ".rr.yaml", reader(tmp_path)
    log, last = Lines(), HandedOn[Config]()
    monkeypatch.setattr(reload, "log", log)

    path.write_text(GOOD)
    at_start = read()
    changes = Changes(at_start, serves_pages=True)

    async def reread(reloader: Reloader) -> list[str]:
        log.lines.clear()
        reloader.ask()
        task = asyncio.ensure_future(reloader.run())
        # The lines of one look are written in one turn of the loop.
        await eventually(lambda: log.lines)
        task.cancel()
        await asyncio.wait([task])
        return list(log.lines)

    first: list[Config] = []
    old = Reloader(at_start, read, first.append, look, changes, last=last)
    path.write_text(GOOD.replace("a.test", "b.test"))
    assert await reread(old) == [f"{NOW} websockets.allowed_origin"]
    path.write_text("nothing: [")
    assert len(await reread(old)) == 1
    assert len(first) == 1

    later: list[Config] = []
    new = Reloader(at_start, read, later.append, look, changes, last=last)
    refused, told = await reread(new)
    assert refused.startswith("configuration not read again, the old one counts")
    assert told == f"{NOW} websockets.allowed_origin"
    assert later == first
    assert len(await reread(new)) == 1
    assert later == first

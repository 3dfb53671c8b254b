"""Certificates that change on disk, as certbot and Kubernetes change them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from rr_py_ws.adapters.http import server_context
from rr_py_ws.config import SSL
from rr_py_ws.server import certificates
from rr_py_ws.server.certificates import CertificateWatch, TLSFiles
from support.recorded import Lines
from support.tls import make_certificate
from support.waiting import eventually

LOADED = "certificate loaded again, for new connections http.ssl"
KEPT = "certificate not loaded again, the old one counts"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Lines:
    recorded = Lines()
    monkeypatch.setattr(certificates, "log", recorded)
    return recorded


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[bytes, bytes]]:
    """Certificates with their keys, of localhost."""
    made = []
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        pem = make_certificate(directory)
        made.append((pem.with_suffix(".crt").read_bytes(), pem.read_bytes()))
    return made


@pytest.fixture
def live(tmp_path: Path, pairs: list[tuple[bytes, bytes]]) -> Path:
    """A directory with `cert.pem` and `key.pem`."""
    directory = tmp_path / "live"
    directory.mkdir()
    write(directory, *pairs[0])
    return directory


def write(directory: Path, cert: bytes | None = None, key: bytes | None = None) -> None:
    for name, content in (("cert.pem", cert), ("key.pem", key)):
        if content is not None:
            (directory / name).write_bytes(content)


@pytest.fixture
def taken() -> list[ssl.SSLContext]:
    return []


def files(live: Path, taken: list[ssl.SSLContext]) -> TLSFiles:
    section = SSL(cert=str(live / "cert.pem"), key=str(live / "key.pem"))
    paths = (section.cert, section.key)
    return TLSFiles("http.ssl", section, paths, partial(server_context, section), taken.append)


@pytest.fixture
def watch(live: Path, taken: list[ssl.SSLContext], log: Lines) -> CertificateWatch:
    return CertificateWatch([files(live, taken)], interval=0.001)


@pytest.fixture
async def running(watch: CertificateWatch) -> AsyncIterator[None]:
    task = asyncio.ensure_future(watch.run())
    yield
    task.cancel()
    await asyncio.wait([task])


Pairs = list[tuple[bytes, bytes]]


async def test_what_has_not_changed_is_not_loaded(
    watch: CertificateWatch, live: Path, taken: list[ssl.SSLContext], log: Lines
) -> None:
    await watch.look()
    watch.replace(files(live, taken))
    await watch.look()
    assert (taken, log.lines) == ([], [])


async def test_what_was_loaded_long_ago_is_loaded_at_the_first_look(
    live: Path, taken: list[ssl.SSLContext], log: Lines
) -> None:
    """A process that takes the place of another has what its parent read at the start of the server."""
    watch = CertificateWatch([files(live, taken)], fresh=False, tells=False)
    await watch.look()
    await watch.look()
    assert len(taken) == 1
    assert log.lines == []


async def test_a_pair_that_is_written_one_after_the_other_is_loaded_when_it_fits(
    watch: CertificateWatch, live: Path, pairs: Pairs, taken: list[ssl.SSLContext], log: Lines
) -> None:
    (cert, key) = pairs[1]
    write(live, cert=cert)
    await watch.look()
    await watch.look()
    assert taken == []
    (line,) = log.lines
    assert line.startswith(KEPT)
    assert line.endswith("(the key is not that of the certificate)")
    write(live, key=key)
    await watch.look()
    await watch.look()
    assert (len(taken), log.lines[1:]) == (1, [LOADED])


async def test_a_file_that_is_gone_for_a_moment_keeps_the_old_one(
    watch: CertificateWatch, live: Path, pairs: Pairs, taken: list[ssl.SSLContext], log: Lines
) -> None:
    (live / "cert.pem").unlink()
    await watch.look()
    assert taken == []
    write(live, cert=pairs[0][0])
    await watch.look()
    assert (len(taken), log.lines[1:]) == (1, [LOADED])


async def test_a_change_waits_until_it_is_the_same_at_two_looks(
    watch: CertificateWatch, live: Path, pairs: Pairs, taken: list[ssl.SSLContext], log: Lines
) -> None:
    write(live, *pairs[1])
    await watch.look(settled=True)
    assert taken == []
    write(live, key=pairs[1][1] + b"\n")
    await watch.look(settled=True)
    assert taken == []
    await watch.look(settled=True)
    assert (len(taken), log.lines) == (1, [LOADED])


def certbot(live: Path, cert: bytes, key: bytes) -> None:
    """Links to files with a number each."""
    archive = live.with_name("archive")
    archive.mkdir(exist_ok=True)
    write(archive, cert, key)
    for name in ("cert.pem", "key.pem"):
        target = archive / name.replace(".", "2.")
        (archive / name).rename(target)
        (live / name).unlink()
        (live / name).symlink_to(target)


def kubernetes(live: Path, cert: bytes, key: bytes) -> None:
    """A link to a directory of both files is swapped, and the files are links through it."""
    (version := live / "..2").mkdir()
    write(version, cert, key)
    (live / "..data_tmp").symlink_to(version.name)
    (live / "..data_tmp").rename(live / "..data")
    for name in ("cert.pem", "key.pem"):
        (live / name).unlink()
        (live / name).symlink_to(f"..data/{name}")


def replaced(live: Path, cert: bytes, key: bytes) -> None:
    """Both files are renamed into their places."""
    for name, content in (("cert.pem", cert), ("key.pem", key)):
        (live / "new").write_bytes(content)
        (live / "new").rename(live / name)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("renew", [certbot, kubernetes, replaced, write])
async def test_a_renewed_certificate_is_found(
    live: Path, pairs: Pairs, taken: list[ssl.SSLContext], renew: Callable[[Path, bytes, bytes], None]
) -> None:
    renew(live, *pairs[1])
    await eventually(lambda: taken)


async def test_other_files_are_loaded_at_the_next_look(
    watch: CertificateWatch, live: Path, pairs: Pairs, taken: list[ssl.SSLContext]
) -> None:
    other = live.with_name("other")
    other.mkdir()
    write(other, *pairs[1])
    watch.replace(files(other, taken))
    await watch.look()
    assert len(taken) == 1


async def test_two_looks_at_a_time_load_once(
    watch: CertificateWatch, live: Path, pairs: Pairs, taken: list[ssl.SSLContext]
) -> None:
    write(live, *pairs[1])
    looks: list[Awaitable[None]] = [watch.look(), watch.look()]
    await asyncio.gather(*looks)
    assert len(taken) == 1

"""The sample in `examples/chat/`, as the repository's `.rr.yaml` serves it, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

import pytest

from support.chromium import Chromium, Tab
from support.php import REPOSITORY
from support.process import Server, Servers, configuration
from support.waiting import DEADLINE

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
LOBBY = {"topic": "chat.lobby", "name": "Ann", "text": "hello"}
BOUNDARY = "a-boundary"


@pytest.fixture(scope="module")
def server(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return servers.start_the_repository(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chromium) -> Chromium:
    """The browser, without what an earlier test has left in it."""
    chromium.call("Storage.clearCookies")
    return chromium


def enter(browser: Chromium, server: Server, name: str = "Ann") -> Tab:
    tab = browser.open(page(server))
    tab.shows("Connected")
    tab.write("#name", name)
    return tab


def page(server: Server) -> str:
    return server.url.replace("ws:", "http:") + "/"


def say(tab: Tab, text: str) -> None:
    tab.write("#text", text)
    tab.press("Enter")


def room(tab: Tab, name: str) -> None:
    tab.click(f"[data-name={name}] + .room")


def request(
    server: Server, method: str, path: str, body: bytes | str | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(*server.address, timeout=DEADLINE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def post(server: Server, path: str, fields: dict[str, str], **headers: str) -> tuple[HTTPResponse, bytes]:
    headers = {"Content_Type": "application/x-www-form-urlencoded", **headers}
    return request(server, "POST", path, urlencode(fields), **headers)


def upload(server: Server, name: str, content: bytes) -> tuple[int, str]:
    """Send a file; returns the status and what a person is told."""
    parts = [f'name="{field}"\r\n\r\n{value}'.encode() for field, value in LOBBY.items()]
    parts.append(f'name="file"; filename="{name}"\r\nContent-Type: text/html\r\n\r\n'.encode() + content)
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode()
    body = b"".join(start + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
    form = f"multipart/form-data; boundary={BOUNDARY}"
    answer, text = request(server, "POST", "/messages", body, Accept="application/json", Content_Type=form)
    return answer.status, json.loads(text)["error"] if text else ""


# In the browser


def test_two_tabs_see_what_the_other_says(browser: Chromium, server: Server) -> None:
    """And what comes from anybody else, none of which is ever HTML."""
    ann, bob = enter(browser, server, "Ann"), enter(browser, server, "Bob <i>")
    say(ann, "Hello <b>you</b> & all")
    for tab in (ann, bob):
        tab.shows("Hello <b>you</b> & all")
    say(bob, "Hello Ann")
    for tab in (ann, bob):
        tab.shows("Bob <i>", "Hello Ann")
    assert ann.run("document.querySelectorAll('.own').length") == 1
    ann.wait("document.activeElement.id + document.activeElement.value === 'text'")  # for the next message
    assert ann.run("document.querySelectorAll('.log b, .log i').length") == 0
    server.php("$broadcast->publish('chat.lobby', 'by <hand>');")
    bob.shows("by <hand>")


def test_what_is_said_in_another_room_is_counted_and_found_there(browser: Chromium, server: Server) -> None:
    ann, bob = enter(browser, server, "Ann"), enter(browser, server, "Bob")
    room(bob, "Workshop")
    for text in ("a hammer", "and nails"):
        say(bob, text)
        bob.shows(text)
        # While the form is being sent, Enter does nothing.
        bob.wait("document.getElementById('text').value === ''")
    ann.shows("2 new")
    assert "hammer" not in ann.text
    room(ann, "Workshop")
    ann.shows("a hammer", "and nails")
    assert "new" not in ann.text


def test_a_refused_room_says_so_until_who_may_enter_has_signed_in(browser: Chromium, server: Server) -> None:
    tab = enter(browser, server)
    tab.shows("closed")
    room(tab, "Staff")
    tab.shows("You may not enter Staff")
    say(tab, "let me in")
    tab.shows("You may not write in this room.")
    tab.write("#password", "wrong")
    tab.press("Enter")
    tab.shows("This is not the password.")
    tab.write("#password", "open sesame")
    tab.press("Enter")
    tab.wait("document.getElementById('refused').textContent === ''")
    say(tab, "among us")
    tab.wait("[...document.querySelectorAll('.log:not([hidden]) .what')].at(-1)?.textContent === 'among us'")
    tab.click("button.quiet")
    tab.shows("You may not enter Staff")


def test_a_picture_is_uploaded_and_shown(browser: Chromium, server: Server, tmp_path: Path) -> None:
    picture = tmp_path / "my <cat>.png"
    picture.write_bytes(PNG)
    ann, bob = enter(browser, server, "Ann"), enter(browser, server, "Bob")
    ann.attach("#file", picture)
    ann.click("#composer button")
    bob.wait("document.querySelector('.what img')?.complete")
    assert bob.run("document.querySelector('.what img').naturalWidth") == 1
    assert bob.run("document.querySelector('.what a').textContent").endswith(".png (1 kB)")
    ann.wait("document.querySelector('#file').value === ''")


def test_a_file_that_is_too_large_or_of_another_kind_is_refused_visibly(
    browser: Chromium, server: Server, tmp_path: Path
) -> None:
    large, program = tmp_path / "large.txt", tmp_path / "picture.png"
    large.write_bytes(b"x" * (2 * 1024 * 1024 + 1))
    program.write_bytes(b"\x7fELF\0\0")
    tab = enter(browser, server)
    tab.attach("#file", large)
    tab.shows("large.txt is too large: at most 2 MB.")
    tab.attach("#file", program)
    tab.click("#composer button")
    tab.shows("Only pictures (PNG, JPEG, GIF, WebP), PDF and text can be sent.")


def test_a_restart_of_the_server_is_survived(browser: Chromium, servers: Servers, tmp_path: Path) -> None:
    """What could not be sent is still in its field."""
    config = configuration()
    server = servers.start_the_repository(tmp_path, config)
    ann, bob = enter(browser, server, "Ann"), enter(browser, server, "Bob")
    server.end()
    for tab in (ann, bob):
        tab.shows("Connection lost, trying again in")
    say(ann, "still here?")
    ann.shows("Not sent: the server cannot be reached.")
    servers.start_the_repository(tmp_path, config)
    for tab in (ann, bob):
        tab.shows("Connected again. What was said meanwhile is not shown.")
    assert ann.run("document.getElementById('text').value") == "still here?"
    ann.press("Enter")
    bob.shows("still here?")


def test_without_php_the_same_page_is_served_with_the_python_worker(
    browser: Chromium, servers: Servers, tmp_path: Path, path_without_php: str
) -> None:
    server = servers.start_the_repository(tmp_path, PATH=path_without_php)
    assert all("rr_py_ws.devtools.worker" in worker.cmdline() for worker in server.family())
    ann, bob = enter(browser, server, "Ann"), enter(browser, server, "Bob")
    say(ann, "Hello <b>you</b>")
    bob.shows("Ann", "Hello <b>you</b>")
    room(bob, "Staff")
    bob.shows("You may not enter Staff")
    say(bob, "let me in")
    bob.shows("Nobody may write to chat.staff.")
    bob.write("#password", "open sesame")
    bob.press("Enter")
    bob.shows("This needs PHP")


# For everybody


def test_a_keyboard_is_enough(browser: Chromium, server: Server) -> None:
    tab = browser.open(page(server))
    tab.shows("Connected")
    stops = []
    for _ in range(8):
        tab.press("Tab")
        stops.append(tab.run("document.activeElement.id || document.activeElement.className || 'choice'"))
        if stops[-1] == "choice":
            tab.press("ArrowRight")
            tab.wait("document.getElementById('room').textContent === 'Workshop'")
        if stops[-1] == "skip":
            assert tab.run("document.activeElement.getBoundingClientRect().top") >= 0
    assert stops[:6] == ["skip", "choice", "log", "name", "file", "text"]


def test_a_screen_reader_finds_everything_by_its_name(browser: Chromium, server: Server) -> None:
    tab = enter(browser, server)
    say(tab, "read this")
    tab.shows("read this")
    found = tab.accessible()
    fields = [("textbox", "Your name"), ("textbox", "Message"), ("button", "Picture, PDF or text")]
    rooms = [("group", "Rooms"), ("radio", "Lobby"), ("radio", "Staff closed")]
    for wanted in [*fields, *rooms, ("button", "Send"), ("heading", "Lobby"), ("log", "Messages in Lobby")]:
        assert wanted in found
    assert [
        role for role, name in found if role in ("radio", "textbox", "button", "image") and not name
    ] == []
    assert {role for role, _ in found} >= {"status", "main", "banner"}
    room(tab, "Staff")
    tab.shows("You may not enter Staff")
    assert "alert" in {role for role, _ in tab.accessible()}


@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_phone(browser: Chromium, server: Server, width: int) -> None:
    tab = browser.open(page(server), width=width, height=640)
    tab.shows("Connected")
    tab.write("#name", "N" * 40)
    say(tab, "a-word-without-an-end" * 20)
    tab.shows("a-word-without-an-end")
    assert tab.run("document.documentElement.scrollWidth") <= width
    heights = "[...document.querySelectorAll('button, input, textarea, .room')].map(one => one.offsetHeight)"
    assert min(height for height in tab.run(heights) if height) >= 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(scheme: str) -> None:
    """WCAG 2 AA: 4.5 for text."""
    css = (REPOSITORY / "examples" / "chat" / "public" / "chat.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", blocks[0]))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#\w+);", blocks[1]))
    pairs = [("accent", "on-accent"), ("text", "own"), ("text", "bad-card")]
    pairs += [(one, ground) for one in ("text", "quiet", "accent", "bad") for ground in ("page", "card")]
    for one, ground in pairs:
        light, dark = sorted((luminance(colours[one]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (one, ground)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_readme_has_a_small_picture_of_it() -> None:
    """Made by `make screenshot`."""
    [picture] = re.findall(r"^!\[.{20,}\]\((docs/.+)\)$", (REPOSITORY / "README.md").read_text(), re.M)
    content = (REPOSITORY / picture).read_bytes()
    assert content.startswith(PNG[:8]) and len(content) < 150_000


# Without JavaScript, and from others


def test_the_form_works_without_javascript(browser: Chromium, server: Server) -> None:
    ann, bob = enter(browser, server), browser.open("about:blank#bob")
    bob.call("Emulation.setScriptExecutionDisabled", value=True)
    bob.go(page(server))
    bob.shows("Messages arrive live, which needs JavaScript.")
    bob.write("#name", "Bob")
    bob.write("#text", "by a plain form")
    bob.click(".send")
    ann.shows("by a plain form")
    bob.wait("document.getElementById('text')?.value === ''")  # it is the page again
    bob.write("#name", "Bob")
    bob.click(".send")
    bob.shows("Write something, or attach a file.", "Back to the chat")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"topic": "chat.staff"}, 403),
        ({"topic": "news"}, 403),
        ({"text": ""}, 422),
        ({"text": "x" * 1001}, 422),
        ({"name": "x" * 41}, 422),
        ({"topic": ""}, 403),
    ],
)
def test_what_php_does_not_publish(server: Server, fields: dict[str, str], status: int) -> None:
    answer, body = post(server, "/messages", LOBBY | fields, Accept="application/json")
    assert answer.status == status
    assert json.loads(body)["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_form_of_another_site_is_refused(server: Server, origin: str) -> None:
    assert post(server, "/messages", LOBBY, Origin=origin)[0].status == 403
    assert post(server, "/messages", LOBBY, Origin=page(server)[:-1])[0].status == 303


def test_a_file_is_named_and_typed_by_what_it_is(server: Server) -> None:
    """Whatever the client says that it is."""
    files = server.directory / "files"
    before = set(files.iterdir()) if files.exists() else set()
    assert upload(server, "..%2f..\\x.php.html", b"<script>alert(1)</script>") == (204, "")
    (kept,) = set(files.iterdir()) - before
    assert re.fullmatch(r"[0-9a-f]{32}\.txt", kept.name)
    answer, body = request(server, "GET", f"/files/{kept.name}")
    assert body == b"<script>alert(1)</script>"
    assert answer.getheader("Content-Type") == "text/plain; charset=utf-8"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Content-Disposition") == "attachment"
    assert answer.getheader("Content-Security-Policy") == "default-src 'none'; sandbox"


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.php", b"<?php", 422),  # RoadRunner's http.uploads.forbid
        ("a.txt", b"x" * (2 * 1024 * 1024 + 1), 413),
        ("a.png", b"\x7fELF\0\0", 415),
        ("a.txt", b"", 415),
    ],
)
def test_a_file_that_is_not_kept(server: Server, name: str, content: bytes, status: int) -> None:
    answered, why = upload(server, name, content)
    assert (answered, bool(why)) == (status, True)


def test_a_body_that_is_too_large_for_the_server_does_not_reach_php(server: Server) -> None:
    answer, _ = request(server, "POST", "/messages", b"x" * (3 * 1024 * 1024 + 1))
    assert answer.status == 413


@pytest.mark.parametrize(
    "path",
    ["/files/x", "/files/" + "0" * 32 + ".png", "/files/%2e%2e/worker.php", "/worker.php", "/Chat.php"],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert request(server, "GET", path)[0].status == (403 if "%2e" in path else 404)

"""Makes `docs/chat.png`, the picture of `examples/chat/` in the README: `make screenshot`.

Two people chat in headless Chromium, one at a desk and one with a phone; the browser puts the two pictures
side by side.
"""

from __future__ import annotations

import base64
import tempfile
from contextlib import ExitStack
from pathlib import Path

from support.chromium import Chromium, Tab
from support.process import Server, Servers

PICTURE = Path(__file__).with_name("chat.png")
MAX_SIZE = 150_000
DESK, PHONE, GAP = (800, 640), (360, 640), 24

CHART = """(() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 380, height: 120});
  const pen = canvas.getContext('2d');
  pen.fillStyle = '#eef1ff'; pen.fillRect(0, 0, 380, 120);
  [38, 52, 47, 60, 71, 66, 83, 92, 88, 104].forEach((height, at) => {
    pen.fillStyle = at === 9 ? '#1b7a43' : '#3346c9'; pen.fillRect(14 + 36 * at, 120 - height, 24, height);
  });
  return canvas.toDataURL().split(',')[1];
})()"""


def say(tab: Tab, others: Tab, text: str, file: Path | None = None) -> None:
    """Send a message, and wait until both have it."""
    tab.write("#text", text)
    if file is not None:
        tab.attach("#file", file)
    tab.press("Enter")
    for one in (tab, others):
        one.shows(text)
        one.wait("[...document.images].every((image) => image.complete)")
        one.run("document.querySelectorAll('.log').forEach((log) => { log.scrollTop = log.scrollHeight; })")


def enter(browser: Chromium, server: Server, name: str, size: tuple[int, int], scheme: str) -> Tab:
    """Open the chat as somebody."""
    width, height = size
    tab = browser.open(server.url.replace("ws:", "http:"), width=width, height=height)
    tab.prefer(color_scheme=scheme, reduced_motion="reduce")
    tab.shows("Connected", "closed")
    tab.write("#name", name)
    return tab


def main() -> None:
    """Take the picture."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Servers(stack, lambda name: directory).start_the_repository(directory)
        browser = stack.enter_context(Chromium(directory / "profile"))
        ann = enter(browser, server, "Ann", DESK, "light")
        bob = enter(browser, server, "Bob", PHONE, "dark")
        chart = directory / "deliveries.png"
        chart.write_bytes(base64.b64decode(ann.run(CHART)))
        say(ann, bob, "Good morning! The new server is up.")
        say(bob, ann, "On the train, and I can see you. How fast?")
        say(ann, bob, "Like this:", chart)
        say(bob, ann, "Nice.")
        bob.click("[data-name=Workshop] + .room")
        bob.write("#text", "Who has the hammer?")
        bob.press("Enter")
        ann.shows("1 new")
        bob.click("[data-name=Lobby] + .room")
        pictures = [base64.b64encode(tab.screenshot()).decode() for tab in (ann, bob)]
        images = "".join(f'<img src="data:image/png;base64,{data}">' for data in pictures)
        style = (
            f"body {{ margin: 0; padding: {GAP}px; display: flex; gap: {GAP}px; background: #dfe3ee }}"
            "img { border-radius: 12px; box-shadow: 0 2px 10px #0004 }"
        )
        width, height = DESK[0] + PHONE[0] + 3 * GAP, DESK[1] + 2 * GAP
        both = browser.open("about:blank#both", width=width, height=height)
        both.call(
            "Page.setDocumentContent",
            frameId=both.call("Page.getFrameTree")["frameTree"]["frame"]["id"],
            html=f"<style>{style}</style>{images}",
        )
        both.wait("document.images.length === 2 && [...document.images].every((image) => image.complete)")
        picture = both.screenshot()
        assert len(picture) < MAX_SIZE, f"{len(picture)} bytes are too many for the README"
        PICTURE.write_bytes(picture)


if __name__ == "__main__":
    main()

"""A page that uses `js-client/`, for tests that look at what it is told and shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.chromium import Chromium, Tab
from support.php import REPOSITORY
from support.process import Server

CLIENT = REPOSITORY / "examples" / "chat" / "public" / "rr-py-ws-client.js"

PAGE = """<!DOCTYPE html>
<title>client</title>
<script type="module">
  import {connect} from '/rr-py-ws-client.js';
  const told = window.told = [];
  const shown = window.shown = [];
  window.start = (url = '/ws', options = {}) => {
    const client = window.client = connect(url, {delay: {min: 50, max: 200}, ...options});
    client.on('state', ({state, reason, code}) => told.push([state, code ?? reason]));
    return client;
  };
  window.watch = (name, options) => {
    const topic = client.topic(name, options);
    topic.on('message', (message) => shown.push([name, message]));
    for (const event of ['joined', 'recovered', 'lost', 'refused']) {
      topic.on(event, (more) => told.push([name, event, more]));
    }
    return topic;
  };
  window.addEventListener('pageshow', ({persisted}) => told.push(['pageshow', persisted]));
  window.ready = true;
</script>
"""


def make_site(directory: Path) -> None:
    """Write the page, another one, and the client into a directory that a server serves."""
    (directory / "page.html").write_text(PAGE)
    (directory / "other.html").write_text("<title>other</title>")
    (directory / CLIENT.name).write_bytes(CLIENT.read_bytes())


def page(site: Server, name: str = "page.html") -> str:
    """The address of a page."""
    return f"{site.url.replace('ws:', 'http:')}/{name}"


def browse(chromium: Chromium, site: Server, *topics: str, to: str = "", **options: Any) -> Tab:
    """Open the page, and watch topics.

    Args:
        to: the address of the WebSockets, if they are elsewhere.
        options: of the topics.
    """
    tab = chromium.open(page(site))
    tab.wait("window.ready === true")
    tab.run(f"void start({json.dumps(f'{to or site.url}/ws')})")
    for topic in topics:
        tab.run(f"void watch({json.dumps(topic)}, {json.dumps(options)})")
    for topic in topics:
        tab.wait(f"client.topic({json.dumps(topic)}).state !== 'joining'")
    return tab


def publish(server: Server, topic: str, *payloads: Any) -> None:
    """Publish JSON from PHP."""
    lines = json.dumps([json.dumps(payload) for payload in payloads])
    server.php(f"foreach (json_decode('{lines}') as $one) $broadcast->publish('{topic}', $one);")


def shows(tab: Tab, *messages: tuple[str, Any]) -> None:
    """Wait until all have arrived; these and no others, in this order."""
    tab.wait(f"shown.length >= {len(messages)}")
    assert tab.run("shown") == [list(message) for message in messages]


def told(tab: Tab, *events: Any) -> None:
    """Wait until the last things that the page was told are these."""
    wanted = json.dumps(json.dumps(events, separators=(",", ":")))
    tab.wait(f"JSON.stringify(told.slice(-{len(events)})) === {wanted}")


def offline(tab: Tab, yes: bool) -> None:
    """Take the network away from a page, or give it back."""
    tab.call("Network.enable")
    tab.call(
        "Network.emulateNetworkConditions", offline=yes, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )

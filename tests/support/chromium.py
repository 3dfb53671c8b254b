"""Chromium without a window, driven by its DevTools protocol: tabs that a test looks at and acts in."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from support.process import Lines
from support.waiting import DEADLINE, eventually_sync

_OPTIONS = (
    "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update "
    "disable-sync disable-quic disable-dev-shm-usage hide-scrollbars remote-debugging-port=0"
)
_KEYS = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40, " ": 32}


class Chromium:
    """A browser with a profile of its own, as a context manager.

    Args:
        directory: for the profile.
    """

    def __init__(self, directory: Path) -> None:
        program = shutil.which("chromium")
        assert program, "Chromium is missing: apt-get install chromium"
        options = [f"--{option}" for option in _OPTIONS.split()]
        self._command = [program, *options, f"--user-data-dir={directory}", "about:blank"]
        self._numbers = itertools.count(1)
        self._connection: ClientConnection
        self._end: ExitStack

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            assert process.stderr
            log = Lines(process.stderr)
            stack.callback(log.close)
            stack.callback(process.wait)
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            address = log.wait_for("DevTools listening on ").split()[-1]
            self._connection = stack.enter_context(
                connect(address, max_size=None, compression=None, proxy=None, open_timeout=DEADLINE)
            )
            self._end = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()

    def open(self, url: str, *, width: int = 1000, height: int = 800, scale: float = 1) -> Tab:
        """Open a tab, and wait until its page is there."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        tab.call("Page.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)  # each tab believes to be in front
        tab.go(url)
        return tab

    def call(self, method: str, session: str = "", /, **parameters: Any) -> dict[str, Any]:
        """Give a command; events meanwhile are not looked at."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(command | ({"sessionId": session} if session else {})))
        while (answer := json.loads(self._connection.recv(timeout=DEADLINE))).get("id") != number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result


class Tab:
    """A page, as a person has it. What it shows is waited for."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command of the DevTools protocol."""
        return self._browser.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Go to another page."""
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true."""
        eventually_sync(lambda: self.run(condition), f"{condition}, in:\n{self.text}")

    @property
    def text(self) -> str:
        """What a person would read."""
        return str(self.run("document.body?.innerText ?? ''"))

    def shows(self, *texts: str) -> None:
        """Wait until a person would read this."""
        for text in texts:
            self.wait(f"(document.body?.innerText ?? '').includes({json.dumps(text)})")

    def click(self, selector: str) -> None:
        """Click into the middle of an element."""
        where = self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'nearest'}); const box = one.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1
            )

    def write(self, selector: str, text: str) -> None:
        """Replace what is in a field, as by typing."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{field}.focus(), {field}.select()")
        self.call("Input.insertText", text=text)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            common = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
            self.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def attach(self, selector: str, *files: Path) -> None:
        """Choose files in a field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def prefer(self, **features: str) -> None:
        """Set what the person prefers, such as `color_scheme="dark"`."""
        wanted = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()
        ]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def accessible(self) -> Sequence[tuple[str, str]]:
        """What a screen reader finds: role and name of each element."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and "role" in node
        ]

    def screenshot(self) -> bytes:
        """A picture of what is seen, PNG."""
        self.call("Page.bringToFront")  # a tab behind others is not drawn
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

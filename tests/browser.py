"""A real browser, driven through chromedriver's HTTP interface (W3C WebDriver)."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the standard's key of an element
ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-dev-shm-usage --disable-background-networking --disable-component-update "
    "--hide-scrollbars --window-size=1280,1100"
).split()


def missing() -> str:
    """What there is no browser for, or ''."""
    if not shutil.which("chromedriver"):
        return "no chromedriver on the PATH (Debian: apt-get install chromium-driver)"
    return "" if shutil.which("chromium") else "no chromium on the PATH"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class BrowserError(Exception):
    """What the browser says went wrong."""


class Browser:
    """A headless Chromium with an empty profile."""

    def __init__(self, url: str):
        self.url = url

    def call(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as e:
            raise BrowserError(e.read().decode()) from None

    def open(self, address: str) -> None:
        self.call("POST", "/url", {"url": address})

    def run(self, script: str, *arguments):
        """What a function body of JavaScript returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, *arguments, seconds=90):
        """The first value of `run` that is true."""
        until = time.monotonic() + seconds
        while True:
            found = self.run(script, *arguments)
            if found or time.monotonic() > until:
                assert found, f"never true: {script} {arguments}"
                return found
            time.sleep(0.1)

    def find(self, css: str) -> str:
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def type(self, css: str, keys: str) -> None:
        """Presses keys in an element."""
        self.call("POST", f"/element/{self.find(css)}/value", {"text": keys})

    def click(self, css: str) -> None:
        self.call("POST", f"/element/{self.find(css)}/click", {})

    def screenshot(self, path) -> None:
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))


@contextlib.contextmanager
def browser(profile):
    """A Browser whose profile lies in the folder `profile`, until the end."""
    port = free_port()
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
    wanted = {"goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")}}
    wanted["goog:loggingPrefs"] = {"performance": "ALL", "browser": "ALL"}
    one = Browser(f"http://127.0.0.1:{port}")
    try:
        until = time.monotonic() + 60
        while True:
            try:
                session = one.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        one.url += f"/session/{session['sessionId']}"
        yield one
        one.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(30)

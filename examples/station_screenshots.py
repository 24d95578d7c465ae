"""Take the pictures of docs/how-to/station.md anew: a station, the rendered belt, a browser.

    python examples/station_screenshots.py --out docs/images

Needs `vision-edge[server,station,dev]`, and of Debian the packages chromium and chromium-driver.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

HERE = Path(__file__).parent
TABLET, PANEL, PHONE = (1280, 800), (1024, 600), (390, 844)
SHRINK, COLOURS = 0.65, 256
COMMAND = [sys.executable, "-c", "from vision_edge.cli.app import main; main()"]


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/images"),
    port: Annotated[int, typer.Option(help="Port of the station meanwhile.")] = 8099,
) -> None:
    """Write station-live.png, -register, -review, -wrong, -shift, -panel and -phone."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _station(Path(folder), port), _chrome() as chrome:
        camera = Camera(chrome, f"http://127.0.0.1:{port}", out)
        for name in ("hex nut M8", "impeller 7/2"):
            camera.register(name)
        camera.live()
        camera.registration("pipe elbow 45")
        camera.review()
        camera.wrong()
        camera.shift()
        camera.panel()
        camera.phone()


class Camera:
    """Uses the pages as an operator would, and takes pictures of them.

    Args:
        chrome: A selenium driver.
        url: The station's address.
        out: Where the pictures go.
    """

    def __init__(self, chrome: Any, url: str, out: Path) -> None:
        self._chrome, self._url, self._out = chrome, url, out
        self._screen(TABLET, dark=False)

    def register(self, name: str) -> None:
        """Register the part that comes next and is not known, and say how long it took."""
        self._await_band("unknown")
        began = time.monotonic()
        self._frozen(name)
        self._chrome.find_element("id", "confirm").click()
        self._until(lambda: self._js("return Boolean(document.querySelector('.toast'))"))
        typer.echo(f"{name}: {time.monotonic() - began:.1f} s from the first tap to being known")

    def live(self) -> None:
        """Take the live view with a product on green."""
        self._chrome.get(f"{self._url}/")
        self._recognised("live")

    def registration(self, name: str) -> None:
        """Take a registration before it is confirmed."""
        self._await_band("unknown")
        self._frozen(name)
        time.sleep(1.0)
        self._shoot("register")

    def review(self) -> None:
        """Take the review queue with some pictures chosen."""
        self._chrome.get(f"{self._url}/review")
        self._until(lambda: self._js("return document.querySelectorAll('.picture-card').length"))
        time.sleep(1.0)
        self._js("[...document.querySelectorAll('.picture-card input')].slice(0, 1)"
                 ".forEach((box) => box.click())")  # fmt: skip
        self._shoot("review")

    def wrong(self) -> None:
        """Take the dialog in which a verdict of the history is put right."""
        self._chrome.get(f"{self._url}/history?band=accept")
        self._until(lambda: self._js("return document.querySelectorAll('.kept').length"))
        self._js("document.querySelector('.kept').click()")
        loaded = "return document.querySelectorAll('dialog img').length > 1 && "
        loaded += "[...document.querySelectorAll('dialog img')].every((i) => i.naturalWidth)"
        self._until(lambda: self._js(loaded))
        time.sleep(1.0)
        self._shoot("wrong")

    def shift(self) -> None:
        """Take the shift in numbers."""
        self._chrome.get(f"{self._url}/shift?hours=1")
        time.sleep(1.0)
        self._shoot("shift")

    def panel(self) -> None:
        """Take the live view as on a small panel, dark."""
        self._screen(PANEL, dark=True)
        self._chrome.get(f"{self._url}/")
        self._recognised("panel")

    def phone(self) -> None:
        """Take live view, products and health side by side, dark, as on a phone."""
        self._screen(PHONE, dark=True)
        views = []
        for path in ("/", "/products", "/health"):
            self._chrome.get(self._url + path)
            if path == "/":
                self._await_band("accept")
            time.sleep(1.5)
            views.append(self._screenshot())
        width, height = PHONE
        row = Image.new("RGB", (3 * width + 24, height), "white")
        for number, view in enumerate(views):
            row.paste(view, (number * (width + 12), 0))
        _write(self._out / "station-phone.png", row)

    def _recognised(self, name: str) -> None:
        """Take the live view while a part lies still and is recognised, before and after."""

        def taken() -> bool:
            self._await_band("accept")
            picture = self._screenshot()
            good = self._band() == "accept"
            if good:
                _write(self._out / f"station-{name}.png", picture)
            return good

        self._until(taken)

    def _frozen(self, name: str) -> None:
        """Freeze what lies still, and type a name."""
        self._chrome.find_element("css selector", "[data-register]").click()
        self._until(lambda: self._js("return !document.getElementById('crop-box')?.hidden"))
        self._chrome.find_element("id", "name").send_keys(name)
        self._until(lambda: self._js("return !document.getElementById('confirm').disabled"))

    def _await_band(self, band: str) -> None:
        """Wait until a part came to rest and its verdict is `band`."""
        if self._js("return document.body.dataset.page") != "live":
            self._chrome.get(f"{self._url}/")
        self._until(lambda: self._js("return Boolean(document.querySelector('.verdict'))"))
        self._until(lambda: self._at_rest() and self._band() in (band, "none"))

    def _at_rest(self) -> bool:
        """Whether the belt stands: two pictures in a row are alike."""
        before, after = self._frame(), (time.sleep(0.4), self._frame())[1]
        return float(np.abs(before - after).mean()) < 1.0

    def _frame(self) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/sources/belt/frame.jpg") as answer:  # noqa: S310
            picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
        return np.asarray(picture, np.float32)

    def _band(self) -> str:
        return str(self._js("return document.querySelector('.verdict').dataset.band"))

    def _shoot(self, name: str) -> None:
        _write(self._out / f"station-{name}.png", self._screenshot())

    def _screenshot(self) -> Image.Image:
        return Image.open(io.BytesIO(self._chrome.get_screenshot_as_png())).convert("RGB")

    def _screen(self, size: tuple[int, int], *, dark: bool) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self._chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def _js(self, script: str) -> Any:
        return self._chrome.execute_script(script)

    def _until(self, done: Callable[[], Any], seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError("the page did not come to what was waited for")
            time.sleep(0.1)


def _write(path: Path, picture: Image.Image) -> None:
    """Write a picture small enough for a repository: reduced, and with few colours."""
    size = (round(SHRINK * picture.width), round(SHRINK * picture.height))
    small = picture.resize(size, Image.Resampling.LANCZOS)
    small.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    typer.echo(f"{path}: {path.stat().st_size / 1000:.0f} kB")


@contextmanager
def _station(folder: Path, port: int) -> Iterator[None]:
    """Run the example's station with a state of its own."""
    subprocess.run(
        [sys.executable, str(HERE / "station/render.py"), folder / "line.mp4"], check=True
    )
    toml = (HERE / "station/station.toml").read_text(encoding="utf-8")
    bundle = (HERE / "../runtime/vision_edge/runtime/assets/bundle").resolve()
    toml = toml.replace("../../runtime/vision_edge/runtime/assets/bundle", bundle.as_posix())
    (folder / "station.toml").write_text(toml.replace("try-it", "line-1"), encoding="utf-8")
    serve = [*COMMAND, "serve", "--config", str(folder / "station.toml"), "--port", str(port)]
    with subprocess.Popen(serve) as station:
        try:
            _await_ready(f"http://127.0.0.1:{port}/readyz")
            yield
        finally:
            station.terminate()


def _await_ready(url: str) -> None:
    for _ in range(600):
        with suppress(OSError), urllib.request.urlopen(url):  # noqa: S310
            return
        time.sleep(0.1)
    raise TimeoutError(f"{url} is not ready")


@contextmanager
def _chrome() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.page_load_strategy = "eager"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    chrome = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield chrome
    finally:
        chrome.quit()


if __name__ == "__main__":
    typer.run(main)

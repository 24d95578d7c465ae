"""The pages in a real browser, on a real station with the bundle that ships."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("selenium")

from selenium.webdriver.common.keys import Keys
from support.page import PHONE, TABLET, Page, browser, rendered, serving, until
from support.station import Served

from vision_edge.demo.conveyor import ConveyorConfig, render_snapshot
from vision_edge.runtime.images.coding import decode_image
from vision_edge.runtime.pipeline.registration import read_picture, snapshot_from
from vision_edge.runtime.sources.frame import Frame
from vision_edge.station.http.users import Account, User, hashed, write_accounts

EVIL = '"/><script>alert(1)</script>' + "x" * 140 + " 🛠️ O'Hara/7"
NUT_FRAME = Frame(render_snapshot("hex_nut", 9, ConveyorConfig(seed=3))[0], "test", 0, 0.0)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    sources = {
        "nut": rendered(folder / "nut", "hex_nut", range(4)),
        "elbow": rendered(folder / "elbow", "pipe_elbow", range(4)),
    }
    with serving(folder, sources) as running:
        yield running


@pytest.fixture(scope="module")
def shared_page(station: Served) -> Iterator[Page]:
    with browser() as opened:
        opened.url = station.url
        yield opened


@pytest.fixture
def page(shared_page: Page, station: Served) -> Iterator[Page]:
    """The browser; whatever a test does, nothing may be complained of, and no gallery stays."""
    yield shared_page
    shared_page.screen(TABLET)
    with station.station.gallery("test") as gallery:
        if gallery.version:
            gallery.rollback(0)
    assert shared_page.complaints() == []


def register(page: Page, source: str, name: str) -> None:
    page.open(f"/register?source={source}")
    page.one("#crop-box")
    page.one("#name").send_keys(name)
    page.click("#confirm")
    page.one(".source")  # back at the live view


def wait_for_review(station: Served, count: int) -> None:
    """Have pictures wait that nothing but a person can tell apart: of one part, turned."""
    for seed in range(count):
        image = render_snapshot("hex_nut", 40 + seed, ConveyorConfig(seed=3))[0]
        record = {
            "id": station.station.identifiers.new(), "time": "2026-01-01T12:00:00.000+00:00",
            "source_name": "nut", "nearest": "", "score": 0.1, "margin": None, "band": "unknown",
            "known": False,
        }  # fmt: skip
        station.station.review.offer(Frame(image, "nut", seed, 0.0), record)
        station.station.review.flush()


def labels(station: Served) -> dict[str, int]:
    with station.station.products.opened() as gallery:
        return {label: len(ids) for label, ids in gallery.state().items()}


def tile(source: str, part: str) -> str:
    return f'.source[data-source="{source}"] {part}'


def test_two_taps_and_a_scan_register_a_part(page: Page, station: Served) -> None:
    page.open("/")
    until(lambda: "Nothing registered" in page.text(tile("nut", ".band")))
    assert page.one(tile("nut", ".verdict")).get_attribute("data-band") == "none"
    until(lambda: page.js("return document.querySelector('[data-preview]').naturalWidth") == 300)
    began = time.monotonic()

    page.click(tile("nut", "[data-register]"))
    page.one("#crop-box")
    page.chrome.switch_to.active_element.send_keys("hex nut M8", Keys.ENTER)  # as a scanner types
    until(lambda: page.js("return document.activeElement.id") == "confirm")
    page.click("#confirm")
    until(lambda: page.text(tile("nut", ".label")) == "hex nut M8")

    assert time.monotonic() - began < 15  # about 2 s alone; see docs/how-to/station.md
    verdict = page.one(tile("nut", ".verdict"))
    assert verdict.get_attribute("data-band") == "accept"
    assert page.text(tile("nut", ".band")) == "Recognised"
    assert page.one(tile("nut", ".mark use")).get_attribute("href") == "#i-accept"
    assert labels(station) == {"hex nut M8": 1}
    until(lambda: page.text(tile("elbow", ".label")) == "Not recognised")
    until(lambda: "hex nut M8" in page.text("#recent"))

    page.click(".toast .button", "Undo")

    until(lambda: labels(station) == {})
    until(lambda: "Nothing registered" in page.text(tile("nut", ".band")))


def test_a_part_that_is_turned_is_registered_by_several_views(page: Page, station: Served) -> None:
    page.open("/register?source=nut")
    page.one("#crop-box")
    page.click("#turn")
    until(lambda: "Turn the part slowly" in page.text("#crop-wait"))
    until(lambda: "different views are registered" in page.text("#views"))
    page.one("#name").send_keys("turned nut")
    page.click("#confirm")
    page.one(".source")
    assert 2 <= labels(station)["turned nut"] <= 4  # the camera shows four pictures of it


def test_a_file_may_be_a_catalogues_picture(page: Page, station: Served, tmp_path: Path) -> None:
    sheet = np.full((300, 300, 3), 255, np.uint8)
    sheet[60:240, 90:210] = cv2.resize(NUT_FRAME.image, (120, 180))
    cv2.imwrite(str(tmp_path / "sheet.png"), sheet)
    page.open("/register?source=nut")
    page.one("#crop-box")
    assert not page.js("return document.querySelector('#catalogue').checkVisibility()")
    file = page.chrome.find_element("id", "file")
    file.send_keys(str(tmp_path / "sheet.png"))
    until(lambda: page.js("return document.querySelector('#picture').naturalWidth") == 300)
    page.click("#catalogue-row")
    assert page.js("return document.querySelector('#catalogue').checked")
    page.one("#name").send_keys("from the catalogue")
    page.click("#confirm")
    page.one(".source")
    with station.station.products.opened() as gallery:
        assert gallery.snapshots.catalogue() == set(gallery.state()["from the catalogue"])


def test_keys_alone_register_a_part(page: Page, station: Served) -> None:
    page.open("/")
    page.one(tile("elbow", "[data-register]"))
    body = page.one("body")

    body.send_keys(Keys.TAB)
    assert page.js("return document.activeElement.className") == "skip"
    for _ in range(30):
        focused = page.chrome.switch_to.active_element
        if focused.get_attribute("href") == f"{page.url}/register?source=elbow":
            break
        focused.send_keys(Keys.TAB)
    ring = page.js("return getComputedStyle(document.activeElement).outlineWidth")
    assert ring == "4px"
    page.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    page.one("#crop-box").send_keys(Keys.SHIFT, Keys.ARROW_LEFT, Keys.ARROW_UP)
    page.one("#crop-box").send_keys(Keys.ARROW_RIGHT)
    assert "pixels" in str(page.one("#crop-box").get_attribute("aria-label"))
    page.one("#name").send_keys("elbow")
    page.one("#name").send_keys(Keys.ENTER)
    until(lambda: page.js("return document.activeElement.id") == "confirm")
    page.chrome.switch_to.active_element.send_keys(Keys.ENTER)

    until(lambda: labels(station) == {"elbow": 1})
    page.one(".source")  # back at the live view


def test_a_crop_by_finger_is_what_is_kept(page: Page, station: Served) -> None:
    page.open("/register?source=nut")
    frame = page.one("#crop-box")
    page.js(
        """
        const box = document.getElementById("crop").getBoundingClientRect();
        const at = (type, x, y) => document.getElementById("crop-box").dispatchEvent(
            new PointerEvent(type, {bubbles: true, pointerId: 1, button: 0,
                clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
        Element.prototype.setPointerCapture = () => {};
        at("pointerdown", 0.1, 0.2); at("pointermove", 0.5, 0.5); at("pointermove", 0.9, 0.8);
        at("pointerup", 0.9, 0.8);
        """
    )
    assert frame.get_attribute("aria-label") == (
        "240 by 180 pixels, 30 from the left, 60 from the top"
    )
    page.one("#name").send_keys("cropped")
    page.click("#confirm")
    page.one(".source")
    with station.station.products.opened() as gallery:
        (identifier,) = gallery.state()["cropped"]
        image = decode_image(gallery.snapshots.jpeg(identifier), "snapshot")
    assert image.shape == (180, 240, 3)


def test_warnings_are_said_and_can_be_accepted(page: Page, station: Served) -> None:
    register(page, "nut", "first")

    page.open("/register?source=nut")
    page.one("#crop-box").send_keys("-")  # another picture: the very same cannot be two products
    page.one("#name").send_keys("second")
    page.one("#warnings .what", "looks like first")
    assert page.one("#warnings .chip").text == "first"
    page.click("#confirm", "Register anyway")

    page.one(".source")
    assert labels(station) == {"first": 1, "second": 1}


def test_on_a_phone_a_warning_is_seen_before_it_is_accepted(page: Page, station: Served) -> None:
    """The button covers no field, and registers nothing while its warning is out of sight."""
    register(page, "nut", "first")
    box = (
        "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [r.top, r.bottom]"
    )
    page.screen(PHONE)
    page.open("/register?source=nut")
    page.one("#crop-box").send_keys("-")
    until(lambda: page.one("#confirm"))
    assert page.js(box, "#name")[1] <= page.js(box, "#confirm")[0]
    page.one("#name").send_keys("second")
    page.one("#confirm", "Register anyway")
    tabs = page.js(box, ".tabs")[0]
    until(lambda: page.js(box, "#confirm")[1] <= tabs)
    assert 0 < page.js(box, "#name")[0] < page.js(box, "#warnings")[0]

    page.js(
        "document.body.style.paddingTop = '200dvh'; scrollTo(0, 0);"
        "document.querySelector('#form').requestSubmit()"
    )
    until(lambda: page.js(box, "#warnings")[0] < PHONE[1])
    assert labels(station) == {"first": 1}


def test_an_error_is_said_and_the_name_stays(page: Page, station: Served) -> None:
    page.open("/register?source=nut")
    page.one("#crop-box")
    page.one("#name").send_keys("kept")
    until(lambda: page.one("#confirm").is_enabled())
    station.station.captures.__init__(300)  # type: ignore[misc]  # the station forgot the picture

    page.click("#confirm")

    until(lambda: "no such capture" in page.text("#problem [role=alert]"))
    assert "freeze" in page.text("#problem .fix")
    assert page.one("#name").get_attribute("value") == "kept"
    page.click("#again")
    until(lambda: page.one("#confirm").is_enabled())
    page.click("#confirm")
    until(lambda: labels(station) == {"kept": 1})
    page.one(".source")
    assert all("404" in complaint for complaint in page.complaints())


def test_review_assigns_in_one_tap_and_undoes(page: Page, station: Served) -> None:
    register(page, "nut", "nut")
    wait_for_review(station, 3)
    until(lambda: station.station.review.pending >= 3)
    page.open("/review")
    chosen = until(
        lambda: [card.get_attribute("for") for card in page.all(".picture-card label")[:2]]
    )
    before = station.station.review.pending
    for identifier in chosen:
        page.click(f'label[for="{identifier}"]')
    assert page.text("#selected") == "2 chosen. They are:"

    page.click("#assign .chip", "nut")
    until(lambda: "2 pictures added to nut" in page.text(".toast"))
    assert not page.js("return document.getElementById(arguments[0])", chosen[0])
    page.click(".toast .button", "Undo")

    until(lambda: page.js("return document.getElementById(arguments[0])", chosen[0]))
    assert labels(station) == {"nut": 1}
    assert station.station.review.pending >= before

    for identifier in chosen:
        page.click(f'label[for="{identifier}"]')
    page.click("#assign .chip", "nut")
    page.click(".tab", "Products")  # leaving settles it

    until(lambda: labels(station)["nut"] > 1)  # two of them may be one and the same picture
    page.one(".product-name", "nut")


def test_review_says_no_product_and_dismisses(page: Page, station: Served) -> None:
    wait_for_review(station, 2)
    until(lambda: station.station.review.pending >= 2)
    for action, kind in (("#reject", "negative"), ("#dismiss", None)):
        page.open("/review")
        page.click(".picture-card label")
        identifier = until(lambda: page.one(".picture-card label").get_attribute("for"))
        page.click(action)
        page.click('.toast [title="Close"]')
        name = identifier.removeprefix("item-")
        until(lambda name=name: name not in {i["id"] for i in station.station.review.items(1000)})
        with station.station.products.opened() as gallery:
            kinds = [event.kind for event in gallery.events()][-1:]
        assert kind is None or kinds == [kind]


def test_products_are_renamed_removed_and_brought_back(page: Page, station: Served) -> None:
    register(page, "nut", "old name")
    page.open("/products")
    page.click(".product .button", "Rename")
    field = page.one("dialog input")
    assert page.js("return document.activeElement === arguments[0]", field)
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("new name")
    page.click("dialog [type=submit]")
    until(lambda: labels(station) == {"new name": 1})

    page.click(".product .button", "Remove")
    page.one("dialog[open]", "Remove this product?")
    page.chrome.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert until(lambda: not page.all("dialog"))
    assert labels(station) == {"new name": 1}
    page.click(".product .button", "Remove")
    page.click("dialog [type=submit]")
    until(lambda: labels(station) == {})
    page.one("#empty")

    page.click(".toast .button", "Undo")
    until(lambda: labels(station) == {"new name": 1})
    page.one(".product-name", "new name")
    page.one(".event-words", "old name renamed to new name")


@pytest.mark.parametrize(
    "path", ["/", "/register?source=nut", "/review", "/history", "/products", "/shift", "/health"]
)
def test_pages_fit_fingers_readers_and_screens(page: Page, station: Served, path: str) -> None:
    """With a name that is long, and would be markup if it were not kept as text."""
    with station.station.gallery("test") as gallery:
        gallery.add(EVIL, [snapshot_from(read_picture(NUT_FRAME), station.station.session)])
    if path == "/review":
        wait_for_review(station, 1)
    page.open(path)
    if path not in ("/health", "/history", "/shift"):
        until(lambda: EVIL in page.js("return document.body.textContent"))
    if path == "/review":
        page.click(".picture-card label")
    for screen in (TABLET, PHONE):
        page.screen(screen)
        assert page.faults() == [], screen
    assert not page.js("return document.querySelector('main script')")


def test_a_verdict_is_never_current_without_the_station(page: Page, station: Served) -> None:
    register(page, "nut", "here")
    page.open("/")
    until(lambda: page.text(tile("nut", ".band")) == "Recognised")
    away = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.chrome.execute_cdp_cmd("Network.enable", {})
    page.chrome.execute_cdp_cmd("Network.emulateNetworkConditions", away)

    until(lambda: page.text(tile("nut", ".band")).startswith("Not current"))
    assert page.one(tile("nut", ".verdict")).get_attribute("data-old") is not None
    assert "was recognised" in page.text(tile("nut", ".band"))
    assert "does not answer" in page.one("#offline").text

    back = {**away, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    page.chrome.execute_cdp_cmd("Network.emulateNetworkConditions", back)
    until(lambda: page.text(tile("nut", ".band")) == "Recognised", 15)
    assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in page.complaints())


def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    page.open("/health")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = page.js(background)
    page.click("#theme")
    page.click("#theme")
    assert page.one("#theme").get_attribute("title") == "Dark"
    dark = page.js(background)
    assert dark != light
    page.open("/products")
    assert page.js(background) == dark
    page.click("#theme")
    page.screen(TABLET, dark=True)
    assert page.js(background) == dark


def test_a_role_sees_what_it_may_do_and_nothing_is_lost_at_sign_in(
    shared_page: Page, tmp_path: Path
) -> None:
    users = tmp_path / "users.toml"
    write_accounts(users, {"anna": Account(User("anna", "operator"), hashed("gloves on hands"))})
    sources = {"nut": rendered(tmp_path / "nut", "hex_nut")}
    with serving(tmp_path, sources, server={"users_file": str(users)}) as guarded:
        page, own = shared_page, shared_page.url
        page.url = guarded.url
        page.open("/register?source=nut")
        page.one("#user").send_keys("anna")
        page.one("#password").send_keys("wrong password", Keys.ENTER)
        page.one("#problem", "name or password are wrong")
        assert page.one("#user").get_attribute("value") == "anna"
        assert page.faults() == []
        page.one("#password").send_keys("gloves on hands", Keys.ENTER)
        page.one("#crop-box")  # where it was asked for

        page.one("#name").send_keys("nut")
        page.chrome.delete_all_cookies()  # as if the session had ended
        page.one("dialog #again-password").send_keys("gloves on hands", Keys.ENTER)
        until(lambda: not page.all("dialog"))
        page.click("#confirm")
        page.one(".toast", "nut is registered")
        page.open("/products")
        page.one(".product .button", "Rename")
        assert "Remove" not in page.text("#products")
        page.click("#sign-out")
        page.one("#login")
        page.url = own
    complaints = page.complaints()
    assert all("401" in complaint for complaint in complaints), complaints


def test_what_the_cameras_saw_is_shown_and_forgotten(page: Page, station: Served) -> None:
    products = station.station.products
    collector = products._collector
    assert collector is not None
    until(lambda: collector._pending or products.seen_frames().times.sum())
    collector._write()
    page.open("/health")
    page.one("#cohort", "not as")
    assert "stand for" in page.text("#cohort") and page.faults() == []
    page.click("#cohort button", "Forget them")
    page.one("dialog", "another light")
    page.click("dialog button", "Forget them")
    page.one("#cohort", "Nothing is kept yet")
    assert len(products.seen_frames().identifiers) == 0

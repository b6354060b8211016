"""The report in a real browser: it opens, asks for nothing, plays, and serves fingers, keys and dark rooms."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from lsnn_gym.report.palette import PALETTE
from tests.report.conftest import replays_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


Opens = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opens]:
    """Open a page; at the end see that nothing went wrong on it, and that it asked for nothing but itself."""
    contexts, complaints, requests = [], [], []

    def open_page(path: Path, *, stopped_clock: bool = False, **context: Any) -> Page:
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None,
        )
        page.on("request", lambda asked: requests.append(asked.url))
        if stopped_clock:
            page.clock.install()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-charts]", state="attached")
        if stopped_clock:
            page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 60)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in requests) == len(contexts)


@pytest.fixture(scope="module")
def episodes(maze_page: Path) -> list[dict[str, Any]]:
    return replays_of(maze_page.read_text(encoding="utf-8"))


def agent_at(page: Page) -> tuple[float, float]:
    """Return where the agent is drawn, in the maze's own units."""
    agent = page.locator("#agent")
    return float(agent.get_attribute("cx") or "nan"), -float(agent.get_attribute("cy") or "nan")


def step_of(page: Page) -> int:
    return int(page.locator("#scrub").input_value())


def scrub_to(page: Page, step: int) -> None:
    page.locator("#scrub").fill(str(step))


def test_scrubbing_shows_the_step_that_the_episode_has_there(opened: Opens, maze_page, episodes):
    page = opened(maze_page)
    arena, values, _ = episodes[0]["views"]
    for step in (0, 1, 17, 59, 30):
        scrub_to(page, step)
        x, y = arena["path"][step]
        assert agent_at(page) == pytest.approx((x, y), abs=1e-9)
        status = page.locator("#status").inner_text().replace("−", "-")
        assert status.startswith(f"step {step + 1} of 60 · at x {x:.2f}, y {y:.2f}")
        walls = sum(when <= step for when in arena["walls"])
        assert f"· {walls} wall hit{'s' * (walls != 1)} ·" in status
        assert float(status.split("value ")[1].split()[0]) == pytest.approx(
            values["lines"][0]["values"][step], abs=0.006
        )
        cursors = page.locator("[data-over-time] > svg:last-child line")
        assert {each.get_attribute("x1") for each in cursors.all()} == {f"{step + 0.5:g}"}


def test_where_the_agent_says_that_the_goal_is(opened: Opens, maze_page, episodes):
    page = opened(maze_page)
    arena = episodes[0]["views"][0]
    for step in (0, 31):
        scrub_to(page, step)
        told = page.locator("#told")
        ends = [float(told.get_attribute(name) or "nan") for name in ("x1", "y1", "x2", "y2")]
        (x1, y1), (x2, y2) = arena["path"][step], arena["told"][step]
        assert ends == pytest.approx([x1, -y1, x2, -y2], abs=1e-9)
        assert (x2, y2) != (x1, y1)


def test_the_way_is_drawn_up_to_now(opened: Opens, maze_page, episodes):
    page = opened(maze_page)
    arena = episodes[0]["views"][0]
    drawn = page.locator("#stage path")
    for step in (0, 25, 59):
        scrub_to(page, step)
        text = "".join(each.get_attribute("d") or "" for each in drawn.all())
        assert text.count("L") + text.count("M") == step + 1
        dots = page.locator("#stage circle[style*='--wall']:visible")
        assert dots.count() == sum(when <= step for when in arena["walls"])


def test_playing_moves_the_agent_and_stops_at_the_end(opened: Opens, maze_page, episodes):
    page = opened(maze_page)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator("#status")).to_have_text(re.compile(r"^step [1-5][0-9] of"))
    assert agent_at(page) != tuple(episodes[0]["views"][0]["path"][0])
    page.locator("#speed").select_option("8")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert step_of(page) == 59
    assert agent_at(page) == pytest.approx(tuple(episodes[0]["views"][0]["path"][59]))
    page.get_by_role("button", name="Play").click()  # once more, from the start
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


@pytest.mark.parametrize(("speed", "steps"), [("0.25", 5), ("0.5", 10), ("1", 20), ("2", 40)])
def test_a_second_of_play_is_as_many_steps_as_the_speed_says(opened: Opens, maze_page, speed, steps):
    page = opened(maze_page, stopped_clock=True)
    page.locator("#speed").select_option(speed)
    page.locator("#play").click()
    page.clock.run_for(1000)
    page.locator("#play").click()
    assert step_of(page) == pytest.approx(steps, abs=1)
    page.clock.run_for(1000)
    assert step_of(page) == pytest.approx(steps, abs=1)  # stopped


def pictures_in_two_seconds(page: Page) -> int:
    page.evaluate(
        """() => {
            window.moves = 0;
            new MutationObserver(() => { window.moves += 1; })
                .observe(document.getElementById("agent"), { attributes: true, attributeFilter: ["cx"] });
        }"""
    )
    page.locator("#play").click()
    for _ in range(20):  # observers hear of changes between these
        page.clock.run_for(100)
    return page.evaluate("window.moves")


def test_for_readers_who_want_little_motion_the_picture_changes_twice_a_second(opened: Opens, maze_page):
    lively = opened(maze_page, stopped_clock=True)
    assert pictures_in_two_seconds(lively) >= 15
    calm = opened(maze_page, stopped_clock=True, reduced_motion="reduce")
    assert 3 <= pictures_in_two_seconds(calm) <= 4
    assert step_of(calm) == pytest.approx(step_of(lively), abs=11)
    assert calm.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_all_can_be_done_by_keys(opened: Opens, maze_page):
    page = opened(maze_page, stopped_clock=True)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "(() => { const { id, tagName, hash } = document.activeElement; return id || hash || tagName; })()"
        )
        if focus in reached and focus in ("play", "BODY"):
            break  # once around
        if focus == "play":
            page.keyboard.press("Space")
            page.clock.run_for(500)
            page.keyboard.press("Space")
            assert step_of(page) == pytest.approx(10, abs=1)
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
        if focus == "scrub":
            for key, step in (
                ("End", 59),
                ("ArrowLeft", 58),
                ("Home", 0),
                ("ArrowRight", 1),
                ("Shift+ArrowRight", 11),
            ):
                page.keyboard.press(key)
                assert step_of(page) == step
            page.keyboard.press("Space")
            page.clock.run_for(500)
            page.keyboard.press("Space")
            assert step_of(page) == pytest.approx(21, abs=1)
            assert (
                page.locator("#scrub").get_attribute("aria-valuetext") == page.locator("#status").inner_text()
            )
        if focus == "SUMMARY":
            page.keyboard.press("Enter")
            expect(page.locator("details")).to_have_attribute("open", "")
        reached.append(focus)
    assert {"#replay", "play", "scrub", "speed", "episode", "SUMMARY"} <= set(reached)


def test_keys_work_without_a_focus_too(opened: Opens, maze_page):
    page = opened(maze_page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert step_of(page) == 2
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Stop")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#play")).to_have_text("Play")


def test_another_episode_is_shown_from_its_start(opened: Opens, maze_page, episodes):
    page = opened(maze_page)
    scrub_to(page, 40)
    page.locator("#episode").select_option(index=1)
    assert step_of(page) == 0
    scrub_to(page, 33)
    assert agent_at(page) == pytest.approx(tuple(episodes[1]["views"][0]["path"][33]))


def test_a_press_on_the_raster_goes_there_and_dragging_goes_along(opened: Opens, maze_page):
    page = opened(maze_page)
    box = page.locator("[data-over-time]").last.bounding_box()
    assert box is not None

    def at(step: int) -> tuple[float, float]:
        return box["x"] + (step + 0.5) / 60 * box["width"], box["y"] + 10

    page.mouse.move(*at(45))
    page.mouse.down()
    assert step_of(page) == 45
    page.mouse.move(*at(12))
    assert step_of(page) == 12
    page.mouse.up()
    page.mouse.move(*at(50))
    assert step_of(page) == 12


def test_a_phone_shows_it_without_scrolling_sideways_and_a_finger_plays(opened: Opens, maze_page):
    page = opened(maze_page, viewport=PHONE, has_touch=True)
    page.locator("summary").tap()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    for name in (
        "#stage svg",
        "#play",
        "#scrub",
        "#speed",
        "#episode",
        "#status",
        "[data-over-time] >> nth=1",
    ):
        box = page.locator(name).bounding_box()
        assert box is not None, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= PHONE["width"], name
    page.locator("#play").tap()
    expect(page.locator("#status")).to_have_text(re.compile(r"^step [1-6][0-9] of"))


def colors_of(page: Page) -> set[str]:
    """Return the colours of the raster."""
    url = page.locator("figure.tall canvas").evaluate("(canvas) => canvas.toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")
    pixels = np.unique(np.asarray(picture).reshape(-1, 4), axis=0)
    return {"#{:02x}{:02x}{:02x}".format(*pixel[:3]) for pixel in pixels if pixel[3] == 255}


def rgb(color: str) -> str:
    return "rgb({}, {}, {})".format(*(int(color[at : at + 2], 16) for at in (1, 3, 5)))


def test_in_the_dark_all_is_dark_also_when_night_falls_later(opened: Opens, maze_page):
    page = opened(maze_page)
    for scheme, mode in (("light", 0), ("dark", 1)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_selector(f"html[data-charts={scheme}]", state="attached")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == rgb(PALETTE["ground"][mode])
        assert PALETTE["group-0"][mode] in colors_of(page)
        assert PALETTE["group-0"][1 - mode] not in colors_of(page)
        axes = page.evaluate(
            "Bokeh.documents.at(-1).roots()[0].left.map((each) => each.major_label_text_color)"
        )
        assert axes == [PALETTE["quiet"][mode]]


def test_all_charts_are_drawn(opened: Opens, maze_page):
    page = opened(maze_page)
    places = page.locator("[data-chart]")
    titles = page.locator(".chart h3").all_inner_texts()
    assert places.count() == len(titles) == 7  # three of the training, firing rates, three matrices
    for place in places.all():
        box = place.locator("canvas").first.bounding_box()
        assert box is not None
        assert box["width"] >= 200
        assert box["height"] >= 100


@pytest.mark.parametrize("name", ["task", "classes", "curves", "surfaces", "points"])
def test_every_kind_of_report_opens_and_plays_on_a_phone(opened: Opens, family_pages, name):
    page = opened(family_pages[name], viewport=PHONE)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    last = int(page.locator("#scrub").get_attribute("max") or 0)
    said = set()
    for step in range(min(last, 5)):
        scrub_to(page, step)
        said.add(page.locator("#status").inner_text())
    assert len(said) == min(last, 5)
    page.locator("#speed").select_option("8")
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Play", timeout=10_000)
    assert step_of(page) == last


def test_beliefs_change_as_examples_come_in(opened: Opens, family_pages):
    page = opened(family_pages["curves"])
    drawn = []
    for step in range(6):
        scrub_to(page, step)
        drawn.append(page.locator("#belief").get_attribute("d"))
        assert page.locator("#stage circle:visible").count() == step
    assert len(set(drawn)) == 6

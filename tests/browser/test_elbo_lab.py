"""The ELBO lab in a real browser: q is dragged over the true posterior, and the sum stays."""

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
import torch

from tests.browser.conftest import save_untrained, serve, settle
from tests.toys import build

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import expect

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def lab(open_page, app, **look):
    page = open_page(f"{app}/elbo-lab?model=digits-d2&test_image=5", **look)
    pad = page.get_by_test_id("posterior-pad")
    expect(pad).to_have_attribute("data-elbo", re.compile(r"^-\d"))
    return page, pad


def numbers(pad) -> tuple[float, float]:
    return tuple(float(pad.get_attribute(f"data-{name}")) for name in ("elbo", "sum"))


def handle(pad, box, number: int) -> tuple[float, float]:
    """Where on the page the handle of μ (0), σ₁ (1) or σ₂ (2) is."""
    x, y = json.loads(pad.get_attribute("data-handles"))[number]
    return box["x"] + x, box["y"] + y


def metric(page, label: str):
    return page.get_by_test_id("stMetric").filter(has_text=re.compile(f"^{label}")).get_by_test_id("stMetricValue")


def test_dragging_q_moves_elbo_and_gap_but_not_their_sum_and_reports_once(app, open_page):
    page, pad = lab(open_page, app)
    expect(metric(page, "ELBO")).to_contain_text("nats")
    exact, evidence = metric(page, "ELBO").inner_text(), metric(page, "log p").inner_text()
    elbo, total = numbers(pad)
    assert total == pytest.approx(float(evidence.split(" ")[0].replace("−", "-")), abs=0.1)
    canvas = pad.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = handle(pad, box, 0)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 40, steps=8)
    moved, same = numbers(pad)
    assert pad.get_attribute("data-reports") is None
    page.mouse.up()
    assert moved != elbo
    assert same == pytest.approx(total, abs=0.1)
    expect(pad).to_have_attribute("data-reports", "1")
    expect(metric(page, "ELBO")).not_to_have_text(exact)
    expect(metric(page, "log p")).to_have_text(evidence)
    settle(page)
    rested = float(metric(page, "ELBO").inner_text().split(" ")[0].replace("−", "-"))
    assert rested == pytest.approx(moved, abs=0.3)
    page.wait_for_function(
        "([pad, elbo]) => Math.abs(Number(pad.dataset.elbo) - elbo) < 1e-3", arg=[pad.element_handle(), rested]
    )


def test_each_white_handle_changes_the_width_of_its_dimension_alone(app, open_page):
    page, pad = lab(open_page, app)
    total = numbers(pad)[1]
    canvas = pad.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for number, (right, up) in ((1, (25, 0)), (2, (0, 25))):
        before = [handle(pad, box, i) for i in range(3)]
        page.mouse.move(*before[number])
        page.mouse.down()
        page.mouse.move(before[number][0] + right, before[number][1] - up, steps=6)
        page.mouse.up()
        after = [handle(pad, box, i) for i in range(3)]
        assert after[number] == pytest.approx((before[number][0] + right, before[number][1] - up), abs=1.5)
        assert [after[i] for i in range(3) if i != number] == [before[i] for i in range(3) if i != number]
        assert numbers(pad)[1] == pytest.approx(total, abs=0.1)
        expect(pad).to_have_attribute("data-reports", str(number))
        settle(page)


def test_keys_move_q_and_back_to_the_encoder(app, open_page):
    page, pad = lab(open_page, app)
    elbo, total = numbers(pad)
    pad.get_by_role("application").focus()
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    expect(pad).to_have_attribute("data-reports", "1")
    assert numbers(pad)[0] != elbo
    assert numbers(pad)[1] == pytest.approx(total, abs=0.1)
    page.get_by_role("button", name="Back to the encoder").click()
    page.wait_for_function(
        "([pad, elbo]) => Math.abs(Number(pad.dataset.elbo) - elbo) < 1e-6", arg=[pad.element_handle(), elbo]
    )


@pytest.mark.parametrize(("key", "moved"), [("ArrowUp", 1), ("Shift+ArrowUp", 3)])
def test_a_key_changes_one_number_of_a_q_that_the_window_would_not_allow(app, open_page, key, moved):
    """μ beyond the whole plane, σ under a 300th of it: what is not moved stays, and what is moved does not leap."""
    q = "6,0.5,0.004,0.004"  # as the page itself writes it
    page = open_page(f"{app}/elbo-lab?model=digits-d2&test_image=5&elbo_part=Whole+plane&q={q}")
    pad = page.get_by_test_id("posterior-pad")
    expect(pad).to_contain_text("beyond what is drawn, μ = (6.000, 0.500), σ = (0.004, 0.004)")
    pad.get_by_role("application").focus()
    page.keyboard.press(key)
    expect(pad).to_have_attribute("data-reports", "1")
    page.wait_for_function("q => ![null, q].includes(new URLSearchParams(location.search).get('q'))", arg=q)
    after = parse_qs(urlsplit(page.url).query)["q"][0].split(",")
    assert [i for i, value in enumerate(q.split(",")) if after[i] != value] == [moved]


@pytest.fixture
def dense(browser, tmp_path):  # noqa: ARG001 (no browser, no server)
    """An app with a model under which a picture's density is over 1, so that −log p(x) is negative."""
    model = build(shape=(1, 32, 32), likelihood="gaussian", sigma=0.2, widths=(16,))
    with torch.no_grad():
        model.decoder.head.bias.fill_(-4.0)  # black, as nearly all of a sprite is
    name = save_untrained(model, tmp_path)
    with serve("app.py", VAE_RUNS=str(tmp_path)) as url:
        yield url, name


def test_the_bars_are_drawn_where_a_density_is_over_one(dense, open_page):
    app, model = dense
    page = open_page(f"{app}/elbo-lab?model={model}&test_image=96")
    pad = page.get_by_test_id("posterior-pad")
    expect(pad).to_have_attribute("data-elbo", re.compile(r"^\d"))
    widths = pad.locator(".bars rect").evaluate_all("all => all.map((one) => Number(one.getAttribute('width')))")
    assert len(widths) == 4
    assert widths[0] > 5
    assert widths[2] > 5
    assert sum(widths[:2]) == pytest.approx(sum(widths[2:]), abs=0.1)


def test_improving_q_is_seen_and_closes_some_of_the_gap(app, open_page):
    page, pad = lab(open_page, app)
    elbo, total = numbers(pad)
    page.evaluate(
        """pad => {
            window.seen = new Set();
            new MutationObserver(() => window.seen.add(pad.dataset.elbo)).observe(pad, { attributes: true });
        }""",
        pad.element_handle(),
    )
    page.get_by_role("button", name="Improve q").click()
    page.get_by_text("amortisation gap").wait_for()
    page.wait_for_function("window.seen.size > 5")
    page.wait_for_function("([pad, elbo]) => Number(pad.dataset.elbo) > elbo", arg=[pad.element_handle(), elbo])
    assert numbers(pad)[1] == pytest.approx(total, abs=0.1)


@pytest.mark.parametrize(("number", "on_q"), [(0, True), (1, True), (2, True), (None, False)])
def test_a_finger_on_q_drags_it_and_beside_it_scrolls(app, open_page, number, on_q):
    page, pad = lab(open_page, app, **PHONE)
    canvas = pad.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    settle(page)
    box = canvas.bounding_box()
    x, y = (box["x"] + 20, box["y"] + box["height"] - 40) if number is None else handle(pad, box, number)
    before = pad.get_attribute("data-handles")
    touch = page.context.new_cdp_session(page)
    for kind, way in [("touchStart", 0), ("touchMove", 15), ("touchMove", 30), ("touchMove", 45), ("touchEnd", None)]:
        points = [] if way is None else [{"x": x + way, "y": y - way, "id": 0}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    if on_q:
        expect(pad).to_have_attribute("data-reports", "1")
        assert canvas.bounding_box()["y"] == box["y"]
    else:
        page.wait_for_function(
            "([canvas, y]) => canvas.getBoundingClientRect().y < y", arg=[canvas.element_handle(), box["y"]]
        )
    assert (pad.get_attribute("data-handles") != before) == on_q


def test_the_bars_show_where_they_are_cut(app, open_page):
    _, pad = lab(open_page, app)
    bars = pad.locator(".bars rect")
    cut = pad.locator(".bars .break").bounding_box()
    for number in (0, 2):
        bar = bars.nth(number).bounding_box()
        assert bar["x"] < cut["x"] < cut["x"] + cut["width"] < bar["x"] + bar["width"]
    texts = pad.locator(".bars text").all_text_contents()
    assert texts[1] == "0"
    assert 0 < float(texts[2]) < float(texts[3].split()[0])


def test_a_small_q_leaves_the_posterior_to_be_seen(app, open_page):
    page = open_page(f"{app}/elbo-lab?model=mnist-d2&test_image=0&elbo_part=Whole+plane")
    pad = page.get_by_test_id("posterior-pad")
    expect(pad).to_have_attribute("data-elbo", re.compile(r"^-\d"))
    (x, y), *others = json.loads(pad.get_attribute("data-handles"))
    assert all(abs(a - x) + abs(b - y) > 20 for a, b in others)
    opaque = pad.get_by_role("application").evaluate(
        """(canvas, [x, y]) => {
            const density = canvas.width / canvas.clientWidth, side = Math.round(14 * density);
            const from = [x, y].map((value) => Math.round(value * density - side / 2));
            const { data } = canvas.getContext("2d").getImageData(...from, side, side);
            return data.filter((value, i) => i % 4 === 3 && value > 250).length / (side * side);
        }""",
        [x, y],
    )
    assert opaque < 0.25


def test_it_fits_a_phone(app, open_page):
    page, _ = lab(open_page, app, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_choice_of_the_picture_is_whole_at_every_width(app, open_page):
    page, _ = lab(open_page, app)
    choice = page.get_by_test_id("stButtonGroup").first
    for width in (1024, 1280, 1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            """(group) => {
                const whole = group.getBoundingClientRect();
                const parts = [...group.querySelectorAll("button")].map((part) => part.getBoundingClientRect());
                const fits = (part) => part.left >= whole.left && part.right <= Math.min(whole.right, innerWidth) + 1;
                return parts.length === 3 && parts.every((part) => part.width > 60 && fits(part));
            }""",
            arg=choice.element_handle(),
        )

"""Bounds, Reparameterisation, Amortised and classical, run as Streamlit runs them, with every shipped model."""

import io
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.charts import read
from tests.toys import build
from tests.waiting import PATIENCE
from ui import amortised_view, bounds_view, gradient_view, state, understand
from ui.components.gaussian import Gaussian, read_gaussian
from ui.components.noise_map import noise_map_props
from ui.state import Entry
from vae_core import data
from vae_core.bounds import LogLikelihood, bound_curve
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.evaluate import binarise, snapshot
from vae_core.gradients import Moments, gradient_draws
from vae_core.measured import MeanLikelihood, keep

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))
EVERY = pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
PAGES = ("bounds", "reparameterisation", "amortised_and_classical")


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer chains, steps and images, and nothing kept from other tests."""
    monkeypatch.setattr(bounds_view, "CHAINS", 4)
    monkeypatch.setattr(bounds_view, "TEMPERATURES", 8)
    monkeypatch.setattr(bounds_view, "TABLE_IMAGES", 4)
    monkeypatch.setattr(bounds_view, "TABLE_DRAWS", 20)
    monkeypatch.setattr(gradient_view, "DRAWS", 40)
    monkeypatch.setattr(gradient_view, "STEPS", 4)
    monkeypatch.setattr(amortised_view, "IMAGES", 3)
    monkeypatch.setattr(amortised_view, "STEPS", 6)
    monkeypatch.setattr(amortised_view, "DRAWS", 64)
    monkeypatch.setattr(amortised_view, "_CHAINS", 4)
    monkeypatch.setattr(amortised_view, "_TEMPERATURES", 6)
    understand._results.clear()


def open_page(page: str, model: str, **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    for name, value in (settings | {"model": model}).items():
        app.query_params[name] = value
    app = app.run().switch_page(f"pages/understand/{page}.py").run()
    assert not app.exception
    assert not app.error
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    assert not app.error
    return app


def number(text: str) -> float:
    return float(re.sub(r"[^\d.−-]", "", text.split(" ")[0]).replace("−", "-"))


def metrics(app: AppTest) -> dict[str, float]:
    return {one.label: number(one.value) for one in app.metric}


@EVERY
def test_bounds_of_every_shipped_model(path: Path) -> None:
    """The numbers stand in their order, and the estimate by annealing joins them when asked for."""
    app = open_page("bounds", path.stem, test_image="2")
    found = metrics(app)
    assert found["ELBO = L₁"] <= found["L₅₀₀₀"]
    assert ("log p(x), exact" in found) == (load(path).model.config.latent_dim <= 2)
    assert "By annealing" not in found
    assert "By annealing" in metrics(press(app, "Anneal"))
    assert "By annealing" in metrics(app.run())  # kept


def test_table_has_every_shipped_model_and_says_of_how_many_images() -> None:
    app = open_page("bounds", "digits-d2")
    (whole,) = app.dataframe
    assert len(whole.value) == len(CHECKPOINTS)
    assert (whole.value["log p(x), nats"] < 0).all()
    table = press(app, "Measure all").dataframe[1].value
    assert len(table) == len(CHECKPOINTS)
    assert {int(images.removesuffix(", decoded")) for images in table["Images"]} == {4}
    assert (table["ELBO, nats"] <= table["L₂₀, nats"]).all()
    assert "first 4 test images" in " ".join(element.value for element in app.markdown)


@EVERY
def test_reparameterisation_of_every_shipped_model(path: Path) -> None:
    app = open_page("reparameterisation", path.stem)
    costs = metrics(app)
    assert costs["Reparameterised"] == 1
    assert costs["Score function"] > costs["Score function, baseline"] > 1
    table = app.dataframe[0].value
    assert len(table) == 3 * 4
    assert ("Exact, nats" in table) == (load(path).model.config.latent_dim == 2)
    fewest = app.segmented_control(key="reparameterisation_samples")
    fewest.set_value(int(fewest.options[0])).run()
    assert not app.exception
    assert not app.error


def test_a_model_of_one_dimension_is_offered_models_of_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, test = build(latent_dim=1).eval(), data.load("digits").test
    record = {"train": {"dataset": "digits", "beta": 1.0}, "class_names": [str(one) for one in range(10)]}
    save(tmp_path / "line.safetensors", Checkpoint(model, record, snapshot(model, test, 8)))
    shutil.copy(ROOT / "checkpoints" / "digits-d2.safetensors", tmp_path)
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    app = open_page("reparameterisation", "line")
    assert "this model has one" in app.info[0].value
    assert not app.metric
    app.button(key="offered_digits-d2").click().run()
    assert not app.exception
    assert metrics(app)["Reparameterised"] == 1


@EVERY
def test_amortised_and_classical_of_every_shipped_model(path: Path) -> None:
    """The parts of the gap add up to log p(x) − ELBO in the table, and the answer stays."""
    app = open_page("amortised_and_classical", path.stem, amortised_first="1")
    assert app.info
    for _ in range(2):
        table = press(app, "Optimise q for each").dataframe[0].value
        gap = table["log p(x), nats"] - table["ELBO of the encoder, nats"]
        np.testing.assert_allclose(
            table[["Amortisation, nats", "Independence, nats", "Shape, nats"]].sum(axis=1), gap, rtol=1e-9
        )
        assert list(table["Test image"]) == ["1", "2", "3"]
        assert not app.info
        if load(path).model.config.latent_dim <= 2:
            assert (table["Shape, nats"] > -1e-3).all(), "no ELBO lies above an exact log p(x)"
        assert (table["Independence, nats"] >= 0).all(), "a full covariance may be a diagonal one"


def test_one_latent_dimension_has_one_family() -> None:
    """A Gaussian in one dimension has no other covariance than its variance."""
    model = build(latent_dim=1).eval()
    test = data.load("digits").test
    checkpoint = Checkpoint(model, {}, snapshot(model, test, 8))
    found = amortised_view.compare(Entry("one", Path("one.safetensors")), checkpoint, test.images[:3], lambda *_: None)
    assert list(found.gaps) == ["amortisation", "shape"]
    assert (found.gaps["shape"] > -1e-3).all()
    words = amortised_view.sentence(found)
    assert "independent" not in words
    drawn = amortised_view.quality(found.seconds, found.course, one_family=True)
    assert [trace.name for trace in drawn.data] == ["image by image", "the encoder"]
    assert re.search(r"are amortisation, and [\d.−]+ come from what no Gaussian can follow\.$", words)


@pytest.mark.parametrize("page", ["understand/reparameterisation", "understand/derivation", "explore/reconstruct"])
def test_the_image_is_the_same_on_every_page_that_has_one(page: str) -> None:
    app = open_page("bounds", "digits-d2", test_image="5")
    app.query_params.clear()  # as the navigation does
    app.switch_page(f"pages/{page}.py").run()
    assert app.number_input(key="test_image").value == 5
    app.number_input(key="test_image").set_value(6).run()
    assert app.query_params["test_image"] == "6"
    app.query_params["test_image"] = "0"
    app.switch_page("pages/understand/bounds.py").run()
    assert app.number_input(key="test_image").value == 0


def test_a_dropped_picture_is_the_same_on_every_page_of_the_section() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["model"], app.query_params["picture_source"] = "digits-d2", "Upload"
    app = app.run().switch_page("pages/understand/bounds.py").run()
    assert "Drop a picture" in app.info[0].value
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)).save(buffer, "PNG")
    app.file_uploader(key="reconstruct_files").set_value([("mine.png", buffer.getvalue(), "image/png")])
    assert metrics(app.run())
    app.switch_page("pages/understand/reparameterisation.py").run()
    assert not app.exception
    assert not app.info
    assert "mine.png" in " ".join(element.value for element in app.caption)
    assert metrics(app)["Reparameterised"] == 1


def test_pixels_are_those_that_the_command_line_draws() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 5), dtype=np.uint8)
    drawn = binarise(images, 0)
    for index in (0, 3, 8):
        np.testing.assert_array_equal(understand.binarised(images[index], index), drawn[index])


def test_verdict_follows_the_effective_draws() -> None:
    equal, spread, one = np.zeros(1000), np.zeros(1000), np.zeros(1000)
    spread[:40], one[0] = 8.0, 50.0
    assert "1,000 of 1,000" in bounds_view.verdict(equal, None)
    assert "has arrived" in bounds_view.verdict(equal, None)
    assert "outweigh" in bounds_view.verdict(spread, None)
    said = bounds_view.verdict(one, float(50 - np.log(1000)) + 3)
    assert "lucky" in said
    assert "3.00 nats below the exact" in said


def test_an_estimate_by_annealing_is_trusted_as_far_as_its_chains_count() -> None:
    few, some, most = (LogLikelihood(np.array([-90.0]), np.array([0.5]), np.array([k]), 16) for k in (1.6, 8.6, 13.0))
    said = bounds_view.annealed_verdict(few, None)
    assert "Of 16 annealed chains 1.6 count" in said
    assert "too low" in said
    said = bounds_view.annealed_verdict(some, None)
    assert "8.6 count" in said
    assert "may be too low by more than its ± shows" in said
    said = bounds_view.annealed_verdict(most, -88.5)
    assert "13.0 count" in said
    assert "tells its error" in said
    assert "1.50 nats below the exact" in said
    assert "1.00 nats above the exact" in bounds_view.annealed_verdict(most, -91.0)
    for second in (few, some):
        assert "too low" in bounds_view.annealed_verdict(second, -88.5)  # by three of its errors
        said = bounds_view.annealed_verdict(second, -91.0)
        assert "too low" not in said
        assert "1.00 nats above the exact" in said


def test_histogram_marks_the_two_averages() -> None:
    """The mean of log w, and the log of the mean w; each colour's shares add up to 1."""
    log_weights = np.random.default_rng(0).normal(size=4000)
    chart = read(bounds_view.histogram(log_weights, None))
    draws, weight, *lines = chart.data
    assert sum(draws.y) == pytest.approx(1)
    assert sum(weight.y) == pytest.approx(1)
    wanted = [log_weights.mean(), np.log(np.exp(log_weights).mean())]
    assert [line.x[0] for line in lines] == pytest.approx(wanted)
    assert f"{wanted[1] - wanted[0]:.2f}" in chart.layout.annotations[1].text


def test_curve_shows_what_is_known_and_no_more() -> None:
    curve = bound_curve(np.random.default_rng(0).normal(size=(1, 5000)))
    second = LogLikelihood(np.array([0.5]), np.array([0.1]), np.array([8.0]), 16)
    names = [
        [trace.name for trace in read(bounds_view.curve_figure(curve, *known)).data]
        for known in ((None, None), (0.5, second))
    ]
    assert [len(found) for found in names] == [1, 3]
    assert bounds_view.curve_csv(curve).splitlines()[0] == "k,bound,standard_error"


def test_a_measured_log_likelihood_is_told_beside_the_paper_s(tmp_path: Path) -> None:
    train = {"dataset": "mnist", "beta": 1.0}
    record = {"train": train, "epoch": 89, "log_likelihood": {"value": -1.0}}
    model = build(shape=(1, 28, 28), latent_dim=50)
    for name, said in (("with", record), ("without", {"train": train})):
        save(tmp_path / name, Checkpoint(model, said))
        keep(tmp_path / name, MeanLikelihood(10_000, 5000, -87.128, 0.0101, 0.2))
    words = bounds_view.measured_words(Entry("with", tmp_path / "with"))
    assert "over 10,000 test images with 5,000 draws" in words
    assert "log p(x) ≥ L₅₀₀₀ = **−87.13 nats**. For" in words
    assert "report −86.76 nats after 3,280 epochs; this model saw 89." in words
    assert bounds_view.measured_words(Entry("without", tmp_path / "without")) is None


def test_costs_are_ratios_of_total_variance() -> None:
    random = np.random.default_rng(0)
    draws = dict(
        zip(gradient_view.ESTIMATORS, (scale * random.normal(size=(50_000, 4)) for scale in (1, 10, 3)), strict=True)
    )
    found = gradient_view.costs(gradient_view.Gradients(draws, None))
    assert [cost for cost, _ in found.values()] == pytest.approx([1, 100, 9], rel=0.03)
    exact = Moments(np.zeros(4), {one: np.full(4, scale) for one, scale in zip(draws, (2, 50, 9), strict=True)})
    found = gradient_view.costs(gradient_view.Gradients(draws, exact))
    assert list(found.values()) == [(1, 0), (25, 0), (4.5, 0)]


def test_the_error_of_a_cost_is_what_seeds_do() -> None:
    """The spread of 400 costs, each from 200 draws, of heavy tails that are the same for all estimators: to a fifth."""
    random = np.random.default_rng(0)
    seen = []
    for _ in range(400):
        noise = random.normal(size=(200, 4))
        draws = dict(zip(gradient_view.ESTIMATORS, (noise, noise * np.abs(noise), 3 * noise), strict=True))
        seen.append(list(gradient_view.costs(gradient_view.Gradients(draws, None)).values()))
    costs, errors = np.array(seen).transpose(2, 1, 0)
    assert errors[1].mean() == pytest.approx(costs[1].std(), rel=0.2)
    assert errors[[0, 2]].max() < 1e-6


def test_a_walk_is_summed_up_in_words() -> None:
    def walks(*ends: float, d: int = 2) -> gradient_view.Walks:
        elbo = {one: np.array([-100.0, end]) for one, end in zip(gradient_view.ESTIMATORS, ends, strict=True)}
        return gradient_view.Walks(dict.fromkeys(elbo, np.zeros((2, d))), {}, elbo)

    said = gradient_view.lesson(walks(-90, -5000, -90.4))
    assert said.startswith("From −100.0 nats, sixty reparameterised steps come to **−90.0 nats**.")
    assert "The score function is lost: it ends at **−5,000.0 nats**" in said
    assert "With a baseline it keeps up." in said
    assert "In two dimensions" not in said, "one walk of each says nothing of dimensions"
    said = gradient_view.lesson(walks(-90, -96.5, -88, d=16))
    assert "The score function ends 6.5 nats lower than the reparameterised one." in said
    assert "With a baseline it ends 2.0 nats higher than the reparameterised one." in said


def test_gradients_are_kept_as_the_model_gives_them() -> None:
    path = next(path for path in CHECKPOINTS if path.stem == "digits-d2")
    image, d2 = data.load("digits").test.images[0], np.array([0.3, 0.5])
    found = gradient_view.gradients(Entry("digits-d2", path), load(path), image, d2, d2)
    assert {draws.dtype.name for draws in found.draws.values()} == {"float32"}
    exact = gradient_draws(load(path).model, image, d2, d2, gradient_view.DRAWS)
    assert all((found.draws[one] == draws).all() for one, draws in exact.items())


def test_numbers_of_any_size_have_two_digits() -> None:
    shown = [gradient_view.two_digits(value) for value in (0.01234, 4.04, 79.34, 123.4, 1809.2, 1_234_567.0)]
    assert shown == ["0.012", "4", "79", "120", "1,800", "1,200,000"]
    costs = [(1, 0), (79.34, 0), (118.2, 4.8), (7.31, 0.94), (1090.7, 43.8)]
    said = ["1 draw", "79 draws", "118 ± 5 draws", "7.3 ± 0.9 draws", "1,091 ± 44 draws"]
    assert [gradient_view.draws_needed(*cost) for cost in costs] == said


def test_noise_map_starts_at_the_subject_and_believes_no_nonsense() -> None:
    start = Gaussian((0.5, -1.0), (0.2, 0.4))
    props = noise_map_props(np.zeros((3, 2)), np.array([[4.0, -5.0]]), start, "digits-d2 3", ("z₁", "z₂"), "q")
    assert props["mu"] == [0.5, -1.0]
    assert props["reach"] > 5
    good = {"subject": "a", "mu": [1, 2.5], "sigma": [0.1, 1]}
    assert read_gaussian(good, "a") == Gaussian((1.0, 2.5), (0.1, 1.0))
    wrong = [
        None,
        good | {"subject": "b"},
        good | {"mu": [1]},
        good | {"mu": "12"},
        good | {"mu": [1, float("nan")]},
        good | {"mu": [1, 10**400]},
        good | {"mu": [1, 1e9]},
        good | {"sigma": [0, 1]},
        good | {"sigma": [-1, 1]},
    ]
    assert [read_gaussian(one, "a") for one in wrong] == [None] * len(wrong)


def test_results_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(understand, "_KEPT", 3)
    calls = []

    def compute(progress) -> int:
        progress(0.5, "half")
        calls.append(1)
        return len(calls)

    assert [understand.kept("a", compute, "…") for _ in range(2)] == [1, 1]
    for key in "bcd":
        understand.kept(key, compute, "…")
    assert understand.peek("a") is None
    assert understand.peek("d") == 4


def test_what_passes_does_not_push_out_what_is_shared():
    understand.kept("shared", lambda _: ["shared"], "…")
    for i in range(300):
        understand.kept(("passing", i), lambda _: ["passing"], "…", passing=True)
    assert understand.peek("shared") == ["shared"]
    again = []
    understand.kept(("passing", 299), again.append, "…", passing=True)
    assert not again
    understand.kept(("passing", 0), lambda _: again.append(1) or again, "…", passing=True)
    assert again == [1]


@pytest.mark.parametrize("index", [[0], [5], [3, 4, 5], [7, 2]])
def test_test_images_are_binarised_as_they_are_among_all(index):
    images = data.load("digits").test.images[:10]
    drawn = understand._drawn(images[index].tobytes(), images.shape[1:], tuple(index))
    for k, image in zip(index, drawn, strict=True):
        np.testing.assert_array_equal(image, binarise(images, 0)[k])
        np.testing.assert_array_equal(understand.binarised(images[k], k), image)


def _computing():
    import streamlit as st

    from ui import understand

    understand.kept("in its place", lambda _: ["found"], "…")
    st.text("after it")


def test_what_follows_a_result_stands_where_it_stood_while_that_was_computed() -> None:
    """Else the browser shows it twice, while something below takes its time."""
    app = AppTest.from_function(_computing, default_timeout=PATIENCE)
    places = []
    for _ in range(2):
        app.run()
        (place,) = (i for i, one in app.main.children.items() if getattr(one, "value", None) == "after it")
        places.append(place)
    assert places[0] == places[1]


def test_who_asks_for_what_is_being_computed_waits_for_it() -> None:
    begun, go_on, found = threading.Event(), threading.Event(), []

    def compute(_: object) -> list:
        begun.set()
        assert go_on.wait(20)
        return ["computed"]

    threads = [threading.Thread(target=lambda: found.append(understand.kept("same", compute, "…"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    time.sleep(0.05)  # for the other to ask
    assert found == []
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert found[0] is found[1]


def test_start_keeps_to_the_dimensions_that_carry_most() -> None:
    checkpoint = load(next(path for path in CHECKPOINTS if path.stem == "mnist-d16"))
    first, second = gradient_view.two_dimensions(checkpoint.snapshot)
    kl = 0.5 * (checkpoint.snapshot.mu**2 + np.exp(checkpoint.snapshot.logvar) - 1 - checkpoint.snapshot.logvar)
    assert {first, second} == set(np.argsort(kl.mean(0))[-2:].tolist())
    assert first < second


def _two_subjects() -> None:
    import numpy as np
    import streamlit as st

    from ui.components.gaussian import Gaussian
    from ui.components.noise_map import noise_map

    subject = st.text_input("subject", "a")
    cloud = np.zeros((2, 2))
    dragged = noise_map(cloud, cloud, Gaussian((0.0, 0.0), (1.0, 1.0)), key="m", subject=subject, names="12", label="q")
    st.text(f"{dragged.mu}")


def test_q_is_where_it_was_left_for_each_picture() -> None:
    app = AppTest.from_function(_two_subjects)
    for subject, mu in (("a", [1.0, 2.0]), ("b", [3.0, 4.0])):
        app.run().text_input[0].set_value(subject)
        app.session_state["m"] = {"dragged": {"subject": subject, "mu": mu, "sigma": [0.5, 0.5]}}
        assert app.run().text[0].value == str(tuple(mu))
    del app.session_state["m"]
    app.text_input[0].set_value("a")
    assert app.run().text[0].value == "(1.0, 2.0)"


def test_whole_sets_stand_by_data_the_best_first() -> None:
    shipped = [one for one in state.entries().values() if one.run is None]
    values: dict[str, list[float]] = {}
    for _, row in bounds_view.whole_sets(shipped).iterrows():
        values.setdefault(row["Model"].split(" ")[0], []).append(row["log p(x), nats"])
    assert list(values) == ["Digits", "MNIST", "Sprites"]
    assert all(one == sorted(one, reverse=True) for one in values.values())

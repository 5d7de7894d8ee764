"""The β page's sections on information, the aggregate posterior and disentanglement, run as Streamlit runs them."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.toys import build
from tests.waiting import PATIENCE, until
from ui import beta_view, disentanglement_view, holes_view, information_view, seen_codes, state
from vae_core import data, rate_distortion
from vae_core.checkpoint import Checkpoint, load, read_tensors, save, write_tensors
from vae_core.disentanglement import Disentanglement, disentanglement
from vae_core.evaluate import encode, snapshot
from vae_core.information import RateSplit, log_aggregate, split_rate

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))
TABS = ("Information", "Aggregate posterior", "Disentanglement")
RANGED = "digits-beta"


def open_tab(tab: str, model: str = RANGED) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["model"] = model
    app.query_params["beta_section"] = tab
    return ran(app.switch_page("pages/explore/beta.py"))


def ran(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    assert not app.error
    return app


def finished(app: AppTest) -> AppTest:
    """The app once nothing works in the background."""
    until(lambda: "Stop" not in [button.label for button in ran(app).button])
    return app


def number(app: AppTest, label: str) -> float:
    (value,) = (metric.value for metric in app.metric if metric.label == label)
    return float(value.split()[0].replace("−", "-"))


def words(app: AppTest) -> str:
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info])


@pytest.fixture
def sprites(monkeypatch, tmp_path) -> str:
    """A model of a range of β with random weights among the shipped ones."""
    dataset = data.load("sprites")
    model = build(shape=(1, 32, 32), latent_dim=4, widths=(8,), beta_range=(0.1, 10))
    record = {"train": {"dataset": "sprites", "beta": 1.0}, "factor_names": list(dataset.factor_names)}
    betas = rate_distortion.beta_snapshot(model, dataset.test.images[:200])
    save(tmp_path / "toy.safetensors", Checkpoint(model, record, snapshot(model, dataset.test, 200), betas))
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    return "toy"


@pytest.mark.parametrize("tab", TABS[:2])
@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_every_shipped_model_is_shown(path, tab):
    assert len(open_tab(tab, path.stem).tabs) == 5


def test_the_terms_are_those_of_the_checkpoint_and_sum_to_the_rate():
    found = load(ROOT / "checkpoints" / f"{RANGED}.safetensors")
    codes = rate_distortion.at_beta(found.snapshot, found.betas, 1.0)
    split = split_rate(codes.mu, codes.logvar)
    app = finished(open_tab("Information"))
    terms = [number(app, label) for label in ("= I(x; z)", "+ total correlation", "+ dimension-wise KL")]
    assert terms == pytest.approx(
        [split.mutual_information, split.total_correlation, sum(split.dimension_kl)], abs=0.006
    )
    assert sum(terms) == pytest.approx(split.rate, abs=0.02)
    assert f"log {split.images:,} = {math.log(split.images):.2f} nats" in words(app)


@pytest.mark.parametrize(("tab", "model"), [("Information", "digits-d2"), ("Disentanglement", "sprites")])
def test_a_model_beside_it_that_is_damaged_is_left_out(tmp_path, monkeypatch, tab, model):
    whole, damaged = tmp_path / f"{model}.safetensors", tmp_path / "damaged.safetensors"
    shutil.copy(ROOT / "checkpoints" / whole.name, whole)
    tensors, header = read_tensors(whole)
    next(value for name, value in tensors.items() if name.startswith("model.")).view(-1)[0] = math.nan
    header["record"]["train"]["beta"] = 2.0  # called otherwise
    write_tensors(damaged, tensors, header)
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    app = finished(open_tab(tab, model))
    assert len(beta_view.comparable(state.entries()[model])) == 1
    assert any(f"{tab.lower()}_beside_chart" in chart.proto.id for chart in app.get("plotly_chart"))


def test_nothing_is_said_of_images_that_the_parts_are_not_of():
    """Test images are no batch of the training images: only what 297 of them bound is said."""
    said = words(finished(open_tab("Information")))
    assert "These are of the first 297 test images alone" in said
    assert "With more such images, I(x; z) would on average be as high or higher, but never over their R" in said
    assert "trained on" not in said
    assert f"{len(data.load('digits').train.images):,}" not in said


def test_the_figures_stack_the_terms_to_the_rate():
    random = np.random.default_rng(0)
    splits = [split_rate(random.standard_normal((60, 3)), np.full((60, 3), spread)) for spread in (-3.0, -1.0)]
    *parts, rate = information_view.split_figure([0.1, 1.0], splits, 1.0).data
    np.testing.assert_allclose(sum(np.array(part.customdata) for part in parts), rate.y, rtol=1e-6)
    np.testing.assert_allclose(rate.y, [split.rate for split in splits])
    bars = information_view.split_bars({"a": splits[0], "b": splits[1]}).data[:3]
    np.testing.assert_allclose(sum(np.array(bar.customdata) for bar in bars), rate.y, rtol=1e-6)
    header, first, *_ = information_view.split_csv([0.1, 1.0], splits).decode().splitlines()
    row = dict(zip(header.split(","), map(float, first.split(",")), strict=True))
    assert row["beta"] == 0.1
    assert row["rate"] == pytest.approx(
        row["mutual_information"] + row["total_correlation"] + row["kl_1"] + row["kl_2"] + row["kl_3"], rel=1e-5
    )


def test_the_axis_of_beta_is_whole_before_all_of_it_is_known():
    split = split_rate(np.zeros((60, 3)), np.zeros((60, 3)))
    figures = [information_view.split_figure([0.01, 0.1, 1.0, 10.0], [split] * known, 1.0) for known in (0, 1, 4)]
    assert [figure.layout.xaxis.range for figure in figures] == [(-2, 1)] * 3


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("model", [RANGED, "digits-d2"])
def test_the_deepest_hole_is_decoded_with_its_densities(model, known, monkeypatch):
    """The numbers are those of a mixture over the codes of the training images or, where these are not at hand, of the
    test images, computed here anew at the place that the page names."""
    if not known:
        monkeypatch.setattr(seen_codes.caching, "train_images", lambda *_: None)
    app = finished(open_tab("Aggregate posterior", model))
    assert "what the decoder makes of it appears here" in words(app)
    assert f"q(z) is that of {'the 1,500 pictures' if known else '297 test pictures'}" in words(app)
    button = app.button(key="information_deepest").click()
    ran(app)
    shown = {"Show the deepest hole": "A hole:", "Show the deepest gap": "A gap", "Show the thinnest place": "A thin"}
    assert shown[button.label] in words(app)
    place = app.session_state["information_place"]
    assert math.hypot(*place) <= 2.01
    found = load(ROOT / "checkpoints" / f"{model}.safetensors")
    mu, logvar = found.snapshot.mu, found.snapshot.logvar
    if known:
        mu, logvar = encode(found.model.at(1.0) if found.betas else found.model, data.load("digits").train.images)
    joint = log_aggregate(np.array([place]), mu.astype(float), logvar.astype(float))[0][0]
    assert number(app, "log q(z)") == pytest.approx(joint, abs=0.02)  # 16 bits
    square = place[0] ** 2 + place[1] ** 2
    assert number(app, "log p(z)") == pytest.approx(-0.5 * (square + 2 * math.log(2 * math.pi)), abs=0.006)


def test_the_ratio_of_a_posterior_like_the_prior_is_nothing_and_holes_are_where_no_code_is():
    values = np.linspace(-3, 3, 31)
    np.testing.assert_allclose(holes_view.log_ratio(values, np.zeros((5, 2)), np.zeros((5, 2))), 0, atol=1e-12)
    mu = np.array([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0) if (x, y) != (1.0, -1.0)])
    ratio = holes_view.log_ratio(values, mu, np.full((3, 2), -1.0))
    background = holes_view._background("a test's", values, ratio)
    assert background.opacity == 1, "its colours are those of the legend"
    np.testing.assert_array_equal(background.image[-1, -1], holes_view._shades(np.zeros(1))[0])
    first, second = holes_view.deepest_hole(values, ratio)
    assert first > 0.5 > -0.5 > second


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (-3.1, "A hole: the prior draws here 22 times"),
        (-1.5, "thin place"),
        (0.5, "practised"),
        (2.0, "come here 7.4 times"),
        (-800, "10,000"),
    ],
)
def test_the_verdict_follows_the_ratio(difference, said):
    assert said in holes_view.verdict(difference, trained_on=True)


def test_without_what_the_decoder_was_trained_on_a_dark_place_is_only_a_gap():
    assert "A gap between codes: the prior draws here 22 times" in holes_view.verdict(-3.1, trained_on=False)
    assert "taught" not in holes_view.verdict(-3.1, trained_on=False)
    assert "Only if that is far less" in holes_view.shares_sentence(None, 297, 0.3, 0.2)


def test_shares_of_few_draws_have_their_error_and_small_ones_are_not_none():
    """√(0.06 · 0.94 / 1,000) = 0.0075."""
    seen = np.zeros((60_000, 2)), np.zeros((60_000, 2))
    sentence = holes_view.shares_sentence(seen, 1000, 0.0003, 0.06)
    assert "60,000 pictures" in sentence
    assert "under 0.1% fall into holes" in sentence
    assert "of 1,000 unseen pictures’ codes, 6.0% ± 0.8% do." in sentence
    assert "codes, none do." in holes_view.shares_sentence(seen, 1000, 0.018, 0.0)
    assert "of these codes, 20% ± 2.3% fall into gaps" in holes_view.shares_sentence(None, 297, 0.3, 0.2)


def test_dots_stand_out_from_the_map_under_them():
    """White on what is dark, black on what is bright: contrasts of 4.5 at least (WCAG 2.2), at both ends of the map."""
    values = np.linspace(-2, 2, 5)
    ratio = np.linspace(-6, 3, 25).reshape(5, 5)  # rows are the second dimension
    positions = np.array([[first, second] for second in values for first in values])
    inks = holes_view._inks(positions, values, ratio)
    grounds = holes_view._shades(holes_view._on_ramp(ratio)).reshape(-1, 3) / 255
    light = np.where(grounds <= 0.04045, grounds / 12.92, ((grounds + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    contrast = np.where(inks, (light + 0.05) / 0.05, 1.05 / (light + 0.05))
    assert contrast.min() > 4.5
    assert not inks[0]
    assert inks[-1]
    assert holes_view._inks(np.array([[9.0, 9.0]]), values, ratio).all(), "beyond the map as at its edge"


def test_bars_of_few_images_say_how_many_and_are_hatched_at_their_ceiling():
    few = RateSplit(23.7, 5.48, 10.0, (8.22,), (0.1, 0.1, 0.1), 240)
    many = RateSplit(7.1, 6.0, 0.5, (0.6,), (0.1, 0.1, 0.1), 1000)
    figure = information_view.split_bars({"few": few, "many": many})
    information, correlation, dimensions, ceiling = figure.data
    assert list(information.marker.pattern.shape) == ["", ""]
    assert list(correlation.marker.pattern.shape) == list(dimensions.marker.pattern.shape) == ["/", ""]
    assert list(ceiling.x) == [math.log(240), math.log(1000)]
    rows, half = np.arange(2), (1 - figure.layout.bargap) / 2
    assert list(information.y) == rows.tolist()
    assert (np.array(ceiling.y) - rows > half).all(), "under its bar, clear of the title above"
    assert [note.y for note in figure.layout.annotations] == pytest.approx(rows - half)
    assert [note.text for note in figure.layout.annotations] == ["few · N = 240", "many · N = 1,000"]
    assert "upper bounds" in information_view.beside_sentence([few, many])
    assert "upper bounds" not in information_view.beside_sentence([many])


def test_pictures_without_known_factors_lead_to_sprites():
    app = open_tab("Disentanglement")
    assert "not known" in words(app)
    way = next(button for button in app.button if (button.key or "").startswith("disentanglement_sprites"))
    way.click()
    assert f"disentanglement_{finished(app).session_state['model']}" == way.key
    assert 0 <= number(app, "MIG") <= 1
    assert 0.2 <= number(app, "FactorVAE score") <= 1


def test_scores_of_a_range_are_those_of_the_model_at_its_beta(sprites):
    app = finished(open_tab("Disentanglement", sprites))
    model, dataset = load(state.SHIPPED / "toy.safetensors").model, data.load("sprites")
    expected = disentanglement(model.at(1.0), dataset)
    assert number(app, "MIG") == pytest.approx(expected.mig, abs=0.0006)
    assert number(app, "FactorVAE score") == pytest.approx(expected.factor_vae, abs=0.0006)
    (about,) = (metric.help for metric in app.metric if metric.label == "FactorVAE score")
    assert "Dimensions whose posterior means have a σ under 0.05 do not vote" in about
    assert "One row a dimension" in words(app)
    assert "no model can know" not in words(app)
    assert "the nine rotations of a square lie only 10° apart" in words(app)


def test_models_of_one_beta_are_points_beside_the_scores_of_a_range(sprites):
    """A β-TCVAE is a star at its β, as high as scores computed here anew, over its own rate and distortion."""
    dataset = data.load("sprites")
    model = build(shape=(1, 32, 32), latent_dim=3, widths=(8,), seed=5)
    record = {
        "train": {"dataset": "sprites", "beta": 4.0, "objective": "beta-tcvae"},
        "factor_names": list(dataset.factor_names),
    }
    codes = snapshot(model, dataset.test, 200)
    save(state.SHIPPED / "tc.safetensors", Checkpoint(model, record, codes))
    app = finished(open_tab("Disentanglement", sprites))
    traces = json.loads(app.get("plotly_chart")[0].proto.spec)["data"]
    stars = [trace for trace in traces if trace.get("marker", {}).get("symbol") == "star" and trace["x"] != [None]]
    assert all(star["x"] == [4.0] for star in stars)
    expected, at = disentanglement(model, dataset), rate_distortion.point(codes, 4.0)
    wanted = [expected.mig, expected.factor_vae, at.distortion[0], at.rate[0]]
    assert [star["y"][0] for star in stars] == pytest.approx(wanted, rel=1e-4)


def test_the_slider_of_traversals_says_what_beta_buys_and_costs():
    kl, active = np.zeros((2, 1)), np.zeros((2, 1), bool)
    curve = rate_distortion.Curve(np.array([0.1, 10.0]), np.array([20.0, 40.0]), kl, active, 10)
    scores = {0.1: Disentanglement(0.2, 0.5, np.eye(2)), 10.0: Disentanglement(0.6, 0.5, np.eye(2))}
    assert disentanglement_view._bought(1.0, curve, {}) == "β = 1 · D 30.0 nats"
    assert disentanglement_view._bought(1.0, curve, scores) == "β = 1 · MIG ≈ 0.40 · D 30.0 nats"


def verdict(migs: tuple[float, ...], factor_vae: tuple[float, ...]) -> str:
    """What is said of scores at β = 0.1, 1 and 10, where D is 20, 30 and 40 nats."""
    betas = np.array([0.1, 1.0, 10.0])
    curve = rate_distortion.Curve(betas, np.array([20.0, 30.0, 40.0]), np.zeros((3, 1)), np.zeros((3, 1), bool), 10)
    pairs = zip(migs, factor_vae, strict=True)
    scores = {beta: Disentanglement(*pair, np.eye(2)) for beta, pair in zip(betas.tolist(), pairs, strict=True)}
    return disentanglement_view.verdict(scores, curve)


@pytest.mark.parametrize(
    ("migs", "factor_vae", "said"),
    [
        (
            (0.1, 0.5, 0.3),
            (0.4, 0.45, 0.6),
            (
                "**β buys disentanglement here**",
                "the MIG rises from 0.10 at β = 0.1 to 0.50 at 1, and",
                "the FactorVAE score rises from 0.40 at β = 0.1 to 0.60 at 10.",
                "20.0 to 40.0",
            ),
        ),
        (
            (0.07, 0.08, 0.07),
            (0.52, 0.59, 0.51),
            (
                "**Whether β buys disentanglement here depends on the score**",
                "the MIG, 0.07 at β = 0.1, rises nowhere by over 0.05, and",
                "the FactorVAE score rises from 0.52 at β = 0.1 to 0.59 at 1.",
                "20.0 to 30.0",
            ),
        ),
        (
            (0.1, 0.14, 0.02),
            (0.51, 0.55, 0.3),
            (
                "**β buys no disentanglement here**",
                "the MIG, 0.10 at β = 0.1, rises nowhere by over 0.05",
                "the FactorVAE score, 0.51 at β = 0.1, rises nowhere by over 0.05",
                "20.0 to 40.0",
                "A change of 0.05 or less is taken for none",
            ),
        ),
    ],
)
def test_the_verdict_on_beta_follows_both_scores(migs, factor_vae, said):
    sentence = verdict(migs, factor_vae)
    for part in said:
        assert part in sentence


def test_a_tcvae_and_a_beta_vae_have_their_scores_on_the_same_axes(monkeypatch, tmp_path):
    """Bars under titles that tell the objectives apart, as long as scores computed here anew."""
    sprites, models = data.load("sprites"), {}
    for name, objective in (("plain", {}), ("tc", {"objective": "beta-tcvae"})):
        model = models[name] = build(shape=(1, 32, 32), latent_dim=3, widths=(8,), seed=len(name))
        train = {"dataset": "sprites", "beta": 4.0} | objective
        record = {"train": train, "factor_names": list(sprites.factor_names)}
        save(tmp_path / f"{name}.safetensors", Checkpoint(model, record, snapshot(model, sprites.test, 200)))
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    app = finished(open_tab("Disentanglement", "tc"))
    titles = [state.title(state.entries()[name]) for name in ("tc", "plain")]
    assert "β-TCVAE · β = 4" in titles[0]
    assert "β-TCVAE" not in titles[1]
    chart = json.loads(app.get("plotly_chart")[-1].proto.spec)
    assert [bar["name"] for bar in chart["data"]] == ["MIG", "FactorVAE score"]
    expected = [disentanglement(models[name], sprites) for name in ("tc", "plain")]
    for bar, values in zip(chart["data"], ([s.mig for s in expected], [s.factor_vae for s in expected]), strict=True):
        assert bar["y"] == titles
        np.testing.assert_allclose([float(text) for text in bar["text"]], values, atol=6e-4)


def test_a_tcvae_is_not_taken_for_a_beta_vae_and_stands_beside_one(monkeypatch, tmp_path):
    monkeypatch.setenv("VAE_RUNS", str(tmp_path / "runs"))
    test = data.load("digits").test
    for name, objective in (("plain", {}), ("tc", {"objective": "beta-tcvae"})):
        model = build(latent_dim=2, widths=(8,), seed=len(name))
        record = {"train": {"dataset": "digits", "beta": 6.0} | objective, "beta": 6.0}
        save(tmp_path / f"{name}.safetensors", Checkpoint(model, record, snapshot(model, test, 200)))
    monkeypatch.setattr(state, "SHIPPED", tmp_path)
    app = open_tab("Information", "tc")
    assert "It is a β-TCVAE: β = 6 weighs its total correlation alone." in words(app)
    assert "β-TCVAE" not in words(open_tab("Information", "plain"))
    (beside,) = beta_view.comparable(state.entries()["tc"]).values()
    assert beside.id == "plain"


def test_the_tables_name_their_columns():
    scores = [Disentanglement(0.1, 0.5, np.array([[0.1, 0.2], [0.3, 0.4]])), Disentanglement(0.2, 0.6, np.eye(2))]
    header, *rows = disentanglement_view.scores_csv([0.1, 1.0], scores, ["shape", "x"]).decode().splitlines()
    assert header == "beta,mig,factor_vae,shape_z1,shape_z2,x_z1,x_z2"
    assert list(map(float, rows[0].split(","))) == [0.1, 0.1, 0.5, 0.1, 0.2, 0.3, 0.4]
    (heat,) = disentanglement_view.matrix_figure(scores[0].matrix, ["shape", "x"]).data
    np.testing.assert_array_equal(heat.z, scores[0].matrix)
    assert list(heat.y) == ["shape", "x"]

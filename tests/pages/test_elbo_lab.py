"""The ELBO lab, run as Streamlit runs it, what its pad is given, and what is believed of it."""

import base64
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from tests.test_evidence import PICTURES, LinearGaussian
from tests.toys import build
from tests.waiting import PATIENCE
from ui import elbo_lab_view, state
from ui.components.gaussian import Gaussian, read_gaussian
from ui.components.posterior_pad import PadView, posterior_pad_props
from ui.elbo_lab_view import Lab, begun, beyond_words, climb, gap_sentence, matched, pad_view, peaks_words, reached
from vae_core import data
from vae_core.checkpoint import Checkpoint, load, save
from vae_core.evaluate import binarise, encode, snapshot, to_unit
from vae_core.evidence import Evidence, LatentPlane

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = sorted((ROOT / "checkpoints").glob("*.safetensors"))


def open_page(model: str, **settings: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    app.query_params["model"] = model
    for name, value in settings.items():
        app.query_params[name] = value
    app = app.run().switch_page("pages/understand/elbo_lab.py").run()
    assert not app.exception
    return app


def metric(app: AppTest, label: str) -> float:
    value = next(metric.value for metric in app.metric if metric.label == label)
    return float(value.split(" ")[0].replace(",", "").replace("−", "-"))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_the_sum_comes_out_or_the_way_out_is_shown(path: Path) -> None:
    app = open_page(path.stem)
    if load(path).model.config.latent_dim != 2:
        assert not app.metric
        assert "latent dimensions" in app.info[0].value
        app.button(key="offered_digits-d2").click().run()
        assert not app.exception
    log_likelihood, elbo, gap = (metric(app, label) for label in ("log p(x)", "ELBO", "Gap"))
    assert log_likelihood == pytest.approx(elbo + gap, abs=5e-3)
    assert gap > 0


def test_improving_q_closes_the_amortisation_gap_and_keeps_the_sum() -> None:
    app = open_page("digits-d2", test_image="5")
    before = {label: metric(app, label) for label in ("log p(x)", "ELBO", "Gap")}
    next(button for button in app.button if button.label == "Improve q").click().run()
    assert not app.exception
    assert metric(app, "Gap") < before["Gap"]
    assert metric(app, "ELBO") > before["ELBO"]
    assert metric(app, "log p(x)") == before["log p(x)"]
    assert any("amortisation gap" in text.value for text in app.markdown)
    next(button for button in app.button if button.label.startswith("Back")).click().run()
    assert metric(app, "Gap") == before["Gap"]
    checkpoint = load(ROOT / "checkpoints" / "digits-d2.safetensors")
    image = binarise(data.load("digits").test.images, 0)[5:6]
    posteriors = LatentPlane(checkpoint.model).posteriors(image)
    over = matched(Lab("", image[0], posteriors, Gaussian((0.0, 0.0), (1.0, 1.0))))
    known = posteriors.against(np.array([over.mu]), 2 * np.log(np.array([over.sigma]))).kl_to_true_posterior[0]
    next(button for button in app.button if button.label == "Over the posterior").click().run()
    assert metric(app, "Gap") == pytest.approx(known, abs=2e-3)
    assert metric(app, "Gap") < before["Gap"]


def test_a_link_brings_a_moved_q_to_the_picture_that_it_was_moved_for() -> None:
    of_encoder = metric(open_page("digits-d2", test_image="5"), "Gap")
    app = open_page("digits-d2", test_image="5", q="0.5,-0.25,0.2,0.1")
    checkpoint = load(ROOT / "checkpoints" / "digits-d2.safetensors")
    posteriors = LatentPlane(checkpoint.model).posteriors(binarise(data.load("digits").test.images, 0)[5:6])
    known = posteriors.against(np.array([[0.5, -0.25]]), 2 * np.log(np.array([[0.2, 0.1]])))
    assert metric(app, "ELBO") == pytest.approx(known.elbo[0], abs=2e-3)
    assert app.query_params["q"] == "0.5,-0.25,0.2,0.1"
    next(button for button in app.button if button.label.startswith("Back")).click().run()
    assert metric(app, "Gap") == of_encoder
    assert "q" not in app.query_params


@pytest.mark.parametrize(
    "asked", ["1,2,3", "a,b,c,d", "0,0,0,1", "nan,0,1,1", "1e9,0,1,1", "0,0,1e4,1e4", "0,0,1,11", ""]
)
def test_a_link_with_no_q_shows_the_encoders(asked: str) -> None:
    app = open_page("digits-d2", test_image="5", q=asked)
    assert metric(app, "Gap") == metric(open_page("digits-d2", test_image="5"), "Gap")
    assert "q" not in app.query_params


def test_one_latent_dimension_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Moved by its sliders and improved, q changes the ELBO and the gap, and their sum stays."""
    model = build(latent_dim=1).eval()
    save(tmp_path / "line.safetensors", Checkpoint(model, {}, snapshot(model, data.load("digits").test, 40)))
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    app = open_page("line")
    gaps = [metric(app, "Gap")]
    mu, sigma = (next(one for one in app.slider if one.label == label) for label in ("μ of q", "σ of q"))
    mu.set_value(mu.value + 0.1 * sigma.value).run()
    gaps.append(metric(app, "Gap"))
    next(button for button in app.button if button.label == "Improve q").click().run()
    assert not app.exception
    gaps.append(metric(app, "Gap"))
    assert len(set(gaps)) == 3
    assert gaps[2] < gaps[1]
    assert metric(app, "log p(x)") == pytest.approx(metric(app, "ELBO") + gaps[2], abs=5e-3)


def test_q_is_kept_over_a_change_of_the_page_and_another_address_is_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = build(latent_dim=1).eval()
    save(tmp_path / "line.safetensors", Checkpoint(model, {}, snapshot(model, data.load("digits").test, 40)))
    monkeypatch.setattr("ui.state.SHIPPED", tmp_path)
    app = open_page("line", test_image="5")

    def at() -> float:
        return next(one.value for one in app.slider if one.label == "μ of q")

    def leave_and_return(**settings: str) -> float:
        app.switch_page("pages/start/home.py").run()
        app.switch_page("pages/understand/elbo_lab.py")
        app.query_params.pop("q", None)
        for name, value in settings.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception
        return at()

    encoder = at()
    next(one for one in app.slider if one.label == "μ of q").set_value(encoder + 0.3).run()
    moved = app.query_params["q"]
    assert leave_and_return() == pytest.approx(encoder + 0.3)
    assert app.query_params["q"] == moved
    assert leave_and_return(q="0.25,0.5") == 0.25
    assert leave_and_return(q=moved) == pytest.approx(encoder + 0.3, abs=1e-5)
    app.query_params["q"] = "0.125,0.5"
    app.run()
    assert at() == 0.125
    app.number_input(key="test_image").set_value(7).run()
    assert "q" not in app.query_params
    of_another = at()
    app.query_params["q"] = moved
    app.run()
    assert at() == of_another, "it was written for another picture"
    app.number_input(key="test_image").set_value(5).run()
    assert at() == 0.125


def test_q_in_the_plane_is_where_it_was_left_when_the_page_is_opened_again() -> None:
    app = open_page("digits-d2", test_image="5")
    of_encoder = metric(app, "Gap")
    view = app.session_state["elbo_version"]
    left = {"mu": [0.5, -0.25], "sigma": [0.2, 0.1]}
    content = f"{next(iter(app.session_state['elbo_left']))}/False/{view}"
    app.session_state["elbo_pad"] = {"released": left | {"subject": content}}
    app.run()
    gap = metric(app, "Gap")
    assert gap != of_encoder
    assert app.query_params["q"] == "0.5,-0.25,0.2,0.1"
    app.switch_page("pages/start/home.py").run()
    app.query_params.clear()
    app.switch_page("pages/understand/elbo_lab.py").run()
    assert metric(app, "Gap") == gap


def test_the_pictures_in_which_q_fails_worst_are_found_and_led_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elbo_lab_view, "LOOKED_THROUGH", 20)
    app = open_page("digits-d2")
    next(button for button in app.button if button.label == "Look through 20 test images").click().run()
    assert not app.exception
    checkpoint = load(ROOT / "checkpoints" / "digits-d2.safetensors")
    images = data.load("digits").test.images
    order, gaps = elbo_lab_view.worst(state.entries()["digits-d2"], checkpoint, images, compute=False)
    model, pictures = checkpoint.model, binarise(images, 0)[:20]
    known = LatentPlane(model).posteriors(pictures).against(*encode(model, pictures)).kl_to_true_posterior
    np.testing.assert_allclose(gaps, np.sort(known)[::-1][: len(gaps)], atol=1e-3)
    np.testing.assert_allclose(known[order], gaps, atol=1e-3)


VIEW = PadView("a", (-1, 1, -1, 1), np.arange(9.0).reshape(3, 3), -4.0, np.zeros((4, 1, 2, 2), np.uint8))
ENCODER = Gaussian((0.0, 0.1), (0.2, 0.3))


def test_the_pad_is_given_the_grid_and_the_same_data_while_q_moves() -> None:
    props = posterior_pad_props(VIEW, ENCODER, ENCODER, ENCODER, {"elbo": -4.5})
    assert props == posterior_pad_props(VIEW, ENCODER, ENCODER, ENCODER, {"elbo": -4.5})
    assert props["left"] == props["q"]
    assert props["numbers"] == {"elbo": -4.5}
    grid = np.frombuffer(base64.b64decode(props["logLikelihood"]), "<f4").reshape(3, 3)
    np.testing.assert_array_equal(grid, VIEW.log_likelihood)
    assert read_gaussian({"subject": "a", "mu": [0, 0], "sigma": [props["largest"]] * 2}, "a")
    assert (props["steps"], props["side"], props["logEvidence"]) == (3, 2, -4.0)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {"subject": "b", "mu": [0, 0], "sigma": [1, 1]},
        {"subject": "a", "mu": [0], "sigma": [1, 1]},
        {"subject": "a", "mu": [0, float("nan")], "sigma": [1, 1]},
        {"subject": "a", "mu": [0, "1"], "sigma": [1, 1]},
        {"subject": "a", "mu": [0, 0], "sigma": [1, 0]},
        {"subject": "a", "mu": [0, 0], "sigma": [1, 10.5]},
        {"subject": "a", "mu": [0, 1001], "sigma": [1, 1]},
    ],
)
def test_what_is_no_gaussian_of_this_picture_is_not_believed(reported: object) -> None:
    assert read_gaussian(reported, "a") is None


@pytest.mark.parametrize(("mu", "sigma"), [((0, 1), (0.5, 2)), ((-40.0, 16.5), (1.0, 4e-4))])
def test_a_gaussian_is_read(mu: tuple[float, float], sigma: tuple[float, float]) -> None:
    """Also one that lies where a plain autoencoder puts its codes, or is as narrow as the pad allows."""
    assert read_gaussian({"subject": "a", "mu": list(mu), "sigma": list(sigma)}, "a") == Gaussian(mu, sigma)


def test_the_matched_gaussian_is_the_nearest_of_its_family() -> None:
    """A Gaussian posterior in closed form: its mean to 1e-5, and 1/√Λ_jj to 1e-3 of it."""
    model = LinearGaussian(2)
    lab = Lab("linear", PICTURES[0], LatentPlane(model).posteriors(PICTURES[:1]), Gaussian((0.0, 0.0), (1.0, 1.0)))
    truth, found = model.posterior(to_unit(PICTURES[:1])), matched(lab)
    assert found.mu == pytest.approx(truth.mean[0].tolist(), abs=1e-5)
    assert found.sigma == pytest.approx(truth.precision_matrix.squeeze().diagonal().rsqrt().tolist(), rel=1e-3)


def with_gap(gap: float) -> Evidence:
    return Evidence(**dict.fromkeys((field.name for field in fields(Evidence)), np.array([gap])))


class _Drawn(LinearGaussian):
    def decode_mean(self, z: torch.Tensor) -> torch.Tensor:
        return self.decode(z)


def test_the_whole_plane_holds_the_prior_the_posterior_and_the_encoders_q() -> None:
    """Also where the picture's code lies at (5.6, 4.6)."""
    model, far = _Drawn(2, 0.2, sigma=0.05).eval(), np.full((1, 1, 3), 255, np.uint8)
    for name, picture, least in (("near", np.zeros_like(far), 4.0), ("far", far, 5.0)):
        (mu,), (logvar,) = encode(model, picture[None])
        encoder = Gaussian(tuple(map(float, mu)), tuple(map(float, np.exp(0.5 * logvar))))
        lab = Lab(name, picture, LatentPlane(model).posteriors(picture[None]), encoder)
        view = pad_view(lab, Checkpoint(model), wide=True, walk=None, version=0)
        x0, x1, y0, y1 = view.window
        assert x1 == y1 == -x0 == -y0 >= max(least, *(np.abs(mu) + 3 * np.array(encoder.sigma)))
    mean, covariance = lab.posteriors.moments(0)
    assert (np.abs(mean) + 3 * np.sqrt(covariance.diagonal()) < x1).all()
    density = lab.posteriors.density(0, *np.linspace((x0, y0), (x1, y1), 401).T)
    assert density.sum() * ((x1 - x0) / 400) ** 2 == pytest.approx(1, abs=0.01)


def test_what_may_lie_beyond_is_said_where_it_is_much() -> None:
    assert beyond_words(9e-4) == ""
    assert "up to 3.51 nats" in beyond_words(3.5117)


class TwoUnequalModes(LinearGaussian):
    """Sees z₁ < 0 as a third of −z₁, so that p(z|x) has a lesser mode there."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        first = torch.where(z[:, :1] > 0, z[:, :1], -z[:, :1] / 3)
        return super().decode(torch.cat([first, z[:, 1:]], 1))


@pytest.mark.parametrize("side", [1, -1])
def test_q_is_improved_to_the_greater_mode_from_either_side(side: int) -> None:
    """From the lesser mode small steps end there; begun anew, they end at the other, and the way shows both."""
    model = TwoUnequalModes(2, sigma=0.1).eval()
    picture = np.array([[[200, 60, 0]]], np.uint8)
    lab = Lab(f"modes {side}", picture, LatentPlane(model).posteriors(picture[None]), ENCODER)
    start, seen = Gaussian((0.9 if side > 0 else -2.7, 0.0), (0.1, 0.1)), []
    found = climb(lab, Checkpoint(model), start, lambda step, total: seen.append(step / total))
    assert found.q.mu[0] > 0.5
    assert lab.against(found.q).kl_to_true_posterior[0] < 0.5
    assert seen[-1] == 1.0
    assert found.walk[0] == pytest.approx([*start.mu, *start.sigma])
    assert found.walk[-1] == pytest.approx([*found.q.mu, *found.q.sigma])
    assert (found.caught is not None) == (side < 0)
    if found.caught:
        assert found.caught.mu[0] < -0.5
        assert lab.against(found.caught).kl_to_true_posterior[0] > 1
        assert len(found.walk) == 2 * len(seen)


def _digits_lab(name: str) -> tuple[Lab, Checkpoint]:
    checkpoint = load(ROOT / "checkpoints" / "digits-d2.safetensors")
    image = binarise(data.load("digits").test.images, 0)[5:6]
    mu, logvar = encode(checkpoint.model, image)
    encoder = Gaussian(tuple(map(float, mu[0])), tuple(map(float, np.exp(0.5 * logvar[0]))))
    return Lab(name, image[0], LatentPlane(checkpoint.model).posteriors(image), encoder), checkpoint


def test_a_climb_never_ends_farther_than_it_began_nor_than_over_the_posterior() -> None:
    """Its steps come of draws; where the Gaussian over the posterior is as near, the nearer of both is taken."""
    lab, checkpoint = _digits_lab("never worse")
    gap = lambda q: float(lab.against(q).kl_to_true_posterior[0])  # noqa: E731
    best = climb(lab, checkpoint, lab.encoder, lambda *_: None).q
    assert gap(best) <= min(gap(lab.encoder), gap(matched(lab)))
    assert gap(climb(lab, checkpoint, best, lambda *_: None).q) <= gap(best)


def test_a_climb_that_is_stopped_leaves_the_q_that_it_reached() -> None:
    lab, checkpoint = _digits_lab("stopped")

    def stop(step: int, _: int) -> None:
        if step == 100:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        climb(lab, checkpoint, lab.encoder, stop)
    assert begun(lab)[0] == lab.encoder, "only Stop takes it"
    found = reached(lab)
    assert lab.against(found).kl_to_true_posterior[0] < lab.against(lab.encoder).kl_to_true_posterior[0]
    assert reached(lab) is None


@pytest.mark.parametrize("caught", [None, 15.5])
def test_a_q_no_better_than_the_encoders_is_sent_back(caught: float | None) -> None:
    words = gap_sentence(with_gap(3.2), with_gap(9.8), with_gap(7.1), caught and with_gap(caught), latent_dim=2)
    assert "Go back" in words
    assert "amortisation gap" not in words
    assert ("with 15.50 nats" in words) == bool(caught)


@pytest.mark.parametrize(("known", "caught"), [(0.2, True), (9.75, False), (30.0, False)])
def test_a_q_that_was_caught_elsewhere_is_called_so(known: float, caught: bool) -> None:
    """Either way the two gaps named add up to the encoder's."""
    words = gap_sentence(*map(with_gap, (21.2, 9.8, known)), latent_dim=2)
    assert ("caught" in words) == caught
    amortisation, approximation = map(float, re.findall(r"([\d.]+) nats (?:are )?the", words))
    assert amortisation + approximation == pytest.approx(21.2)


def test_peaks_are_judged_by_what_they_cost_a_gaussian() -> None:
    """−log of the largest share: 0.02 nats for 98 %, 0.51 for 60 %."""
    assert "a gap of 0.02 nats or more: the others matter little" in peaks_words([0.98, 0.02], 2)
    said = peaks_words([0.6, 0.395, 0.005], 2)
    assert said.startswith("This posterior has **2 peaks**, with 60%, 40% of its mass.")
    assert "a gap of 0.51 nats or more: one Gaussian must fail here" in said
    assert "its tilt and its bends" in peaks_words([1.0], 2)
    assert "its shape" in peaks_words([0.995, 0.005], 1)

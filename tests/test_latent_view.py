"""The latent map's logic: codes, projections, colours, counts, files, and t-SNE in the background."""

import io
import time

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.toys import blobs, build
from tests.waiting import until
from ui import latent_view as view
from ui.components.latent_map import ByClass, ByValue
from ui.tsne_job import TsneJobs
from vae_core import data, evaluate
from vae_core.checkpoint import Checkpoint
from vae_core.embedding import TsneStep
from vae_core.errors import UserError


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make(latent_dim=3)


def make(**config) -> Checkpoint:
    dataset, model = blobs(test=120), build(**config).eval()
    record = {"class_names": ["even", "odd"], "factor_names": ["brightness"], "train": {"dataset": "blobs"}}
    snapshot = evaluate.snapshot(model, dataset.test, 120)
    factors = dataset.test.images.mean((1, 2, 3))[:, None].astype(np.float32)
    return Checkpoint(model, record, type(snapshot)(**vars(snapshot) | {"factors": factors}))


@pytest.fixture(scope="module")
def found(checkpoint) -> view.NamedSnapshot:
    return view._codes.__wrapped__("test", checkpoint, False)


def test_codes_are_the_snapshots(found, checkpoint):
    assert len(found) == 120
    np.testing.assert_array_equal(found.mu, checkpoint.snapshot.mu)
    q = torch.distributions.Normal(torch.tensor(found.mu), torch.tensor(found.sigma))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    np.testing.assert_allclose(found.kl, kl, atol=1e-4)
    np.testing.assert_allclose(found.elbo, -(found.reconstruction + kl.numpy().sum(1)), rtol=1e-4)
    assert found.class_name(3) == ("even", "odd")[found.labels[3]]


def test_labels_without_names_get_numbers(checkpoint):
    bare = Checkpoint(checkpoint.model, {}, checkpoint.snapshot)
    assert view._codes.__wrapped__("bare", bare, False).class_names == ("0", "1")


def test_the_whole_test_set_is_encoded_where_it_is_asked_for():
    model = build(latent_dim=2).eval()
    digits = data.load("digits").test
    record = {"train": {"dataset": "digits"}}
    whole = view._codes.__wrapped__("whole", Checkpoint(model, record, evaluate.snapshot(model, digits, 10)), True)
    assert len(whole) == len(digits) > 10
    np.testing.assert_allclose(whole.mu, evaluate.encode(model, digits.images)[0], atol=1e-5)


@pytest.mark.parametrize(("d", "first"), [(1, "plane"), (2, "plane"), (16, "pca")])
def test_every_latent_size_has_its_projections(d, first):
    titles = view.projection_titles(d)
    assert next(iter(titles)) == first
    assert {"pca", "tsne"} <= set(titles)
    assert ("dimensions" in titles) == (d > 2)


def test_two_dimensions_are_shown_as_they_are(found):
    shown = view.straight_projection(found, "dimensions", (2, 0))
    np.testing.assert_array_equal(shown.positions, found.mu[:, [2, 0]])
    assert shown.axes == ("z₃", "z₁")
    np.testing.assert_array_equal(shown.place(found.mu[:5]), shown.positions[:5])


def test_pca_places_codes_where_they_are_and_says_its_shares(found):
    shown = view.straight_projection(found, "pca", (0, 1))
    np.testing.assert_allclose(shown.place(found.mu[:5]), shown.positions[:5], atol=1e-4)
    assert shown.axes[0].startswith("PC 1 (")
    np.testing.assert_allclose(shown.place(shown.lift(shown.positions[:5])), shown.positions[:5], atol=1e-4)


def test_one_dimension_lies_on_a_strip():
    line = view._codes.__wrapped__("line", make(latent_dim=1), False)
    shown = view.straight_projection(line, "plane", (0, 1))
    np.testing.assert_array_equal(shown.positions[:, 0], line.mu[:, 0])
    assert abs(shown.positions[:, 1]).max() <= 1
    assert shown.place(line.mu[:3]).shape == (3, 2)
    assert not shown.is_latent
    np.testing.assert_array_equal(shown.lift(shown.positions), line.mu)


@pytest.mark.parametrize("kind", ["dimensions", "pca"])
def test_places_are_lifted_onto_the_plane_through_a_held_code(found, kind):
    shown = view.straight_projection(found, kind, (2, 0), found.mu[7])
    lifted = shown.lift(shown.positions)
    np.testing.assert_allclose(shown.place(lifted), shown.positions, atol=1e-4)
    np.testing.assert_allclose(lifted[7], found.mu[7], atol=1e-5)
    across = lifted - lifted[7]
    assert np.linalg.matrix_rank(across, tol=1e-4) == 2, "a plane"


def test_the_square_holds_every_point_and_the_prior(found):
    for kind in ("dimensions", "pca"):
        shown = view.straight_projection(found, kind, (0, 1))
        x, y, half = shown.square
        assert (abs(shown.positions - [x, y]) <= half + 1e-5).all()
        assert kind == "pca" or half >= 3


def test_every_colour_has_one_value_a_point(found):
    for name, title in view.colour_titles(found).items():
        colour = view.colour(found, name)
        if name == "class":
            assert isinstance(colour, ByClass)
            np.testing.assert_array_equal(colour.index, found.labels)
        else:
            assert isinstance(colour, ByValue)
            assert colour.title == title
            assert colour.values.shape == (120,)
    np.testing.assert_array_equal(view.colour(found, "z-2").values, found.mu[:, 1])
    np.testing.assert_array_equal(view.colour(found, "factor-0").values, found.factors[:, 0])
    assert list(view.colour_titles(found))[:2] == ["class", "factor-0"]


def test_the_ramp_is_viridis(found):
    ramp = view.colour(found, "elbo").ramp
    assert (ramp[0], ramp[-1]) == ("#440154", "#fde725")


def test_the_manifold_shows_each_picture_at_its_own_z():
    checkpoint = make(latent_dim=2)
    codes = view._codes.__wrapped__("m", checkpoint, False)
    background = view.manifold.__wrapped__("m", checkpoint, view.straight_projection(codes, "plane", (0, 1)))
    n = background.image.shape[0] // 8
    x0, x1, _, y1 = background.extent
    cell = (x1 - x0) / n
    centre_of_last_column, centre_of_first_row = x1 - cell / 2, y1 - cell / 2
    assert (centre_of_last_column, centre_of_first_row) == (pytest.approx(3), pytest.approx(3))
    with torch.no_grad():
        corner = checkpoint.model.decode_mean(torch.tensor([[3.0, 3.0]]))[0, 0].numpy()
    np.testing.assert_allclose(background.image[:8, -8:] / 255, corner, atol=0.51 / 255)


@pytest.mark.parametrize("kind", ["dimensions", "pca"])
def test_the_planes_pictures_are_decoded_where_they_stand(found, checkpoint, kind):
    shown = view.straight_projection(found, kind, (2, 0))
    plane, atlas = view.decoded_plane("m", shown), view.plane_atlas.__wrapped__("m", checkpoint, shown)
    assert plane.atlas == atlas.id
    assert (len(atlas.pages), atlas.columns) == (1, plane.side)
    page = np.asarray(Image.open(io.BytesIO(atlas.pages[0])).convert("L"))
    x0, x1, y0, y1 = plane.extent
    for column, row in [(0, 0), (32, 0), (5, 20)]:
        at = [x0 + (x1 - x0) * column / (plane.side - 1), y1 - (y1 - y0) * row / (plane.side - 1)]
        with torch.no_grad():
            z = torch.tensor(shown.lift(np.array([at], np.float32)), dtype=torch.float32)
            exact = checkpoint.model.decode_mean(z)[0, 0].numpy()
        tile = page[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] / 255
        assert abs(tile - exact).mean() < 0.03, "but for the compression"


def test_nearest_codes_agree_with_brute_force(found):
    distance = np.linalg.norm(found.mu - found.mu[7], axis=1)
    assert view.nearest_codes(found, found.mu[7], 5)[0] == 7
    np.testing.assert_array_equal(view.nearest_codes(found, found.mu[7], 5, leave_out=7), np.argsort(distance)[1:6])


def test_class_counts_add_up(found):
    bars = view.class_counts(found, np.arange(50)).data[0]
    assert sum(bars.x) == 50
    assert list(bars.x) == np.bincount(found.labels[:50]).tolist()


def test_the_posteriors_figure_orders_dimensions_by_kl(found):
    points = view.posterior_figure(found.mu[0], found.sigma[0], found.kl[0]).data[0]
    order = np.argsort(-found.kl[0])
    np.testing.assert_array_equal(points.y, found.mu[0][order])
    np.testing.assert_array_equal(points.error_y.array, found.sigma[0][order])


def test_the_csv_holds_the_map_and_the_codes(found):
    shown = view.straight_projection(found, "dimensions", (2, 0))
    table = pd.read_csv(io.BytesIO(view.coordinates_csv(found, shown)))
    np.testing.assert_allclose(table[["x", "y"]], shown.positions, rtol=1e-5)
    np.testing.assert_allclose(table[["z1", "z2", "z3"]], found.mu, rtol=1e-5)
    np.testing.assert_allclose(table["elbo"], found.elbo, rtol=1e-5)
    assert table["class"].tolist() == [found.class_name(i) for i in range(120)]
    np.testing.assert_allclose(table["brightness"], found.factors[:, 0], rtol=1e-5)


# ---- t-SNE in the background ----------------------------------------------------------------------------------


def test_a_job_begins_with_a_picture_and_is_shared(found):
    jobs = TsneJobs()
    job = jobs.get("a", lambda: found.mu, 10, 0)
    assert job.step.iteration == 0
    assert job.step.map.shape == (120, 2)
    assert jobs.get("a", lambda: pytest.fail("encoded twice"), 10, 0) is job
    assert jobs.get("b", lambda: found.mu, 12, 0) is not job


def test_a_kept_map_is_finished_at_once(found):
    kept = TsneStep(750, 750, found.mu[:, :2], 1.5)
    job = TsneJobs().get("a", lambda: found.mu, 10, 0, kept=lambda: kept)
    job.watch()
    assert job.finished
    assert not job.running
    assert job.step is kept
    assert view.tsne_projection(found, job).place(found.mu[:2]).shape == (2, 2)


def test_a_job_moves_only_while_it_is_watched_and_ends(found):
    job = TsneJobs().get("a", lambda: found.mu, 10, 0)
    assert job.running
    assert job.seconds_left is None
    job.watch()
    until(lambda: job.step.iteration > 0)
    assert job.seconds_left > 0
    until(lambda: job.watch() or job.finished)
    assert not job.running
    assert view.tsne_projection(found, job).place(found.mu[:2]).shape == (2, 2)


def test_a_stopped_job_keeps_its_picture_and_goes_on_where_it_was(found):
    job = TsneJobs().get("a", lambda: found.mu, 10, 0)
    job.watch()
    until(lambda: job.step.iteration > 0)
    job.stop()
    until(lambda: not job._thread.is_alive())
    assert not job.running
    job.resume()
    until(lambda: job.watch() or job.finished)
    straight = TsneJobs().get("b", lambda: found.mu, 10, 0)
    straight.watch()
    until(lambda: straight.watch() or straight.finished)
    np.testing.assert_array_equal(job.step.map, straight.step.map)


def test_one_job_at_a_time_moves(found):
    jobs = TsneJobs()
    first, second = jobs.get("a", lambda: found.mu, 10, 0), jobs.get("b", lambda: found.mu, 12, 0)
    with jobs._turn:
        second.watch()
        time.sleep(0.3)
        assert second.waiting
        assert second.step.iteration == 0
    until(lambda: second.step.iteration > 0)
    assert not second.waiting
    second.stop()
    first.watch()
    until(lambda: first.watch() or first.finished)


def test_a_job_that_nobody_watches_pauses(found, monkeypatch):
    monkeypatch.setattr("ui.tsne_job._ABANDONED_SECONDS", 0.0)
    job = TsneJobs().get("a", lambda: found.mu, 10, 0)
    job.watch()
    job._thread.join(10)
    assert not job.finished
    assert job.running, "it is taken up again when someone looks"


def test_a_job_that_fails_says_so_and_keeps_its_picture(found):
    job = TsneJobs().get("a", lambda: found.mu, 10, 0)

    def broken():
        raise MemoryError("no room")
        yield

    job._rest = broken()
    job.watch()
    until(lambda: job.error is not None)
    assert not job.running
    assert job.step.map.shape == (120, 2)


def test_what_cannot_be_mapped_is_refused_at_once():
    with pytest.raises(UserError, match="at least 5 points"):
        TsneJobs().get("a", lambda: np.zeros((3, 2), np.float32), 10, 0)


def test_old_jobs_are_let_go(found):
    jobs = TsneJobs()
    first = jobs.get(0, lambda: found.mu, 10, 0)
    for key in range(1, 20):
        jobs.get(key, lambda: found.mu, 10, 0)
    assert len(jobs._jobs) <= 12
    assert jobs.get(0, lambda: found.mu, 10, 0) is not first

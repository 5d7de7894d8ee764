"""The trainer: seeded, resumable bit for bit, and stopped with good weights when it diverges."""

import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import blobs
from vae_core import train
from vae_core.bounds import log_likelihood
from vae_core.checkpoint import read_tensors, write_tensors
from vae_core.data import Split, load
from vae_core.errors import UserError
from vae_core.evaluate import encode, evaluate
from vae_core.information import split_rate
from vae_core.model import ModelConfig
from vae_core.run_config import RunConfig
from vae_core.train import Diverged, Progress, Trainer
from vae_core.train_config import TrainConfig

CPU = torch.device("cpu")
BLOBS = blobs()
MODEL = ModelConfig((1, 8, 8), widths=(16,))


def _trainer(model: ModelConfig = MODEL, dataset: object = BLOBS, **config: object) -> Trainer:
    return Trainer(model, TrainConfig(**({"epochs": 3, "batch_size": 32} | config)), dataset, CPU)


def _run(trainer: Trainer) -> list[Progress]:
    return list(trainer.run())


def _equal(a: Trainer, b: Trainer) -> bool:
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_REPORT_SECONDS", 0.0)


def test_same_seed_same_weights_bit_for_bit() -> None:
    first, second, other = _trainer(seed=5), _trainer(seed=5), _trainer(seed=6)
    state = torch.get_rng_state()
    for trainer in (first, second, other):
        _run(trainer)
        torch.rand(3)  # what others draw does not matter
    assert _equal(first, second)
    assert not _equal(first, other)
    torch.set_rng_state(state)
    _run(_trainer())
    assert torch.equal(torch.get_rng_state(), state)  # and nothing is taken from them


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("arch", ["mlp", "conv"])
@pytest.mark.parametrize(
    "options",
    [
        {"likelihood": "bernoulli", "binarize": True, "kl_warmup": 2.0},
        {"likelihood": "gaussian-optimal", "free_bits": 0.2},
        {"likelihood": "bernoulli", "objective": "beta-tcvae", "beta": 4.0, "kl_warmup": 1.0},
        {"likelihood": "bernoulli", "objective": "iwae", "importance_samples": 3, "bias_from_mean": True},
        {"likelihood": "bernoulli", "beta_range": (0.01, 10.0)},
    ],
    ids=["bernoulli", "gaussian-optimal", "beta-tcvae", "iwae", "range"],
)
def test_resumed_equals_uninterrupted_at_every_step(tmp_path: Path, arch: str, options: dict) -> None:
    """The state goes through a file; weights, optimiser and test figures end bitwise the same."""
    config = dict(options)
    widths = (16, 12) if arch == "mlp" else (8, 8)
    beta_range = config.pop("beta_range", None)
    model = ModelConfig((1, 8, 8), 3, arch, config.pop("likelihood"), widths, beta_range=beta_range)
    whole = _trainer(model, **config)
    kept = []
    for progress in whole.run():
        write_tensors(tmp_path / f"{len(kept)}", *whole.state())
        kept.append(progress)
    assert len(kept) == whole.total_steps == 18
    assert {record.epoch % 1 for record in kept} != {0.0}
    for interrupted in (0, 3, 5, 6, 11, 16, 17):
        again = _trainer(model, **config)
        again.restore(*read_tensors(tmp_path / f"{interrupted}"))
        rest = _run(again)
        assert _equal(whole, again), f"resumed after step {interrupted + 1}"
        assert [record.step for record in rest] == [record.step for record in kept[interrupted + 1 :]]
        if rest:
            assert rest[-1].test == kept[-1].test
        ours, theirs = again.state()[0], whole.state()[0]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_on_another_kind_of_device_training_goes_on_with_other_noise() -> None:
    """A GPU's generator has a state of 16 bytes."""
    trainer = _trainer()
    tensors, position = trainer.state()
    ends = []
    for _ in range(2):
        again = _trainer()
        again.restore(tensors | {"noise": torch.zeros(16, dtype=torch.uint8)}, position)
        ends.append([record.loss for record in again.run()][-1])
    assert ends[0] == ends[1]
    assert math.isfinite(ends[0])


@pytest.mark.usefixtures("every_step")
def test_records_say_what_happened() -> None:
    trainer = _trainer(beta=2.0, kl_warmup=1.0)
    records = _run(trainer)
    assert [record.step for record in records] == list(range(1, 19))
    assert [record.epoch for record in records] == pytest.approx([step / 6 for step in range(1, 19)])
    assert [record.test is not None for record in records] == ([False] * 5 + [True]) * 3
    assert records[-1].test == evaluate(trainer.model, BLOBS.test.images)
    for record in records:
        assert record.kl == pytest.approx(sum(record.kl_per_dimension))
        assert len(record.kl_per_dimension) == 2
        assert record.gradient_norm > 0
        assert record.images_per_second > 0
    # The record's β is that of the next step, the loss was taken with that of the last: step 9 is past the warm-up.
    assert records[8].loss == pytest.approx(records[8].reconstruction + 2 * records[8].kl, rel=1e-5)
    assert records[0].loss == pytest.approx(records[0].reconstruction, rel=1e-5)
    assert [r.seconds for r in records] == sorted(r.seconds for r in records)
    assert trainer.images_per_second == pytest.approx(18 * 32 / trainer.seconds)
    json.dumps([record.to_dict() for record in records], allow_nan=False)


def test_epochs_are_tested_ever_less_often_and_the_last_always() -> None:
    """Epochs that take less than a record have none but those."""
    records = _run(_trainer(dataset=blobs(train=8, test=8), epochs=305, batch_size=8))
    tested = [*range(1, 101), *range(102, 201, 2), *range(201, 301, 3), 304, 305]
    assert [record.epoch for record in records if record.test] == tested
    assert all(record.epoch.is_integer() for record in records)
    assert len(records) <= len(tested) + 1 + records[-1].seconds / train._REPORT_SECONDS
    assert sum(train.is_tested(epoch, 100_000) for epoch in range(1, 100_001)) < 1500


def test_who_waits_for_the_end_of_an_epoch_has_a_record_of_each() -> None:
    """Also of those that take no time and are not tested: one epoch is stepped, not several."""
    trainer = _trainer(dataset=blobs(train=8, test=8), epochs=250, batch_size=8)
    records = trainer.run()
    next(record for record in records if record.epoch == 219)
    trainer.records_each_epoch = True
    assert [next(records).epoch for _ in range(4)] == [220, 221, 222, 223]


def test_an_epoch_as_long_as_a_record_has_one_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one can pause there; also where the test set is not evaluated."""
    monkeypatch.setattr(train, "is_tested", lambda epoch, epochs: epoch == epochs)
    now = itertools.count(step=0.05)  # seconds that pass from one look at the clock to the next
    monkeypatch.setattr(train.time, "perf_counter", now.__next__)
    records = _run(_trainer())
    ends = [record for record in records if record.epoch.is_integer()]
    assert [record.epoch for record in ends] == [1, 2, 3]
    assert len(records) > len(ends)
    assert [record.test is not None for record in ends] == [False, False, True]


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("beta_range", [None, (0.01, 10.0)])
def test_the_learning_rate_falls_to_zero_at_the_end(beta_range: tuple[float, float] | None) -> None:
    """Straight down over the last 30 % of the steps, from the rate in force: one that was changed counts in full."""
    trainer = _trainer(ModelConfig((1, 8, 8), widths=(16,), beta_range=beta_range), epochs=5, learning_rate=0.01)
    rates = []
    for record in trainer.run():
        rates.append(record.learning_rate)
        if record.step == 24:
            trainer.learning_rate = 0.02
    before = [0.01 * min(1.0, (1 - step / 30) / 0.3) for step in range(1, 25)]
    assert rates == pytest.approx(before + [0.02 * (1 - step / 30) / 0.3 for step in range(25, 31)])


RESPONDING = {
    "mlp": {"encoder.hidden.1", "decoder.hidden.1"},
    "conv": {f"encoder.{layer}" for layer in ("stages.1", "squeeze", "hidden")}
    | {f"decoder.{layer}" for layer in ("spread", "expand", "stages.0", "stages.1")},
}


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("arch", RESPONDING)
@pytest.mark.parametrize("beta_range", [None, (0.01, 10.0)])
@pytest.mark.parametrize(("rate", "times"), [(1e-3, 2.0), (1.6e-3, 1.25), (3e-3, 1.0)])
def test_layers_that_respond_to_beta_learn_up_to_twice_as_fast(
    arch: str, beta_range: tuple[float, float] | None, rate: float, times: float
) -> None:
    """The first step of Adam moves every weight that has a gradient by the learning rate."""
    trainer = _trainer(ModelConfig((1, 8, 8), 2, arch, widths=(16, 12), beta_range=beta_range), learning_rate=rate)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    next(trainer.run())
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in trainer.model.state_dict().items()}
    faster = RESPONDING[arch] if beta_range else set()
    for side in ("encoder", "decoder"):
        for name in moved:
            if name.startswith(side) and name.endswith(("weight", "bias")) and "change" not in name:
                factor = times if name.rpartition(".")[0] in faster else 1
                assert moved[name] == pytest.approx(factor * rate, rel=0.02), name


@pytest.mark.usefixtures("every_step")
def test_beta_warms_up_linearly() -> None:
    betas = [record.beta for record in _run(_trainer(beta=3.0, kl_warmup=2.0))]
    assert betas == pytest.approx([min(3.0, 3.0 * step / 12) for step in range(1, 19)])


def test_an_epoch_shows_every_image_once() -> None:
    """Whole batches of a shuffle that is another one each epoch."""
    trainer = _trainer()
    orders = []
    for epoch in range(3):
        trainer.epoch = epoch
        orders.append(trainer._order().numpy())
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(200))
    assert (orders[0] != orders[1]).any()
    assert (orders[1] != orders[2]).any()


def test_digits_are_learned() -> None:
    """The test ELBO rises by more than 10 nats in 15 epochs, and the codes are in use."""
    trainer = Trainer(ModelConfig((1, 8, 8)), TrainConfig(epochs=15), load("digits"), CPU)
    before = evaluate(trainer.model, load("digits").test.images)
    after = [record.test for record in trainer.run() if record.test][-1]
    assert after.elbo > before.elbo + 10
    assert after.active_units == 2


def test_beta_trades_reconstruction_for_kl() -> None:
    """β = 0 leaves the KL free, a large β makes it nothing; the reconstruction goes the other way."""
    ends = [_run(_trainer(beta=beta, epochs=40, learning_rate=3e-3))[-1].test for beta in (0.0, 1.0, 50.0)]
    assert ends[0].kl > ends[1].kl > ends[2].kl
    assert ends[0].reconstruction < ends[1].reconstruction < ends[2].reconstruction
    assert ends[2].kl < 0.1


def test_a_large_kl_alone_is_no_divergence() -> None:
    """With β = 0 nothing holds the KL: codes far from the prior are no failure, and training goes on."""
    trainer = _trainer(ModelConfig((1, 8, 8), latent_dim=128, widths=(64,)), beta=0.0)
    with torch.no_grad():
        trainer.model.encoder.head.bias[:128] = 5.0
    end = _run(trainer)[-1]
    assert end.kl > 20 * end.reconstruction


def test_free_bits_keep_every_dimension() -> None:
    """Of six dimensions each carries 0.9 of its free nat or more; without, some carry none."""
    model = ModelConfig((1, 8, 8), latent_dim=6, widths=(16,))
    free, plain = (
        _run(_trainer(model, free_bits=bits, epochs=60, learning_rate=3e-3))[-1].kl_per_dimension for bits in (1.0, 0.0)
    )
    assert min(free) > 0.9
    assert min(plain) < 0.2


def test_tcvae_untangles_the_codes() -> None:
    """At β = 30 the total correlation of the codes is below a half of that at β = 0; the test terms are the ELBO's."""
    model, found = ModelConfig((1, 8, 8), latent_dim=3, widths=(16,)), []
    for beta in (0.0, 30.0):
        trainer = _trainer(model, objective="beta-tcvae", beta=beta, epochs=60, learning_rate=3e-3)
        last = _run(trainer)[-1].test
        assert last == evaluate(trainer.model, BLOBS.test.images)
        assert last.elbo == pytest.approx(-(last.reconstruction + last.kl))
        found.append(split_rate(*encode(trainer.model, BLOBS.train.images), draws=4))
    assert found[1].total_correlation < 0.5 * found[0].total_correlation
    assert found[1].mutual_information > 0.5


@pytest.mark.usefixtures("every_step")
def test_tcvae_at_beta_one_trains_as_the_elbo_does() -> None:
    """To rounding: its loss is the same one, on the training and on the test images."""
    plain, tc = (_run(_trainer(objective=objective, epochs=1))[-1] for objective in ("beta-vae", "beta-tcvae"))
    assert (plain.test_loss, tc.test_loss) == (None, pytest.approx(-tc.test.elbo))
    ends = [plain.test.elbo, tc.test.elbo]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_diverging_stops_with_good_weights(arch: str) -> None:
    trainer = _trainer(ModelConfig((1, 8, 8), arch=arch), learning_rate=1.0, epochs=20)
    with pytest.raises(Diverged, match=r"ran away .* learning rate below 1 "):
        _run(trainer)
    assert evaluate(trainer.model, BLOBS.test.images).elbo > -100


@pytest.mark.usefixtures("every_step")
def test_nan_stops_with_the_last_good_weights() -> None:
    """Weights that stop being numbers are found at the next record, and those of the record before come back."""
    trainer = _trainer()
    steps = trainer.run()
    for _ in range(8):
        next(steps)
    good = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with torch.no_grad():
        trainer.model.decoder.head.weight[0, 0] = torch.nan
    with pytest.raises(Diverged, match="not a finite number"):
        next(steps)
    assert all(torch.equal(good[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.usefixtures("every_step")
def test_beta_and_learning_rate_can_be_changed() -> None:
    """A rate of (nearly) nothing freezes the weights; β is in force at once."""
    trainer = _trainer()
    steps = trainer.run()
    for _ in range(4):
        next(steps)
    before = trainer.model.decoder.head.weight.clone()
    trainer.learning_rate, trainer.beta = 1e-12, 7.0
    record = next(steps)
    assert (record.beta, record.learning_rate) == (7.0, 1e-12)
    assert record.loss == pytest.approx(record.reconstruction + 7 * record.kl, rel=1e-5)
    torch.testing.assert_close(trainer.model.decoder.head.weight, before, rtol=0, atol=1e-9)


def test_binarising_changes_what_is_learned() -> None:
    plain, drawn = _trainer(), _trainer(binarize=True)
    _run(plain)
    _run(drawn)
    assert not _equal(plain, drawn)


def test_the_test_images_are_binarised_where_training_is() -> None:
    trainer = _trainer(binarize=True, epochs=1)
    *_, last = trainer.run()
    assert last.test == evaluate(trainer.model, BLOBS.test.images, binarize=True)
    assert last.test.elbo != pytest.approx(evaluate(trainer.model, BLOBS.test.images).elbo)


def test_time_before_the_first_step_is_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, clock = _trainer(epochs=1), time.perf_counter
    monkeypatch.setattr("vae_core.train.time.perf_counter", lambda: clock() + 1000)
    *_, last = trainer.run()
    assert 0 < last.seconds < 500


def test_binarised_pixels_are_black_or_white_with_their_grey_as_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anew each time; black stays black and white white; the mean over 120 draws of all 12,800 pixels within four
    standard errors."""
    dataset = blobs()
    dataset.train.images[:, 0, 0, :4] = np.array([0, 255, 51, 204], np.uint8)
    trainer = _trainer(dataset=dataset, binarize=True, batch_size=200, epochs=120)
    seen, objective = [], trainer._parallel
    monkeypatch.setattr(trainer, "_parallel", lambda model, x, *rest: seen.append(x) or objective(model, x, *rest))
    _run(trainer)
    drawn, grey = torch.stack(seen), torch.tensor(dataset.train.images / 255)
    assert drawn.unique().tolist() == [0.0, 1.0]
    corner = drawn[:, :, 0, 0, :4].mean((0, 1))
    assert corner[:2].tolist() == [0.0, 1.0]
    error = (0.2 * 0.8 / drawn[:, :, 0, 0, 0].numel()) ** 0.5
    assert (corner[2:] - torch.tensor([0.2, 0.8])).abs().max() < 4 * error
    assert abs(drawn.mean() - grey.mean()) < 4 * float((grey * (1 - grey)).sum() / 120) ** 0.5 / grey.numel()
    assert not torch.equal(drawn[0], drawn[1])


def test_a_batch_larger_than_the_set_is_the_whole_set() -> None:
    trainer = _trainer(batch_size=5000)
    assert (trainer.batch_size, trainer.batches) == (200, 1)
    assert len(_run(trainer)) == 3


def test_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(1, 28, 28\).*blobs.*\(1, 8, 8\)"):
        _trainer(ModelConfig((1, 28, 28)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", -1),
        ("learning_rate", 0.0),
        ("learning_rate", "fast"),
        ("beta", -0.1),
        ("beta", float("nan")),
        ("beta", float("inf")),
        ("kl_warmup", -1.0),
        ("free_bits", 101.0),
        ("seed", -1),
        ("seed", True),
    ],
)
def test_settings_out_of_range_are_refused_with_the_value(name: str, value: object) -> None:
    with pytest.raises(UserError, match=r"not a (whole )?number from .* to .*\.$") as error:
        TrainConfig(**{name: value})
    given = str(value).removesuffix(".0") if isinstance(value, float) else repr(value)
    assert f" {given} is not a" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "vae"}, r"no objective 'vae'\. Choose one of beta-vae, beta-tcvae, iwae\."),
        ({"objective": "beta-tcvae", "free_bits": 0.5}, r"Free bits of 0\.5 nats .* choose β-VAE\."),
        ({"objective": "beta-tcvae", "batch_size": 1}, r"1 picture .* 2 or more\."),
        ({"objective": "beta-tcvae", "importance_samples": 2}, r"not 2\. .* choose IWAE\."),
        ({"objective": "iwae"}, r"1 importance sample is the ELBO.* 2 or more, or β-VAE\."),
        ({"objective": "iwae", "importance_samples": 5, "beta": 4.0}, r"β of 4 .* Set it to 1, or choose β-VAE\."),
        ({"objective": "iwae", "importance_samples": 5, "kl_warmup": 2.0}, r"A KL warm-up of 2 .* Set it to 0"),
        ({"objective": "iwae", "importance_samples": 5, "free_bits": 0.5}, r"Free bits of 0\.5 .* Set it to 0"),
    ],
)
def test_objectives_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainConfig(**settings)


def test_tcvae_is_refused_for_a_range_of_beta_and_for_too_large_batches() -> None:
    with pytest.raises(UserError, match=r"not of β from 0\.1 to 2\."):
        RunConfig(ModelConfig((1, 8, 8), beta_range=(0.1, 2)), TrainConfig(objective="beta-tcvae"))
    wide = ModelConfig((1, 8, 8), latent_dim=128)
    assert RunConfig(wide, TrainConfig(objective="beta-tcvae", batch_size=512))
    with pytest.raises(UserError, match=r"513 are too many with a latent size of 128\. .* at most 512\."):
        RunConfig(wide, TrainConfig(objective="beta-tcvae", batch_size=513))


def test_the_objective_names_a_run_of_its_own_and_beta_vae_none() -> None:
    """What was trained before there was a choice keeps its name (see also test_gates), and reads as β-VAE."""
    plain, other = (RunConfig(MODEL, TrainConfig(beta=4, objective=name)) for name in ("beta-vae", "beta-tcvae"))
    assert plain == RunConfig(MODEL, TrainConfig(beta=4))
    assert "objective" not in plain.to_dict()["train"]
    assert RunConfig.from_dict(plain.to_dict()) == plain
    assert RunConfig.from_dict(other.to_dict()) == other
    assert other.to_dict()["train"]["objective"] == "beta-tcvae"
    assert "-tc4-" in other.name
    bound = RunConfig(MODEL, TrainConfig(objective="iwae", importance_samples=5, bias_from_mean=True))
    assert RunConfig.from_dict(bound.to_dict()) == bound
    assert "-iwae5-" in bound.name


def test_several_samples_are_refused_for_a_range_of_beta_and_for_what_fills_the_memory() -> None:
    bound = TrainConfig(objective="iwae", importance_samples=5000, batch_size=210)
    with pytest.raises(UserError, match=r"from 0\.1 to 2 is trained with 1 posterior sample an image, not 5,000\."):
        RunConfig(ModelConfig((1, 8, 8), beta_range=(0.1, 2)), bound)
    with pytest.raises(UserError, match=r"210 pictures a batch is decoded 5,000 times.* at most 209,"):
        RunConfig(MODEL, bound)
    with pytest.raises(UserError, match=r"Choose fewer samples\."):
        RunConfig(ModelConfig((3, 128, 128)), bound)


@pytest.mark.usefixtures("every_step")
def test_the_test_loss_of_a_range_is_that_over_the_range() -> None:
    ends = (0.01, 0.1)
    trainer = _trainer(ModelConfig((1, 8, 8), 3, widths=(16,), beta_range=ends), epochs=40, learning_rate=3e-3)
    last = _run(trainer)[-1]
    tested = [(beta, evaluate(trainer.model.at(beta), BLOBS.test.images)) for beta in np.geomspace(*ends, 21)]
    expected = np.mean([found.reconstruction + beta * found.kl for beta, found in tested])
    assert last.test_loss == pytest.approx(expected, rel=0.02)
    assert -last.test.elbo > 1.05 * expected, "which is at β = 1"


@pytest.mark.usefixtures("every_step")
def test_the_test_loss_counts_free_bits_as_the_training_loss_does() -> None:
    last = _run(_trainer(ModelConfig((1, 8, 8), 4, widths=(16,)), free_bits=3.0, epochs=10))[-1]
    assert last.test_loss >= last.test.reconstruction + 4 * 3.0 - 1e-3
    assert last.test_loss == pytest.approx(last.loss, rel=0.1)


@pytest.mark.usefixtures("every_step")
def test_iwae_records_its_bound_and_the_elbo_s_terms() -> None:
    """The loss lies below reconstruction + KL by what the samples gain, on the training and on the test images."""
    trainer = _trainer(ModelConfig((1, 8, 8), 3, widths=(16,)), objective="iwae", importance_samples=20, epochs=20)
    records = _run(trainer)
    last = records[-1]
    assert last.loss < last.reconstruction + last.kl
    assert last.test == evaluate(trainer.model, BLOBS.test.images)
    bound = log_likelihood(trainer.model, BLOBS.test.images, 20, seed=1)
    assert -last.test_loss == pytest.approx(bound.mean, abs=1.0)
    uneven = replace(BLOBS, test=Split(np.concatenate([BLOBS.test.images[:32], np.full((31, 1, 8, 8), 255, np.uint8)])))
    model = ModelConfig((1, 8, 8), widths=(16,), likelihood="gaussian")
    odd = _run(_trainer(model, uneven, objective="iwae", importance_samples=2, epochs=1))[-1]
    assert odd.test_loss == pytest.approx(-odd.test.elbo, rel=0.1), "those beyond the last whole batch count"
    assert all((record.test_loss is None) == (record.test is None) for record in records)


def test_averaging_over_samples_trains_the_elbo() -> None:
    """The loss is reconstruction + β·KL of the averages, and the steps are others."""
    one, many = _trainer(beta=2.0, epochs=1), _trainer(beta=2.0, epochs=1, importance_samples=8)
    ends = [_run(trainer)[-1] for trainer in (one, many)]
    assert not _equal(one, many)
    assert ends[1].loss == pytest.approx(ends[1].reconstruction + 2 * ends[1].kl, rel=1e-5)


@pytest.mark.parametrize(("arch", "channels"), [("mlp", 1), ("conv", 3)])
def test_the_output_starts_at_the_mean_picture(arch: str, channels: int) -> None:
    """Of each pixel for an MLP, of each channel for a convolution; a black pixel at a thousandth."""
    shape = (channels, 8, 8)
    dataset = blobs(shape=shape)
    dataset.train.images[:, 0, 0, 0] = 0
    head = _trainer(ModelConfig(shape, arch=arch, widths=(16,)), dataset, bias_from_mean=True).model.decoder.head
    mean = dataset.train.images.mean(0) / 255
    wanted = mean.reshape(-1).clip(1e-3) if arch == "mlp" else mean.mean((1, 2))
    np.testing.assert_allclose(torch.sigmoid(head.bias).detach().numpy(), wanted, rtol=1e-5)


@pytest.mark.usefixtures("every_step")
def test_the_schedule_and_adam_s_epsilon_are_what_is_given() -> None:
    trainer = Trainer(
        MODEL, TrainConfig(epochs=2, batch_size=32), BLOBS, CPU, schedule=lambda done: 1 - done / 2, adam_epsilon=1e-4
    )
    assert [record.learning_rate for record in trainer.run()] == pytest.approx(
        [1e-3 * (1 - step / 24) for step in range(1, 13)]
    )
    assert trainer.optimiser.param_groups[0]["eps"] == 1e-4


def test_equal_settings_name_the_same_run() -> None:
    names = {RunConfig(MODEL, TrainConfig(beta=beta, seed=seed)).name for beta in (1, 1.0) for seed in (0, 1)}
    assert len(names) == 2

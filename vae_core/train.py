"""The trainer: a plain generator of progress records, seeded and resumable bit for bit."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_core import device as devices
from vae_core import folders, gates
from vae_core.captured import Captured
from vae_core.data import Dataset, title
from vae_core.distributed import Ranks
from vae_core.errors import UserError
from vae_core.evaluate import Evaluation, binarise, evaluate, inference, to_unit
from vae_core.model import VAE, ModelConfig
from vae_core.objective import (
    Terms,
    elbo_terms,
    iwae_loss,
    loss,
    multisample_terms,
    tcvae_loss,
    tcvae_terms,
    warmed_up,
)
from vae_core.train_config import TrainConfig

__all__ = ["Diverged", "Progress", "Trainer", "is_tested"]

_REPORT_SECONDS = 0.2
_DECAY = 0.3  # the part of the training in which the learning rate falls
_MEMORY, _MEMORY_OF_RANGES = 0.999, 0.99  # Adam's β₂; draws of β make gradients uneven, see bench/README.md
_RESPONDING, _FAST = 2.0, 2e-3  # layers that respond to β learn so many times as fast, up to this rate: bench/README.md
_DARKEST = 1e-3  # of the mean picture, where the output bias starts from it
_OFTEN_TESTED = 100  # epochs; after so many not all are


@dataclass(frozen=True)
class Progress:
    """What the trainer yields a few times a second, and at the ends of epochs that take as long as that or are tested.

    epoch counts with its fraction; reconstruction, kl, kl_per_dimension (d,) and loss are means over the
    training images since the last record, in nats; loss = reconstruction + β·KL (`objective.tcvae_loss` for
    'beta-tcvae', `objective.iwae_loss` for 'iwae') with the β in force (after warm-up), which is `beta` (where a β is
    drawn for each image: the fraction of it that is in force);
    gradient_norm is that of the last step; images_per_second counts training steps only; seconds is the time
    spent in them so far. `test` is the test set's evaluation (binarised where training is), at the ends of epochs that
    are tested (`is_tested`), and `test_loss` its loss where that is not reconstruction + β·KL.
    """

    step: int
    epoch: float
    images_per_second: float
    loss: float
    reconstruction: float
    kl: float
    kl_per_dimension: tuple[float, ...]
    gradient_norm: float
    learning_rate: float
    beta: float
    seconds: float
    test: Evaluation | None = None
    test_loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)


def is_tested(epoch: int, epochs: int) -> bool:
    """Whether the test set is evaluated at the end of an epoch, counted from 1: of each of the first 100, of every
    second of the next, of every third of those after, and so on, and of the last of `epochs`.
    """
    return epoch == epochs or epoch % math.ceil(epoch / _OFTEN_TESTED) == 0


class Diverged(UserError):  # noqa: N818 (an end that training may have)
    """Training left the numbers a float can hold, or the loss ran away; the last good weights are back."""


def falling(done: float) -> float:
    """The learning rate's factor after a part `done` of the steps: 1, and straight down to 0 over the last 30 %."""
    return min(1.0, (1 - done) / _DECAY)


class Trainer:
    """Trains one model on one data set. Between two records `beta` and `learning_rate` may be changed, and
    `records_each_epoch`, for somebody who waits for the end of an epoch.

    `schedule` is the learning rate's factor after a part of the steps, from 0 to 1. `precision`, one of
    `device.PRECISIONS`, is that of the networks' products in training; all else, evaluation included, is float32.
    On an NVIDIA GPU the steps of a trainer that is alone are captured and replayed, see `captured`.
    On several `ranks` each process has a trainer, and all take the same steps as one alone would; see `distributed`.
    """

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        dataset: Dataset,
        device: torch.device | None = None,
        ranks: Ranks | None = None,
        *,
        schedule: Callable[[float], float] = falling,
        adam_epsilon: float = 1e-8,
        precision: str | None = None,
    ) -> None:
        if tuple(model.image_shape) != tuple(dataset.image_shape):
            raise UserError(
                f"The model takes pictures of shape {model.image_shape}, but {dataset.name} has "
                f"{dataset.image_shape}. Choose another data set or model."
            )
        if train.pictures and train.pictures != dataset.fingerprint:
            raise UserError(
                f"The pictures in {title(dataset.name)} are not those that this training began with. Train a new model "
                "on them, or put the old ones back."
            )
        self.config = train
        self.dataset = dataset
        self.device = device or devices.pick()
        self.precision = precision or devices.training_precision(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(train.seed)
            self.model = VAE(model).to(self.device)
        self.model.trains_in_bf16 = self.precision == "bf16"
        if train.bias_from_mean:
            _start_from_mean(self.model, dataset.train.images)
        self.learning_rate = train.learning_rate
        self.beta = train.beta
        on_cuda = self.device.type == "cuda"
        self.optimiser = torch.optim.Adam(
            _with_factors(self.model, train.learning_rate, self.device if on_cuda else None),
            betas=(0.9, _MEMORY_OF_RANGES if model.beta_range else _MEMORY),
            eps=adam_epsilon,
            fused=True,
            capturable=on_cuda,
        )
        self.schedule = schedule
        self.ranks = ranks or Ranks()
        self.count = len(dataset.train)
        self.images = self._near(torch.from_numpy(self.ranks.shard(dataset.train.images)))  # mapped, maybe: not copied
        self.reads_ahead = self.images.device.type == "cpu" and folders.wants_reading_ahead(dataset.train.images)
        self.noise = torch.Generator(device=self.device).manual_seed(train.seed)
        self.batch_size = min(train.batch_size, self.count)
        self.batches = self.count // self.batch_size
        self.epoch = self.batch = 0
        self.seconds = 0.0
        self._first_reconstruction: float | None = None
        self._good = self._weights()
        self._parallel = self.ranks.parallel(self.model, self._objective)
        self._in_force = (math.nan, math.nan)
        self._beta = torch.zeros((), device=self.device)
        self._sums = torch.zeros(2 + model.latent_dim, device=self.device)  # loss, reconstruction and KL of the steps
        self._steps_a_record = 1
        self.records_each_epoch = False
        self._begin()

    @property
    def step(self) -> int:
        """Optimiser steps taken so far."""
        return self.epoch * self.batches + self.batch

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.config.epochs * self.batches

    @property
    def images_per_second(self) -> float:
        """Images trained on a second, over the whole training so far; 0 before it began."""
        return self.step * self.batch_size / self.seconds if self.seconds else 0.0

    def run(self) -> Iterator[Progress]:
        """Train from where it stands to the last epoch, yielding records.

        Raises Diverged, with the last good weights back in the model, when a loss is not finite or runs away.
        """
        self.model.train()
        self._begin_record()
        while self.epoch < self.config.epochs:
            order = self._order()
            self._epoch_began = time.perf_counter()
            while self.batch < self.batches:
                if self.reads_ahead:
                    ahead = self._rows(order, self.batch + 1)
                    folders.read_ahead(self.dataset.train.images, ahead[self.ranks.own(ahead)].tolist())
                self._train_step(self._rows(order, self.batch))
                self.batch += 1
                if self.batch < self.batches and self._record_is_due():
                    yield self._record()
                    self._begin_record()
            record = self._record_at_epoch_end()
            self.epoch, self.batch = self.epoch + 1, 0
            if record:
                yield record
                self._begin_record()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest of the training depends on, as tensors and JSON values."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in slots.items()}
        tensors["noise"] = self.noise.get_state()
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.seconds,
            "beta": self.beta,
            "learning_rate": self.learning_rate,
            "first_reconstruction": self._first_reconstruction,
        }
        return tensors, position

    def restore(self, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
        """Go back to where `state` was taken. On another kind of device training goes on with other noise: generators
        of one kind know nothing of another's state.
        """
        self.model.load_state_dict(_part(tensors, "model."))
        parameters = list(self.model.parameters())
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimiser.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = _laid_out_like(parameters[int(index)], value)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        self.epoch, self.batch = position["epoch"], position["batch"]
        if tensors["noise"].shape == self.noise.get_state().shape:
            self.noise.set_state(tensors["noise"])
        else:
            self.noise.manual_seed(self.config.seed + self.step)
        self.seconds = position["seconds"]
        self.beta, self.learning_rate = position["beta"], position["learning_rate"]
        self._first_reconstruction = position["first_reconstruction"]
        self._good = self._weights()
        self._begin()

    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator)
        return order.to(self.images.device) if self.ranks.size == 1 else order

    def _record_is_due(self, *, at_epoch_end: bool = False) -> bool:
        """By the clock; several ranks, which have to agree, count the steps that rank 0 expects to take as long.

        An epoch that takes as long as a record has its records and one at its end; shorter ones have only the latter,
        and not all of them.
        """
        which = max if at_epoch_end else min
        if self.ranks.size > 1:
            return which(self._steps, self.batch) >= self._steps_a_record
        now = time.perf_counter()
        return which(now - self._since, now - self._epoch_began) >= _REPORT_SECONDS

    def _record_at_epoch_end(self) -> Progress | None:
        if is_tested(self.epoch + 1, self.config.epochs):
            return self._record(tested=True)
        due = self.records_each_epoch or self._record_is_due(at_epoch_end=True)
        return self._record() if due else None

    def _rows(self, order: Tensor, batch: int) -> Tensor:
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def _beta_now(self) -> float:
        return warmed_up(self.beta, self.step / self.batches, self.config.kl_warmup)

    def _learning_rate_now(self) -> float:
        return self.learning_rate * self.schedule(self.step / self.total_steps)

    def _begin(self) -> None:
        """As a trainer whose tensors are new."""
        alone_on_cuda = self.device.type == "cuda" and self.ranks.size == 1
        self._captured = Captured(self._step_on, self.noise) if alone_on_cuda else None
        self._epoch_began = time.perf_counter()
        self._begin_record()

    def _train_step(self, index: Tensor) -> None:
        """One step on the training images `index` (B,)."""
        self._put_in_force()
        pixels = self.ranks.take(self.images, index)
        if self._captured:
            self._captured(pixels)
        else:
            self._step_on(pixels, index)
        if self._first_reconstruction is None:
            self._first_reconstruction = self._sums[1].item()
        self._steps += 1

    def _put_in_force(self) -> None:
        """The learning rate and the β of this step to where the step reads them."""
        rate, beta = in_force = self._learning_rate_now(), self._beta_now()
        if in_force == self._in_force:
            return
        self._in_force = in_force
        self._beta.fill_(beta)
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(group["factor"] * rate)
            else:
                group["lr"] = group["factor"] * rate

    def _step_on(self, pixels: Tensor, index: Tensor | None = None) -> None:
        """A step on a batch, uint8 (B, C, H, W), that never waits for the device; ranks share its rows by `index`."""
        x = to_unit(pixels, self.device)
        if self.config.binarize:
            x = (torch.rand(x.shape, generator=self.noise, device=self.device) < x).to(x.dtype)
        with devices.rounding(self.device, self.precision):
            model = self.ranks.spread(self.model, index)
            terms, value = self._parallel(model, x, self.count, self.noise, self._beta)
            self.optimiser.zero_grad()
            self.ranks.backward(value)
        self.optimiser.step()
        with torch.no_grad():
            self._sums += torch.cat([value[None], terms.reconstruction.mean()[None], terms.kl.mean(0)])

    def _objective(
        self, model: VAE, x: Tensor, images: int, noise: torch.Generator, beta: float | Tensor
    ) -> tuple[Terms, Tensor]:
        """The ELBO's terms for a batch out of so many `images`, and what training minimises with `beta` in force."""
        train = self.config
        if train.objective == "beta-tcvae":
            terms, correlation = tcvae_terms(model, x, images, noise)
            return terms, tcvae_loss(terms, correlation, beta)
        if train.importance_samples > 1:
            terms, log_weights = multisample_terms(model, x, train.importance_samples, noise)
            return terms, iwae_loss(log_weights) if train.objective == "iwae" else loss(terms, beta, train.free_bits)
        beta_range = model.config.beta_range
        betas = None if beta_range is None else gates.draw(len(x), beta_range, noise)
        terms = elbo_terms(model, x, noise, betas)
        return terms, loss(terms, beta if betas is None else beta * betas, train.free_bits)

    @functools.cached_property
    def _test_images(self) -> Tensor:
        """uint8 (N, C, H, W): drawn black or white, always alike, where training draws pixels so."""
        images = self.dataset.test.images
        return self._near(torch.from_numpy(binarise(images, 0) if self.config.binarize else images))

    def _near(self, images: Tensor) -> Tensor:
        """`images` on the device, where it has room for them."""
        return images.to(self.device) if devices.has_room(self.device, images.nbytes) else images

    def _test_loss(self, tested: Evaluation) -> float | None:
        """What training minimises, on the test images; None where `tested` says it.

        β-TCVAE's total correlation is that of whole batches, the last images left out where they make none.
        """
        if self.config.objective == "beta-vae" and self.model.config.beta_range is None and not self.config.free_bits:
            return None
        images, noise = self._test_images, torch.Generator(device=self.device).manual_seed(self.config.seed)
        size = min(self.batch_size, len(images))
        model = self.ranks.spread(self.model)
        with inference(self.model):
            batches = (to_unit(images[start : start + size], self.device) for start in range(0, len(images), size))
            if self.config.objective == "beta-tcvae":
                found = [tcvae_terms(model, x, len(images), noise)[1] for x in batches if len(x) == size]
                return -tested.elbo + (self._beta_now() - 1) * torch.stack(found).mean().item()
            beta = self._beta_now()
            total = sum(self._objective(model, x, len(images), noise, beta)[1].item() * len(x) for x in batches)
            return total / len(images)

    def _begin_record(self) -> None:
        self._sums.zero_()
        self._steps = 0
        self._since = time.perf_counter()

    def _record(self, *, tested: bool = False) -> Progress:
        value, reconstruction, *kl = (self._sums / self._steps).tolist()
        seconds = time.perf_counter() - self._since
        self.seconds += seconds
        self._steps_a_record = self.ranks.broadcast(max(1, round(self._steps / seconds * _REPORT_SECONDS)))
        self._check(reconstruction, sum(kl))
        test = evaluate(self.ranks.spread(self.model), self._test_images) if tested else None
        norm = torch.nn.utils.get_total_norm(p.grad for p in self.model.parameters() if p.grad is not None)
        return Progress(
            step=self.step,
            epoch=self.step / self.batches,
            images_per_second=self._steps * self.batch_size / seconds,
            loss=value,
            reconstruction=reconstruction,
            kl=sum(kl),
            kl_per_dimension=tuple(kl),
            gradient_norm=norm.item(),
            learning_rate=self._learning_rate_now(),
            beta=self._beta_now(),
            seconds=self.seconds,
            test=test,
            test_loss=test and self._test_loss(test),
        )

    def _check(self, reconstruction: float, kl: float) -> None:
        """Keep good weights, and give up where they are lost.

        The KL may grow without being a failure (with β = 0 nothing holds it), so only the reconstruction is
        compared with where training began.
        """
        first, weights = self._first_reconstruction, self._weights()
        finite = math.isfinite(reconstruction + kl) and _all_finite(weights.values())
        if not finite or reconstruction > first + 10 * max(abs(first), 100.0):
            what = f"ran away to {reconstruction:.4g} nats" if finite else "is not a finite number any more"
            self.model.load_state_dict(self._good)
            raise Diverged(
                f"The loss {what} in epoch {self.epoch + 1} and training was stopped; the last good "
                f"weights are kept. Try a learning rate below {self.learning_rate:g}"
                + ("." if self.config.objective == "iwae" else " or a longer KL warm-up.")
            )
        if reconstruction <= first:
            self._good = weights

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def _all_finite(values: Iterable[Tensor]) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in values]).all())


def _with_factors(model: VAE, rate: float, device: torch.device | None) -> list[dict[str, Any]]:
    """The model's parameters in their order, as groups with their learning rate, a tensor on `device` where there is
    one, and its factor."""
    factor = min(_RESPONDING, max(1.0, _FAST / rate))
    quick = set()
    if model.config.beta_range:
        networks = model.encoder, model.decoder
        quick = {weight for network in networks for layer, _ in network.gated() for weight in layer.parameters()}
    groups = itertools.groupby(model.parameters(), key=quick.__contains__)
    found = []
    for fast, weights in groups:
        own = factor if fast else 1.0
        learning_rate = own * rate if device is None else torch.tensor(own * rate, device=device)
        found.append({"params": list(weights), "factor": own, "lr": learning_rate})
    return found


def _start_from_mean(model: VAE, images: np.ndarray) -> None:
    """Set the decoder's last bias to the logit of the mean of `images`, uint8 (N, C, H, W): of each pixel, or of each
    channel where a convolution has one bias for all its pixels. Source: Burda et al. 2016, appendix B.
    """
    bias = model.decoder.head.bias
    mean = torch.from_numpy(images.mean(0) / 255).flatten(1)
    mean = mean.flatten() if mean.numel() == bias.numel() else mean.mean(1)
    with torch.no_grad():
        bias.copy_(torch.logit(mean, eps=_DARKEST))


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` in the memory layout of `parameter`, which the fused optimiser takes for granted."""
    return value.clone() if value.shape != parameter.shape else torch.empty_like(parameter).copy_(value)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

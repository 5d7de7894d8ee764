"""The derivation of the ELBO, line by line, each with its value for one picture and one model."""

import math
from dataclasses import dataclass

import numpy as np

from ui.layout import coordinates, dimension_name, nats, number, true_minus
from vae_core.checkpoint import Checkpoint
from vae_core.derivation import DRAWS, GRADIENT_DRAWS, Derivation, Quantity
from vae_core.information import RateSplit
from vae_core.latent import rank_by_kl
from vae_core.model import ModelConfig
from vae_core.words import counted

__all__ = ["Line", "Step", "amount", "steps", "terms", "words"]

_SHOWN = 4  # latent dimensions in a line

_Q = r"q_\phi(z \mid x)"
_TRUE = r"p_\theta(z \mid x)"
_LIKELIHOOD = r"p_\theta(x \mid z)"
_JOINT = r"p_\theta(x, z)"
_EVIDENCE = r"\log p_\theta(x)"
_KL_PRIOR = rf"\mathrm{{KL}}({_Q} \,\|\, p(z))"
_GAP = rf"\mathrm{{KL}}({_Q} \,\|\, {_TRUE})"
_ELBO = r"\mathcal{L}(\theta, \phi; x)"
_RATIO = rf"\log \frac{{{_JOINT}}}{{{_Q}}}"


def _mean(inside: str) -> str:
    return rf"\mathbb{{E}}_{{q_\phi}}\!\left[{inside}\right]"


_FIT = _mean(rf"\log {_LIKELIHOOD}")
_TERMS = (  # the longest first: term, its name, where it is touched with one or two latent dimensions, and with more
    (_GAP, "the gap", "elbo-lab", "amortised-and-classical"),
    (_KL_PRIOR, "the KL", "posterior-collapse-and-holes", "posterior-collapse-and-holes"),
    (_FIT, "the reconstruction", "reconstruct", "reconstruct"),
    (_mean(_RATIO), "the ELBO", "bounds", "bounds"),
    (_ELBO, r"$\mathcal{L}$", "train", "train"),
    (_EVIDENCE, rf"${_EVIDENCE}$", "elbo-lab", "bounds"),
    (r"p_\theta(x)", r"$p_\theta(x)$", "elbo-lab", "bounds"),
    (_TRUE, f"${_TRUE}$", "elbo-lab", "latent-space"),
    (_LIKELIHOOD, f"${_LIKELIHOOD}$", "reconstruct", "reconstruct"),
    (_JOINT, f"${_JOINT}$", "bounds", "bounds"),
    (_Q, f"${_Q}$", "latent-space", "latent-space"),
    ("p(z)", "$p(z)$", "generate", "generate"),
    (r"\beta", "β", "beta", "beta"),
)
_CLOSED_FORM = r"\frac12 \sum_{j=1}^{d} \left(\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2\right)"


def _rows(*rows: str) -> str:
    """A formula in rows, all but the first indented: it must fit a phone."""
    return r"\begin{aligned}" + r" \\ ".join(f"&{row}" for row in rows) + r"\end{aligned}"


def _boxed(*rows: str) -> str:
    return rf"\boxed{{{_rows(*rows)}}}"


@dataclass(frozen=True)
class Line:
    """One line: LaTeX, its value in words, why it follows, and where in the app it can be touched."""

    formula: str
    value: str
    why: str = ""
    touch: str = ""


def terms(formula: str, *, exact: bool) -> list[tuple[str, str]]:
    """The names of the terms of a line's formula, each with the address of the page where it can be touched."""
    found = []
    for term, name, with_plane, without in _TERMS:
        if term in formula:
            found.append((name, with_plane if exact else without))
            formula = formula.replace(term, "")
    return found


@dataclass(frozen=True)
class Step:
    """Some lines under a title."""

    title: str
    about: str
    lines: tuple[Line, ...]


_SMALL = 0.1  # nats, below which two decimals would hide a number that is compared or multiplied


def amount(quantity: Quantity | float) -> str:
    """'−137.12', or '−137.1 ± 0.3' where it is an estimate."""
    if not isinstance(quantity, Quantity):
        quantity = Quantity(quantity)
    if not quantity.error:
        return number(quantity.value, 2 if abs(quantity.value) >= _SMALL or not quantity.value else 4)
    digits = int(np.clip(-np.floor(np.log10(quantity.error)), 0, 4))
    return f"{number(quantity.value, digits)} ± {quantity.error:.{digits}f}"


def _bold(quantity: Quantity | float) -> str:
    return f"**{amount(quantity)}** nats"


def _minus(quantity: Quantity | float) -> str:
    """The number after a sign, in brackets where it is negative itself, or an estimate."""
    text = amount(quantity)
    return f"({text})" if text.startswith("−") or "±" in text else text


def words(d: Derivation, pixels: int) -> list[tuple[str, str, str]]:
    """The terminology: symbol, name, and what it is here."""
    where = coordinates(d.mu, _SHOWN)
    numbers = "1 number; below it is" if len(d.mu) == 1 else f"{len(d.mu)} numbers; below they are"
    known = "by quadrature" if d.exact else f"estimated from {DRAWS:,} draws"
    return [
        ("x", "the data: what was observed", f"this picture, {pixels:,} numbers"),
        ("z", "the latent representation", f"{numbers} often μ = {where}"),
        ("p(z)", "the prior: what is assumed of z", f"N(0, I); log p(μ) = {_bold(d.at_mu['prior'])}"),
        (
            r"p_\theta(x \mid z)",
            "the likelihood, given by the decoder",
            f"log p(x|μ) = {_bold(d.at_mu['likelihood'])}",
        ),
        (
            r"p_\theta(x)",
            "the marginal likelihood, or evidence, over all z",
            f"log p(x) = {_bold(d.evidence)}, {known}",
        ),
        (r"p_\theta(z \mid x)", "the true posterior", f"log p(μ|x) = {_bold(d.posterior_at_mu)}"),
        (
            r"q_\phi(z \mid x)",
            "the approximate posterior, given by the encoder",
            f"log q(μ|x) = {_bold(d.at_mu['encoder'])}",
        ),
    ]


def steps(d: Derivation, checkpoint: Checkpoint, split: RateSplit | None) -> list[Step]:
    """The whole argument, from log p(x) to the loss, by three ways, and what else can be seen in it; `split` is that
    of the test images' rate, where there are enough."""
    return [
        _goal(d),
        _from_kl(d),
        _by_jensen(d),
        _by_bayes(d),
        _two_terms(d),
        _closed_form(d),
        _reparameterised(d),
        _loss(d, checkpoint, split),
        _views(d, split),
    ]


def _goal(d: Derivation) -> Step:
    if d.exact:
        how = "With so few latent dimensions the integral is a sum over a grid, so this value is exact."
    else:
        how = (
            f"In {len(d.mu)} dimensions no grid is fine enough: this is the importance-weighted estimate from "
            f"{DRAWS:,} draws, of which {d.effective_samples:,.0f} count. It tends to be too low."
        )
    return Step(
        "The goal, and what stands in its way",
        "A good model gives the data a high probability, so we would choose θ to make log p(x) as large as it can be, "
        "summed over all images of the data set.",
        (
            Line(
                r"\theta^* = \arg\max_\theta \sum_{i=1}^{N} \log p_\theta(x^{(i)})",
                f"this picture’s part of the sum: {_bold(d.evidence)}",
                touch="train",
            ),
            Line(
                _rows(
                    rf"p_\theta(x) = \int {_JOINT} \,\mathrm{{d}}z",
                    rf"\quad = \int p(z)\, {_LIKELIHOOD} \,\mathrm{{d}}z",
                ),
                f"log p(x) = {_bold(d.evidence)}",
                "Every z could have made the picture, so all of them count. A network in the integrand leaves no "
                f"closed form, and many dimensions leave no grid. {how}",
                "elbo-lab" if d.exact else "bounds",
            ),
            Line(
                rf"{_TRUE} = \frac{{p(z)\, {_LIKELIHOOD}}}{{p_\theta(x)}}",
                f"at z = μ: {amount(d.at_mu['prior'])} + {_minus(d.at_mu['likelihood'])} − {_minus(d.evidence)} = "
                f"{_bold(d.posterior_at_mu)} for log p(μ|x)",
                "Bayes’ theorem. The ideal encoder has the same integral in its denominator, so it is out of reach, "
                "too: hence an approximation q(z|x), made by a network, the encoder.",
                "elbo-lab" if d.exact else "latent-space",
            ),
        ),
    )


def _from_kl(d: Derivation) -> Step:
    return Step(
        "First way: how far is q from the true posterior?",
        "Ask for the divergence that we would like to be small, and see what it is made of.",
        (
            Line(
                _rows(_GAP, r"\quad = " + _mean(rf"\log {_Q}"), r"\qquad - " + _mean(rf"\log {_TRUE}")),
                f"{amount(d.encoder)} − {_minus(d.posterior)} = {_bold(d.gap)}",
                "The definition. It is a quadrature here, in units of q’s own width."
                if d.exact
                else "The definition. Here it is what the estimate of log p(x) leaves.",
                "elbo-lab" if d.exact else "amortised-and-classical",
            ),
            Line(
                _rows(rf"\log {_TRUE}", rf"\quad = \log {_JOINT} - {_EVIDENCE}"),
                f"at z = μ: {amount(d.at_mu['prior'] + d.at_mu['likelihood'])} − {_minus(d.evidence)} = "
                f"{_bold(d.posterior_at_mu)}",
                "Bayes’ theorem again, in logarithms.",
                "elbo-lab" if d.exact else "latent-space",
            ),
            Line(
                _rows(_GAP, r"\quad = " + _mean(rf"\log {_Q} - \log {_JOINT}"), rf"\qquad + {_EVIDENCE}"),
                f"{amount(d.encoder)} − {_minus(d.joint)} + {_minus(d.evidence)} = "
                f"{_bold(d.encoder - d.joint + d.evidence)}",
                "log p(x) does not depend on z, so it leaves the expectation.",
                "bounds",
            ),
            Line(
                _rows(_EVIDENCE, rf"\quad = {_GAP}", rf"\qquad + {_mean(_RATIO)}"),
                f"{amount(d.gap)} + {_minus(d.elbo)} = {_bold(d.gap + d.elbo)}",
                "Rearranged: the first part cannot be negative, so the second, the **ELBO**, can only be too small. "
                "For fixed θ, raising the ELBO by moving q lowers the gap by as much. Training moves θ and φ together: "
                "unlike in EM, no step need close the gap.",
                "elbo-lab" if d.exact else "bounds",
            ),
        ),
    )


def _by_jensen(d: Derivation) -> Step:
    return Step(
        "Second way: Jensen’s inequality",
        "Put q into the integral, read it as an expectation, and pull the logarithm inside.",
        (
            Line(
                _rows(
                    _EVIDENCE,
                    rf"\quad = \log \int {_Q}\, \frac{{{_JOINT}}}{{{_Q}}} \,\mathrm{{d}}z",
                    r"\quad = \log " + _mean(rf"\frac{{{_JOINT}}}{{{_Q}}}"),
                ),
                f"{_bold(d.log_mean_weight)} from {DRAWS:,} draws",
                "The weights w = p(x, z)/q(z|x) average p(x) exactly, whatever q is; but a few of them may carry all, "
                f"and the mean of too few draws is then low. {counted(d.effective_samples)} draws count here.",
                "bounds",
            ),
            Line(
                _rows(rf"{_EVIDENCE} \ge {_mean(_RATIO)}", rf"\quad = {_ELBO}"),
                f"{amount(d.evidence)} ≥ {_bold(d.log_weight)}, from the same draws",
                "The logarithm is concave: the mean of logarithms lies below the logarithm of the mean. "
                f"The step loses {amount(d.evidence - d.log_weight)} nats by these draws: the gap of the first way. "
                "Raising this bound is not the same as raising log p(x): both the model and the gap answer to it.",
                "bounds",
            ),
        ),
    )


def _by_bayes(d: Derivation) -> Step:
    return Step(
        "Third way: Bayes’ theorem, averaged",
        "It holds at every single z; average it over q, then add and take away log q(z|x).",
        (
            Line(
                _rows(rf"{_EVIDENCE} = \log {_LIKELIHOOD} + \log p(z)", rf"\quad - \log {_TRUE}"),
                f"at z = μ: {amount(d.at_mu['likelihood'])} + {_minus(d.at_mu['prior'])} − "
                f"{_minus(d.posterior_at_mu)} = "
                f"{_bold(Quantity(d.at_mu['likelihood'] + d.at_mu['prior']) - d.posterior_at_mu)}",
                "True at any z, since the left side knows of none.",
                "reconstruct",
            ),
            Line(
                _rows(
                    f"{_EVIDENCE} = " + _mean(rf"\log {_LIKELIHOOD}"),
                    r"\quad - " + _mean(rf"\log \frac{{{_Q}}}{{p(z)}}"),
                    r"\quad + " + _mean(rf"\log \frac{{{_Q}}}{{{_TRUE}}}"),
                ),
                f"{amount(d.fit)} − {_minus(d.kl)} + {_minus(d.gap)} = {_bold(d.fit - d.kl + d.gap)}",
                "Three averages: how well z explains x, what z costs, and what the encoder misses.",
                "amortised-and-classical",
            ),
            Line(
                _rows(
                    rf"{_ELBO} = {_FIT}",
                    rf"\quad - {_KL_PRIOR}",
                    rf"{_EVIDENCE} = \underbrace{{{_ELBO}}}_{{\text{{ELBO}}}}",
                    rf"\quad + \underbrace{{{_GAP}}}_{{\ge\, 0}}",
                ),
                f"{amount(d.elbo)} + {_minus(d.gap)} = {_bold(d.elbo + d.gap)}",
                "All three ways meet here.",
                "elbo-lab" if d.exact else "bounds",
            ),
        ),
    )


def _two_terms(d: Derivation) -> Step:
    return Step(
        "The ELBO in two terms",
        "The joint density is the prior times the likelihood; grouped, one term rewards the decoder and the other "
        "holds the encoder back.",
        (
            Line(
                _rows(
                    f"{_ELBO} =",
                    r"\quad " + _mean(rf"\log p(z) + \log {_LIKELIHOOD}"),
                    r"\quad - " + _mean(rf"\log {_Q}"),
                ),
                f"{amount(d.prior)} + {_minus(d.fit)} − {_minus(d.encoder)} = {_bold(d.prior + d.fit - d.encoder)}",
                touch="elbo-lab" if d.exact else "reconstruct",
            ),
            Line(
                _rows(_mean(rf"\log p(z) - \log {_Q}"), rf"\quad = -{_KL_PRIOR}"),
                f"{amount(d.prior)} − {_minus(d.encoder)} = {_bold(d.prior - d.encoder)}; from draws "
                f"{amount(-d.kl_drawn)}",
                "The definition of the KL divergence, from closed forms, and checked by drawing.",
                "posterior-collapse-and-holes",
            ),
            Line(
                _boxed(f"{_ELBO} = {_FIT}", rf"\quad - {_KL_PRIOR}"),
                f"{amount(d.fit)} − {_minus(d.kl)} = {_bold(d.elbo)}",
                "Reconstruction wants all information about x in z; the KL wants none.",
                "reconstruct",
            ),
        ),
    )


def _closed_form(d: Derivation) -> Step:
    order = rank_by_kl(d.kl_per_dimension)[:_SHOWN]
    parts = " + ".join(f"{d.kl_per_dimension[j]:.2f}" for j in order)
    rest = d.kl_per_dimension.sum() - d.kl_per_dimension[order].sum()
    parts += f" + {rest:.2f} (the others)" if len(d.mu) > _SHOWN else ""
    names = ", ".join(dimension_name(int(j)) for j in order)
    codes = "; ".join(f"{dimension_name(int(j))}: μ = {d.mu[j]:.2f}, σ = {d.sigma[j]:.2f}" for j in order)
    return Step(
        "Gaussians make the second term a formula",
        "The usual choice: a standard normal prior, and an encoder that gives a mean and a standard deviation for "
        "each latent dimension.",
        (
            Line(
                _rows(
                    rf"{_Q} = \mathcal{{N}}(\mu_\phi(x), \mathrm{{diag}}\,\sigma^2_\phi(x))",
                    r"p(z) = \mathcal{N}(0, I)",
                ),
                true_minus(codes),
                touch="latent-space",
            ),
            Line(
                _boxed(_KL_PRIOR, rf"\quad = {_CLOSED_FORM}"),
                f"{parts} = {_bold(d.kl)}, in the order {names}",
                "A dimension with μ = 0 and σ = 1 for every picture costs nothing and says nothing: it has collapsed.",
                "posterior-collapse-and-holes",
            ),
        ),
    )


def _reparameterised(d: Derivation) -> Step:
    j = int(np.argmax(d.kl_per_dimension))
    z = d.mu[j] + d.sigma[j] * d.noise[j]
    drawn = f"{dimension_name(j)} = {d.mu[j]:.2f} + {d.sigma[j]:.2f} · ({d.noise[j]:.2f}) = **{z:.2f}**"
    return Step(
        "A gradient through a draw",
        "The first term is an average over draws from q, and q is what we want to change. So draw from something that "
        "does not change, and move the draw.",
        (
            Line(
                _rows(r"\epsilon \sim \mathcal{N}(0, I)", r"z = \mu_\phi(x) + \sigma_\phi(x) \odot \epsilon"),
                true_minus(drawn),
                "Now z is a smooth function of μ and σ, and the chance sits in ε.",
                "reparameterisation",
            ),
            Line(
                _rows(
                    r"\nabla_\phi\, \mathbb{E}_{q_\phi}[f(z)]",
                    r"\quad = \mathbb{E}_{\epsilon}"
                    r"\!\left[\nabla_\phi f(\mu_\phi(x) + \sigma_\phi(x) \odot \epsilon)\right]",
                ),
                f"for f(z) = log p(x|z), by μ of {dimension_name(j)}: **{amount(d.slope)}** nats per unit, from "
                f"{GRADIENT_DRAWS} draws",
                "The gradient goes inside, where backpropagation does the rest.",
                "reparameterisation",
            ),
        ),
    )


def _loss(d: Derivation, checkpoint: Checkpoint, split: RateSplit | None) -> Step:
    reconstruction, beta = -d.fit, _beta(checkpoint)
    config, train = checkpoint.model.config, checkpoint.record["train"]
    if (objective := train.get("objective")) == "beta-tcvae":
        trained = _tcvae(d, beta, split)
    elif objective == "iwae":
        trained = _iwae(d, train["importance_samples"])
    else:
        trained = _weighed(d, beta, train.get("free_bits", 0))
    lines = (
        Line(
            _rows(rf"\mathcal{{J}}(\theta, \phi; x) = -{_FIT}", rf"\quad + {_KL_PRIOR}"),
            f"{amount(reconstruction)} + {_minus(d.kl)} = {_bold(reconstruction + d.kl)}",
            "Code minimises, so the sign turns: reconstruction plus KL.",
            "train",
        ),
        trained,
        _bernoulli(d) if config.likelihood == "bernoulli" else _gaussian(d, config),
    )
    return Step("The loss", "From the ELBO to what a training step computes for this picture.", lines)


def _weighed(d: Derivation, beta: float, free_bits: float) -> Line:
    reconstruction, freed = -d.fit, ""
    if free_bits:
        freed = (
            f" This model was trained with free bits: a dimension whose KL averages less than {free_bits:g} nats over "
            "a batch counts as that much."
        )
    return Line(
        _rows(rf"\mathcal{{J}}_\beta(\theta, \phi; x) = -{_FIT}", rf"\quad + \beta \cdot {_KL_PRIOR}"),
        f"with this model’s β = {beta:g}: {amount(reconstruction)} + {beta:g} · {_minus(d.kl)} = "
        f"{_bold(Quantity(reconstruction.value + beta * d.kl.value, reconstruction.error))}",
        "A weight on the KL chooses another balance (Higgins et al. 2017). At β = 1 it is the ELBO’s." + freed,
        "beta",
    )


def _tcvae(d: Derivation, beta: float, split: RateSplit | None) -> Line:
    value = f"with this model’s β = {beta:g}"
    if split:
        weight, correlation = beta - 1, Quantity(split.total_correlation, split.standard_errors[1])
        extra = Quantity(weight * correlation.value, abs(weight) * correlation.error)
        value += (
            f", and the total correlation of {split.images:,} test images: {amount(-d.fit)} + {_minus(d.kl)} + "
            f"{f'{weight:g}' if weight >= 0 else f'(−{-weight:g})'} · {_minus(correlation)} = "
            f"{_bold(d.kl - d.fit + extra)}"
        )
    return Line(
        _rows(
            rf"\mathcal{{J}}_\beta(\theta, \phi; x) = -{_FIT}",
            rf"\quad + {_KL_PRIOR}",
            r"\quad + (\beta - 1) \cdot \mathrm{KL}\!\left(q_\phi(z) \,\|\, {\textstyle\prod_j} q_\phi(z_j)\right)",
        ),
        value,
        "This model is a β-TCVAE (Chen et al. 2018): β weighs the total correlation alone, which says how far the "
        "dimensions of all codes together are from independent. It is no single picture’s: a training step estimates "
        "it from its batch. At β = 1 the loss is the ELBO’s.",
        "beta",
    )


def _iwae(d: Derivation, samples: int) -> Line:
    joint, encoder = (density.replace("z", "z_k") for density in (_JOINT, _Q))
    return Line(
        _rows(
            r"\mathcal{J}_K(\theta, \phi; x) =",
            r"\quad -\mathbb{E}_{z_1, \ldots, z_K \sim q_\phi}"
            rf"\!\left[\log \frac1K \sum_{{k=1}}^K \frac{{{joint}}}{{{encoder}}}\right]",
        ),
        f"with this model’s K = {samples}: between −log p(x) and −ELBO, {amount(-d.evidence)} and {_bold(-d.elbo)}",
        "This model is an IWAE (Burda et al. 2016): it averages the weights p(x, z)/q(z|x) of K draws before the "
        "logarithm. At K = 1 that is reconstruction plus KL; the more draws, the nearer to −log p(x). There is no β.",
        "bounds",
    )


def _beta(checkpoint: Checkpoint) -> float:
    """The β that the model was trained at, or for a model of a range, the one it answers for."""
    model = checkpoint.model
    return model.beta if model.config.beta_range else checkpoint.record["beta"]


def _bernoulli(d: Derivation) -> Line:
    return Line(
        _rows(
            rf"{_LIKELIHOOD} = \mathrm{{Bernoulli}}(x; \pi_\theta(z))",
            rf"-\log {_LIKELIHOOD}",
            r"\quad = -\sum_i x_i \log \pi_i",
            r"\qquad - \sum_i (1 - x_i) \log (1 - \pi_i)",
        ),
        f"at z = μ: {_bold(-d.at_mu['likelihood'])}; PyTorch’s binary cross-entropy: {amount(d.at_mu['error'])}",
        "This model’s likelihood. Its negative logarithm is the binary cross-entropy, summed over the pixels.",
        "reconstruct",
    )


def _gaussian(d: Derivation, config: ModelConfig) -> Line:
    constant, half = d.at_mu["constant"], math.prod(config.image_shape) / 2
    fixed = half * math.log(2 * math.pi)
    if config.likelihood == "gaussian":
        why = (
            "and a constant. What is left out with the constant is only the constant; what is left out with the scale "
            "changes β."
        )
    else:
        why = (
            "and what σ costs. A training step takes for σ² the mean squared error of its batch (Rybkin et al. 2021). "
            f"Averaged over its images the scaled error is then n/2 = {half:,g}, and what falls in its place is "
            f"n/2 · log σ², here {amount(constant - fixed)} nats. Only n/2 · log 2π = {amount(fixed)} nats is constant."
        )
    return Line(
        _rows(
            rf"{_LIKELIHOOD} = \mathcal{{N}}(x; m_\theta(z), \sigma^2 I)",
            rf"-\log {_LIKELIHOOD}",
            r"\quad = \frac{\|x - m_\theta(z)\|^2}{2 \sigma^2} + \frac{n}{2} \log 2 \pi \sigma^2",
        ),
        f"at z = μ: {amount(d.at_mu['error'])} + {_minus(constant)} = {_bold(-d.at_mu['likelihood'])}, with σ = "
        f"{d.at_mu['variance'] ** 0.5:.3f}",
        f"This model’s likelihood: the squared error, scaled, {why}",
        "reconstruct",
    )


def _views(d: Derivation, split: RateSplit | None) -> Step:
    bits = d.kl.value / np.log(2)
    lines = [
        Line(
            _rows(rf"\text{{rate}} = {_KL_PRIOR}", rf"\text{{distortion}} = -{_FIT}"),
            f"this picture: {_bold(d.kl)} ({bits:.1f} bits) and {_bold(-d.fit)}",
            "Lossy compression: the code may take so many nats, and the picture comes back with so much missing.",
            "beta",
        )
    ]
    if split:
        information = Quantity(split.mutual_information, split.standard_errors[0])
        rest = f"The rest of the rate, {nats(split.aggregate_kl, 2)}, is KL(q(z) ‖ p(z))"
        apart = f"To tell so many images apart takes log N = {nats(split.most, 2)}"
        if split.at_ceiling:
            rest = f"The rest of the rate, KL(q(z) ‖ p(z)), is at most {nats(split.aggregate_kl, 2)}"
            apart += ": I(X; Z) is at that ceiling, and more images would take nats from the rest"
        lines.append(
            Line(
                rf"I(X; Z) \le \mathbb{{E}}_x\!\left[{_KL_PRIOR}\right]",
                f"over {split.images:,} test images: {amount(information)} ≤ {_bold(split.rate)}",
                f"What z tells about x cannot exceed the mean rate. {rest}: how far all codes together are from the "
                f"prior. {apart}.",
                "beta",
            )
        )
    lines.append(
        Line(
            _rows(rf"q^*(z) = \arg\min_{{q \in \mathcal{{Q}}}} \mathrm{{KL}}(q(z) \,\|\, {_TRUE})"),
            f"this picture’s gap: {_bold(d.gap)}",
            "Classical variational inference seeks the best q for each picture anew. The encoder answers at once for "
            "any picture, and pays for it: part of the gap is the encoder’s haste, the rest the shape of q.",
            "amortised-and-classical",
        )
    )
    return Step("Three views of the same thing", "Compression, information, and inference.", tuple(lines))

"""Figures 3 and 39: do N/2 samples of X and N/2 unpaired samples of Y beat N samples of X?

Both methods of one seed share their projections, validation rows, initial weights of the layers
that both have, and X rows (`uml` sees the first half). `unimodal` never computes the Y branch.
The budget counts samples, as in the paper, not work: a `uml` step sees `batch_size` rows of each
modality, unless `batch_split` shares the batch out between them.

Jobs of one batch are trained as one stack. They do not interact, yet BLAS rounds by where a model
lies in memory, so a figure is bit-identical only within the same stack: measured on one CPU thread,
one of the two models tried per method differed from its run alone, by 5e-7 (unimodal) and 1.4e-5
(uml) of an error of 2 after 1000 steps. The runner passes a batch whole, hence a resumed run equals
an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from umlbench.data.gaussian import Attenuation, View
from umlbench.errors import UserError
from umlbench.jobs import Context, Curve, Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Closed
from umlbench.seeds import digest, torch_stream

if TYPE_CHECKING:
    import torch

    from umlbench.models.autoencoder import SharedAutoencoder

VERSION = 1
DTYPE = "float32"
WHOLE_BATCHES = True  # see above: rounding follows the stack

PAPER_LAST_STEP = 500  # where the axis of figure 3 ends

METRICS: dict[str, Metric] = {  # of validation X: after the last step; at the paper's last step
    "x_error": Metric("X error", "mean squared error", higher_is_better=False, digits=3),
    "x_error_500": Metric(
        f"X error, step {PAPER_LAST_STEP}", "mean squared error", higher_is_better=False, digits=3
    ),
}

STACKED = {"projection_scale", "noise_variance", "kept_common", "attenuation", "y_attenuation"}
"""Settings that may differ inside one stack: they change the rows, not the models' shapes."""


class Settings(Closed):
    """The experiment of section 3.1 and appendix E.14; defaults where the paper gives a figure.

    The paper leaves open `projection_scale`, `batch_size`, `learning_rate`, `hidden`,
    `validation_size` and the optimiser (here Adam).
    """

    method: Literal["unimodal", "uml"] = "unimodal"
    projection_scale: float = Field(default=0.5, gt=0)
    noise_variance: float = Field(default=0.09, ge=0)
    common_dim: int = Field(default=10, ge=1)
    x_dim: int = Field(default=5, ge=0)
    y_dim: int = Field(default=5, ge=0)
    observed_dim: int = Field(default=50, ge=1)
    kept_common: int = Field(default=1, ge=0)
    attenuation: float = Field(default=0.05, ge=0, le=1)
    y_attenuation: float = Field(default=1.0, ge=0, le=1)
    budget: int = Field(default=10_000, ge=2)
    batch_size: int = Field(default=512, ge=1)
    batch_split: bool = False
    learning_rate: float = Field(default=1e-3, gt=0)
    steps: int = Field(default=500, ge=1)
    eval_every: int = Field(default=25, ge=1)
    validation_size: int = Field(default=2000, ge=1)
    width: int = Field(default=128, ge=1)
    hidden: int = Field(default=10, ge=1)
    latent: int = Field(default=10, ge=1)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the method trains on, the target first."""
        return ("x",) if self.method == "unimodal" else ("x", "y")

    @property
    def samples(self) -> int:
        """Training rows per modality: the budget, shared out."""
        return self.budget // len(self.modalities)

    @property
    def batch(self) -> int:
        """Rows per step and modality."""
        return self.batch_size // len(self.modalities) if self.batch_split else self.batch_size

    def identity(self) -> dict[str, Any]:
        """All fields, but for `unimodal` none of those that only Y reads."""
        unused = {"y_dim", "y_attenuation", "batch_split"} if self.method == "unimodal" else None
        return self.model_dump(mode="json", exclude=unused)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        """Refuse settings that contradict each other; both methods must be able to run them."""
        if self.kept_common > self.common_dim:
            raise ValueError(
                f"kept_common is {self.kept_common}, but only common_dim = {self.common_dim} "
                "common latents exist"
            )
        if self.budget % 2:
            raise ValueError(f"budget is {self.budget}; uml halves it, so it must be even")
        if self.batch_split and self.batch_size % 2:
            raise ValueError(f"batch_size is {self.batch_size}; batch_split needs an even one")
        half = self.budget // 2
        if (self.batch_size // 2 if self.batch_split else self.batch_size) > half:
            raise ValueError(
                f"batch_size is {self.batch_size}, more than uml's {half} rows per modality; "
                "lower batch_size or raise budget"
            )
        if self.steps % self.eval_every:
            raise ValueError(
                f"steps is {self.steps}, not a multiple of eval_every = {self.eval_every}; "
                "the last step would not be evaluated"
            )
        return self

    def view(self, modality: str) -> View:
        """How `modality` ("x" or "y") sees the latents."""
        return View(
            modality=modality,
            common_dim=self.common_dim,
            private_dim=self.x_dim if modality == "x" else self.y_dim,
            observed_dim=self.observed_dim,
            scale=self.projection_scale,
            noise_variance=self.noise_variance,
        )

    def training_rows(self, modality: str, seed: int) -> torch.Tensor:
        """The job's training rows (samples, observed): the head of the full budget's draw."""
        factor = self.attenuation if modality == "x" else self.y_attenuation
        attenuation = Attenuation(self.kept_common, factor)
        return self.view(modality).sample(seed, "train", self.budget, attenuation)[: self.samples]

    def validation_rows(self, seed: int) -> torch.Tensor:
        """Validation X (validation_size, observed): same projections, nothing attenuated."""
        return self.view("x").sample(seed, "val", self.validation_size)


def inputs(settings: Closed, context: Context) -> dict[str, str]:  # noqa: ARG001
    """No fingerprints: every row is drawn from the seed."""
    del settings
    return {}


def batch(job: Job) -> str:
    """Jobs that differ in seed or in how their rows are drawn are trained as one stack."""
    settings = job.settings.identity()
    return digest({name: value for name, value in settings.items() if name not in STACKED})


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Train `jobs`, one batch in plan order, as one stack.

    Raises `UserError` at a job whose error is not finite.
    """
    started = time.perf_counter()
    settings = [cast(Settings, job.settings) for job in jobs]
    seeds = [job.seed for job in jobs]
    model = build(settings[0], seeds).to(context.device)
    rows = {
        name: _stack([s.training_rows(name, seed) for s, seed in zip(settings, seeds, strict=True)])
        for name in settings[0].modalities
    }
    validation = _stack([s.validation_rows(seed) for s, seed in zip(settings, seeds, strict=True)])
    feeds = {
        name: batches(
            values.to(context.device), _orders(settings[0], name, seeds), settings[0].batch
        )
        for name, values in rows.items()
    }
    curve = train(model, feeds, validation.to(context.device), settings[0], context.say)
    seconds = (time.perf_counter() - started) / len(jobs)
    for index, job in enumerate(jobs):
        errors = {step: values[index] for step, values in curve.items()}
        yield job, _outcome(job, errors, seconds)


def build(settings: Settings, seeds: Sequence[int]) -> SharedAutoencoder:
    """One model per seed, float32 on the CPU; equal layers of both methods start equal."""
    from umlbench.models.autoencoder import SharedAutoencoder

    observed = dict.fromkeys(settings.modalities, settings.observed_dim)
    model = SharedAutoencoder(
        len(seeds), observed, settings.width, settings.hidden, settings.latent
    )
    model.reset(lambda layer: [torch_stream("init", seed, layer=layer) for seed in seeds])
    return model


def train(
    model: SharedAutoencoder,
    feeds: Mapping[str, Iterator[torch.Tensor]],
    validation: torch.Tensor,
    settings: Settings,
    say: Callable[[str], None],
) -> dict[int, list[float]]:
    """Minimise the modalities' summed mean squared errors; validation X error by step and model.

    The loss is summed over the stack, so that each model gets its own gradient alone, and Adam
    works element by element: one optimiser serves all models.
    """
    import torch

    optimizer = Adam(list(model.parameters()), settings.learning_rate)
    curve = {0: x_errors(model, validation)}
    for step in range(1, settings.steps + 1):
        losses = [_loss(model, name, next(feed)) for name, feed in feeds.items()]
        torch.autograd.backward(losses)
        optimizer.step()
        if step % settings.eval_every == 0:
            curve[step] = x_errors(model, validation)
            say(f"{settings.method}: step {step} of {settings.steps}, {len(curve[step])} models")
    return curve


class Adam:
    """Adam (Kingma and Ba 2015), in place; `torch.optim` would import its compiler for seconds."""

    def __init__(self, parameters: Sequence[torch.Tensor], learning_rate: float) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.steps = 0
        self._mean = [part.detach().clone().zero_() for part in parameters]
        self._square = [part.detach().clone().zero_() for part in parameters]

    def step(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        """Move every parameter by its gradient, then forget the gradients."""
        self.steps += 1
        rate = self.learning_rate / (1 - beta1**self.steps)
        correction = math.sqrt(1 - beta2**self.steps)
        for part, mean, square in zip(self.parameters, self._mean, self._square, strict=True):
            if part.grad is None:
                raise ValueError("a parameter has no gradient")
            mean.lerp_(part.grad, 1 - beta1)
            square.mul_(beta2).addcmul_(part.grad, part.grad, value=1 - beta2)
            part.detach().addcdiv_(mean, square.sqrt().div_(correction).add_(epsilon), value=-rate)
            part.grad = None


def x_errors(model: SharedAutoencoder, rows: torch.Tensor) -> list[float]:
    """Mean squared error of reconstructing X rows (models, count, observed), one per model."""
    import torch

    with torch.no_grad():
        errors: list[float] = (model("x", rows) - rows).square().mean((1, 2)).tolist()
    return errors


def batches(
    rows: torch.Tensor, orders: Sequence[torch.Generator], size: int
) -> Iterator[torch.Tensor]:
    """Endless batches (models, size, observed); each model reshuffles its rows by its own stream.

    `rows` is (models, count, observed). What is left of an epoch below `size` is left out.
    """
    import torch

    models, count, observed = rows.shape
    flat = rows.reshape(models * count, observed)
    first = count * torch.arange(models).unsqueeze(1)
    while True:
        order = first + torch.stack([torch.randperm(count, generator=stream) for stream in orders])
        order = order.to(rows.device)
        for start in range(0, count - size + 1, size):
            chosen = order[:, start : start + size].reshape(-1)
            yield flat.index_select(0, chosen).view(models, size, observed)


def _loss(model: SharedAutoencoder, modality: str, rows: torch.Tensor) -> torch.Tensor:
    """Mean squared error per model, summed over the stack."""
    from torch.nn.functional import mse_loss

    return mse_loss(model(modality, rows), rows, reduction="sum") / rows[0].numel()


def _orders(settings: Settings, modality: str, seeds: Sequence[int]) -> list[torch.Generator]:
    return [
        torch_stream("order", seed, modality=modality, count=settings.samples) for seed in seeds
    ]


def _stack(rows: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.stack(rows)


def _outcome(job: Job, errors: Mapping[int, float], seconds: float) -> Outcome:
    """The record of one job: X error by step, at the end and at the paper's last step."""
    broken = [step for step, error in errors.items() if not math.isfinite(error)]
    if broken:
        raise UserError(
            f"{job.recipe} {dict(job.cell)} seed {job.seed}: "
            f"the X error is not finite at step {broken[0]}",
            "lower learning_rate or projection_scale",
        )
    metrics = {"x_error": errors[max(errors)]}
    if PAPER_LAST_STEP in errors:
        metrics["x_error_500"] = errors[PAPER_LAST_STEP]
    points = tuple(float(step) for step in errors)
    curve = Curve("step", points, {"x_error": tuple(errors.values())})
    return Outcome(metrics=metrics, curves=(curve,), seconds={"train": seconds})

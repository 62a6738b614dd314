"""What a trained trunk is worth: linear probes on its embeddings (section 4.1, Table 1)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from umlbench.data.layout import SPLITS
from umlbench.data.sequences import Sequences, SequenceSet
from umlbench.errors import UserError
from umlbench.models.trunk import SharedTrunk, within
from umlbench.protocols.self_supervised.settings import Settings
from umlbench.protocols.self_supervised.training import padded


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings x (R, z) and labels y (R,): a row a sample, or a step where steps have labels."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


BySplit = Mapping[str, Embedded]


@torch.no_grad()
def embed(
    trunk: SharedTrunk, modality: str, sequences: Sequences, settings: Settings, device: str
) -> Embedded:
    """The mean state of every sample, or the state of every step that has a label.

    Unless padding is masked, the mean runs over that of the batch too, as in the released code:
    an embedding then depends on the samples it is evaluated with.
    """
    size, parts = settings.eval_batch_size, []
    for start in range(0, len(sequences), size):
        rows = range(start, min(start + size, len(sequences)))
        batch = padded(sequences, rows, settings, device)
        states = trunk(modality, batch.values)
        true = within(torch.from_numpy(sequences.lengths[rows]), states.shape[1]).to(device)
        if sequences.per_step:
            parts.append(states[true])
        elif batch.lengths is None:
            parts.append(states.mean(1))
        else:
            sums = (states * true[..., None]).sum(1)
            parts.append(sums / batch.lengths.clamp(min=1)[:, None])
    return Embedded(torch.cat(parts).cpu().numpy(), _labels(sequences, trunk))


def _labels(sequences: Sequences, trunk: SharedTrunk) -> NDArray[np.int64]:
    """Labels of what is embedded: steps behind the last position are not."""
    if not sequences.per_step or trunk.positions is None:
        return sequences.labels
    first = np.repeat(sequences.starts[:-1], sequences.lengths)
    return sequences.labels[np.arange(len(first)) - first < len(trunk.positions)]


def scores(
    trunk: SharedTrunk, found: SequenceSet, settings: Settings, device: str
) -> dict[str, float]:
    """Accuracies in percent, on validation and test for the target, on test for the rest.

    `accuracy_NAME` for each auxiliary that has these splits, `accuracy_auxiliary` their mean,
    `accuracy_all` of all modalities concatenated, where samples belong to each other. NaN where a
    trunk diverged.
    """
    embedded = {
        name: {
            split: embed(trunk, name, found.splits[split][name], settings, device)
            for split in SPLITS
        }
        for name in settings.modalities
        if all(name in found.splits[split] for split in SPLITS)
    }
    val, test = probe(embedded[settings.target], settings)
    figures = {"accuracy": test, "val_accuracy": val}
    others = [name for name in settings.others if name in embedded]
    if others:
        each = {f"accuracy_{name}": probe(embedded[name], settings)[1] for name in others}
        figures |= each if len(each) > 1 else {}
        figures["accuracy_auxiliary"] = float(np.mean(list(each.values())))
        if are_paired(found, settings):
            figures["accuracy_all"] = probe(_concatenated(list(embedded.values())), settings)[1]
    return figures


def are_paired(found: SequenceSet, settings: Settings) -> bool:
    """Whether the modalities of the cell show the same samples, with a label for the same rows."""
    return all(
        found.splits[split].keys() >= set(settings.modalities)
        and found.paired(split, *settings.modalities)
        and len({len(found.splits[split][name].labels) for name in settings.modalities}) == 1
        for split in SPLITS
    )


def _concatenated(modalities: Sequence[BySplit]) -> BySplit:
    return {
        split: Embedded(np.hstack([one[split].x for one in modalities]), modalities[0][split].y)
        for split in SPLITS
    }


def probe(embedded: BySplit, settings: Settings) -> tuple[float, float]:
    """Accuracy on validation and test of a classifier fitted on the training split.

    NaN where an embedding is no finite number. Raises `UserError` for a single training class.
    """
    train = embedded["train"]
    if not all(np.isfinite(one.x).all() for one in embedded.values()):
        return float("nan"), float("nan")
    if len(np.unique(train.y)) < 2:
        what = f"{settings.dataset}: its training samples are all of one class"
        raise UserError(what, "a probe needs two")
    fitted = _classifier(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged: its iterations are given
        fitted.fit(train.x, train.y)
    val, test = (100 * float(fitted.score(embedded[s].x, embedded[s].y)) for s in ("val", "test"))
    return val, test


def _classifier(settings: Settings) -> Any:
    """scikit-learn's logistic regression, as the released code has it for this data set."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if settings.probe == "logistic":
        return LogisticRegression(max_iter=settings.probe_iterations)
    solver = LogisticRegression(
        max_iter=settings.probe_iterations, solver="liblinear", random_state=0
    )
    return make_pipeline(StandardScaler(), solver)

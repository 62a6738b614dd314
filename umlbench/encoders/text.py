"""transformers' text encoders: one vector per prompt, by the pooling of section 1.2.

`cls`: the first token's last hidden state (BERT, RoBERTa, DeBERTa). `mean`: the mean of the last
hidden states over the attention mask, begin token included (Llama, Mistral, GPT-2, OPT, BLOOM);
after the final norm, as in `hidden_states[-1]`. `mean_normalized`: that mean at length 1
(sentence-transformers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Batches, Tick, no_tick
from umlbench.encoders.torchvision_import import mend_torchvision
from umlbench.encoders.vision import quiet
from umlbench.encoders.weights import PUBLISHED, Weights, resolve, split_name
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Dtype, Encoder, Modality, Pooling, Setup

ENCODERS = ("bert", "roberta", "xlm-roberta", "deberta", "deberta-v2", "distilbert", "electra")
DECODERS = ("llama", "mistral", "gpt2", "opt", "bloom")
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
BATCH = {"cpu": 32}
GPU_BATCH = 64
UNLIMITED = 1_000_000  # a tokenizer that knows no limit says 1e30
Finish = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
PROBES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def build(name: str, setup: Setup) -> Encoder:
    """A folder as `save_pretrained` writes it, or a model of the hub.

    Reads its configuration only. Raises `MissingInput` for weights that are nowhere and `UserError`
    where no pooling follows from the kind of model.
    """
    label, weights = resolve_folder(name, setup)
    config = weights.config()
    pooling = setup.pooling or _default_pooling(label, weights.path, str(config.get("model_type")))
    return Transformer(label, weights, config, pooling, setup.device, setup.dtype)


def resolve_folder(name: str, setup: Setup) -> tuple[str, Weights]:
    """A model of transformers without the place of its weights, and the folder that has them."""
    label, _ = split_name(name)
    weights = resolve(
        name,
        root=setup.root,
        offline=setup.offline,
        local=list(dict.fromkeys([label, label.rpartition("/")[2]])),
        repo=label,
        probes=PROBES,
    )
    return label, weights


def _default_pooling(label: str, folder: Path | None, kind: str) -> Pooling:
    repo = PUBLISHED[label].repo if label in PUBLISHED else label
    sentences = folder is not None and (folder / "modules.json").is_file()
    if sentences or repo.startswith("sentence-transformers/"):
        return "mean_normalized"
    if kind in ENCODERS:
        return "cls"
    if kind in DECODERS:
        return "mean"
    what = f"encoder '{label}' is a '{kind}', for which no pooling is customary here"
    raise UserError(what, "say pooling: cls, mean or mean_normalized")


@dataclass(frozen=True)
class Transformer:
    """One model of transformers.

    Prompts are encoded in order of length and padded on the right to the longest of their batch.
    Measured with all-MiniLM-L6-v2 on the CPU in float32, 100 sentences in batches of 32 and one by
    one: rows of length 1 differ by at most 7.5e-7.
    """

    name: str
    weights: Weights
    config: dict[str, Any] = field(repr=False)
    pooling: Pooling
    device: str
    dtype: str
    modality: Modality = "text"
    batches: Batches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = BATCH.get(self.device, GPU_BATCH)
        object.__setattr__(self, "batches", Batches(self.name, self.device, size))

    @property
    def width(self) -> int:
        """From the configuration; `UserError` where it does not say."""
        for name in WIDTHS:
            if name in self.config:
                return int(self.config[name])
        raise UserError(f"encoder '{self.name}': its config.json has none of {', '.join(WIDTHS)}")

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`; the weights' sum covers configuration and tokenizer too."""
        return {
            "library": "transformers",
            "name": self.name.rpartition("/")[2],
            "revision": 1,
            "model_type": self.config.get("model_type"),
            "pooling": self.pooling,
            "weights": self.weights.identity(),
            "dtype": self.dtype,
        }

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) float32; see `token_ids`."""
        import torch

        if not len(items):
            return np.zeros((0, self.width), dtype=np.float32)
        ids = self.token_ids(items)
        order, blocks = self.run(ids, lambda hidden, mask: pool(hidden, mask, self.pooling), tick)
        found = torch.empty(len(ids), self.width)
        found[order] = torch.cat(blocks)
        return found.numpy()

    def run(
        self, tokens: list[list[int]], finish: Finish, tick: Tick = no_tick
    ) -> tuple[list[int], list[torch.Tensor]]:
        """What `finish(hidden, mask)` makes of the last hidden states, batch by batch on the CPU.

        `hidden` (n, tokens, width) float32 and `mask` (n, tokens) are those of a padded batch.
        Returns the order in which the prompts were taken, and the batches.
        """
        import torch

        order = sorted(range(len(tokens)), key=lambda row: -len(tokens[row]))

        def rows(start: int, stop: int) -> torch.Tensor:
            with torch.inference_mode():
                return finish(*self._hidden([tokens[row] for row in order[start:stop]])).cpu()

        return order, self.batches.run(len(tokens), rows, tick)

    def _hidden(self, tokens: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The last hidden states of a batch, and its attention mask."""
        ids, mask = (part.to(self.device) for part in self.padded(tokens))
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden.float(), mask

    def padded(self, tokens: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token numbers and their mask (n, longest), int64 on the CPU, padded on the right."""
        import torch

        longest = max(len(one) for one in tokens)
        ids = torch.full((len(tokens), longest), self._padding)
        mask = torch.zeros((len(tokens), longest), dtype=torch.long)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        return ids, mask

    def token_ids(self, items: Sequence[Any]) -> list[list[int]]:
        """Of each prompt, cut at the model's length; `UserError` names one without any token."""
        prompts = [str(item) for item in items]
        limit = self._tokenizer.model_max_length
        if limit > UNLIMITED:
            limit = self.config.get("max_position_embeddings") or self.config.get("n_positions")
        found: list[list[int]] = self._tokenizer(
            prompts, truncation=limit is not None, max_length=limit, padding=False
        )["input_ids"]
        for prompt, tokens in zip(prompts, found, strict=True):
            if not tokens:
                raise UserError(f"encoder '{self.name}' finds no token in the prompt {prompt!r}")
        return found

    @property
    def _padding(self) -> int:
        """Decoders pad with the end token, as in the release; encoders need their own."""
        tokenizer = self._tokenizer
        own, end = tokenizer.pad_token_id, tokenizer.eos_token_id
        first = end if self.config.get("model_type") in DECODERS else own
        return next(int(one) for one in (first, own, end, 0) if one is not None)

    @cached_property
    def _tokenizer(self) -> Any:
        transformers = import_transformers()
        folder = self.weights.folder()
        try:
            return transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            line = str(error).strip().splitlines()[0]
            what = f"encoder '{self.name}': its tokenizer cannot be loaded: {line}"
            hint = "a tokenizer.model needs `pip install sentencepiece protobuf`"
            raise UserError(what, hint) from error

    def trainable(self, dtype: Dtype) -> Any:
        """A new model whose weights learn, on the device; no pooler is part of a vector."""
        model = self._load(dtype)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("pooler" not in name)
        return model

    def untrained(self, seed: int) -> Any:
        """The same architecture in float32, its weights drawn as its library draws new ones.

        Reads the configuration alone. Raises `UserError` for a kind that transformers lacks.
        """
        import torch

        transformers = import_transformers()
        kind = self.config.get("model_type")
        try:
            config = transformers.CONFIG_MAPPING[kind].from_dict(self.config)
            with torch.random.fork_rng([]):  # the library draws from the global generator
                torch.manual_seed(seed)
                model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        except (KeyError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(
                f"encoder '{self.name}': no new '{kind}' can be made: {line}"
            ) from error
        return model.to(self.device)

    @cached_property
    def _model(self) -> Any:
        return self._load(self.dtype)

    def _load(self, dtype: str) -> Any:
        """Frozen, on the device."""
        kind = import_transformers().AutoModel
        # A pooler is no part of the last hidden states, and many checkpoints have none.
        model = from_folder(kind, self.name, self.weights, dtype, spared="pooler")
        return model.to(self.device)


def from_folder(kind: Any, name: str, weights: Weights, dtype: str, spared: str = "") -> Any:
    """A frozen model of transformers' class `kind`, on the CPU.

    Raises `UserError` where it cannot be loaded or lacks a weight, unless the weight's name
    contains `spared`.
    """
    import torch

    folder = weights.folder()
    try:
        with quiet(), _no_bar(import_transformers()):
            model, report = kind.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0]
        raise UserError(f"encoder '{name}' cannot be loaded: {line}") from error
    missing = sorted(one for one in report["missing_keys"] if not spared or spared not in one)
    if missing:
        what = f"encoder '{name}': its weights lack {len(missing)}, first '{missing[0]}'"
        raise UserError(what, "they belong to another model, or are incomplete")
    return model.eval().requires_grad_(False)


@contextmanager
def _no_bar(transformers: Any) -> Iterator[None]:
    """No progress bar while weights load: they come from this machine."""
    settings = transformers.utils.logging
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """(n, width) of `hidden` (n, tokens, width) under `mask` (n, tokens); section 1.2."""
    from torch.nn.functional import normalize

    if pooling == "cls":
        return hidden[:, 0]
    kept = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * kept).sum(1) / kept.sum(1)
    return mean if pooling == "mean" else normalize(mean, dim=-1)


def import_transformers() -> Any:
    """transformers, after torchvision was made importable (it looks for it)."""
    mend_torchvision()
    import transformers

    return transformers

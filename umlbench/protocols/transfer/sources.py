"""Data set and language model of a cell, found once a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from umlbench.jobs import Context
from umlbench.needs import DatasetNeed, EncoderNeed
from umlbench.protocols.transfer.settings import Settings
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.data import Dataset
    from umlbench.encoders.text import Transformer

NO_ARCHITECTURE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")


@dataclass(frozen=True)
class Sources:
    """What a cell's settings name."""

    settings: Settings
    context: Context

    @property
    def dataset_need(self) -> DatasetNeed:
        """The photos."""
        return DatasetNeed(self.settings.dataset)

    @property
    def encoder_need(self) -> EncoderNeed:
        """The language model; of its vectors only that of the first position is read."""
        return EncoderNeed(self.settings.text_encoder, "text", pooling="cls")

    @property
    def dataset(self) -> Dataset:
        """Raises `MissingInput` where its files are not all there."""
        return self.dataset_need.find(self.context)

    @property
    def encoder(self) -> Transformer:
        """Raises `MissingInput` where it is not on this machine."""
        return cast("Transformer", self.encoder_need.find(self.context))

    def fingerprints(self) -> dict[str, str]:
        """What a job's id holds of its inputs."""
        found = {self.settings.dataset: self.dataset.fingerprint}
        name = self.settings.text_encoder
        if self.settings.initialisation == "text":
            return found | {name: digest(self.encoder.key())}
        plain = {k: v for k, v in self.encoder.config.items() if k not in NO_ARCHITECTURE}
        return found | {f"{name} (architecture)": digest(plain)}

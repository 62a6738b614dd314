"""Tokens of photos and of sentences as one `SequenceSet`: section 5.5's standard vision and text.

Nothing here imports torch before a set is read: recipes are planned with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from umlbench.data.sequences import Sequences, SequenceSet
from umlbench.needs import DatasetNeed, Encoded, EncoderNeed, Reads, TextsNeed
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.data.corpora import Aliases
    from umlbench.encoders import Dtype, Tokens, Transform
    from umlbench.jobs import Context

IMAGE, TEXT = "image", "text"  # the modalities


@dataclass(frozen=True)
class TokenSource:
    """The photos of `dataset` and sentences about its classes, each as its encoder's tokens.

    `tokens` are the photos' (`umlbench.encoders.tokens`): with a class token, without, or a
    convolutional model's grid. Without a `text_encoder` there are no sentences, for a unimodal
    training reads none. `dtype` is what encoders compute in, `stored` what the cache keeps.
    """

    dataset: str
    encoder: str
    text_encoder: str | None = None
    text_type: str = "cupl"
    tokens: Tokens = "cls+patches"
    text_aliases: Aliases = "none"
    transform: Transform = "clip"
    dtype: Dtype = "float32"
    stored: Dtype = "float32"

    @property
    def encoded(self) -> dict[str, Encoded]:
        """What is encoded, by modality."""
        eyes = EncoderNeed(self.encoder, "image", self.dtype, self.transform, tokens=self.tokens)
        found = {IMAGE: Encoded(eyes, DatasetNeed(self.dataset), self.stored)}
        if self.text_encoder is not None:
            words = EncoderNeed(self.text_encoder, "text", self.dtype, tokens="states")
            texts = TextsNeed(self.dataset, self.text_type, self.text_aliases)
            found[TEXT] = Encoded(words, texts, self.stored)
        return found

    def reads(self) -> Reads:
        """The same, as a protocol's `reads` declares it."""
        found = tuple(self.encoded.values())
        return Reads(tuple(need for one in found for need in (one.of, one.encoder)), found)

    def fingerprints(self, context: Context) -> dict[str, str]:
        """What a job's id holds of its inputs; `MissingInput` where they are not here."""
        found = {}
        for modality, one in self.encoded.items():
            found[str(one.of)] = one.of.find(context).fingerprint
            name = f"{one.encoder} ({modality})"
            found[name] = digest([one.encoder.find(context).key(), one.stored])
        return found

    def load(self, context: Context) -> SequenceSet:
        """The set, encoded where that is missing; its values stay on disk until they are read.

        Sentences are in the training split only, under their classes' labels: they have no split,
        and a probe tested on the sentences it was fitted on would measure nothing.
        """
        from umlbench.features import FeatureStore

        dataset = DatasetNeed(self.dataset).find(context)
        dataset.split("train")  # which says so where there is none
        splits: dict[str, dict[str, Sequences]] = {split: {} for split in dataset.splits}
        for modality, one in self.encoded.items():
            store = FeatureStore(context.cache, dtype=one.stored)
            encoder = one.encoder.find(context)
            for name, split, samples in one.of.parts(context):
                found = store.sequences(
                    encoder, samples, dataset=name, split=split, say=context.say
                )
                splits[split if modality == IMAGE else "train"][modality] = found
        fingerprint = digest(self.fingerprints(context))
        return SequenceSet(dataset.name, dataset.classes, splits, fingerprint)

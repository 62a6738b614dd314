"""Random crops of photos: which part of a photo a step sees is drawn for the photo and iteration.

So a resumed training sees the same parts, however photos are decoded and batches are shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from umlbench.seeds import numpy_stream

AREA = (0.08, 1.0)  # of the photo, as in the released code's (unused) `randomresizedcrop`
RATIO = (3 / 4, 4 / 3)  # of width to height


@dataclass(frozen=True)
class RandomCrop:
    """A part of random area and ratio, mirrored half of the time, resized to `size` (bilinear).

    A part that would be wider or higher than the photo ends at its edges.
    """

    size: int
    seed: int

    def __call__(self, x: Tensor, rows: Tensor, iteration: int) -> Tensor:
        """Parts (B, 3, size, size) of the photos x (B, 3, h, w), which are `rows` of their set."""
        maps = torch.tensor([self._map(row, iteration) for row in rows.tolist()])
        shape = [len(x), x.shape[1], self.size, self.size]
        grid = affine_grid(maps.to(x), shape, align_corners=False)
        return grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _map(self, row: int, iteration: int) -> list[list[float]]:
        """The affine map (2, 3) from the crop to its photo, both of them -1 to 1."""
        width, height, left, top, mirrored = self.box(row, iteration)
        sign = -1.0 if mirrored else 1.0
        across, down = 2 * left + width - 1, 2 * top + height - 1  # the centre
        return [[sign * width, 0.0, across], [0.0, height, down]]

    def box(self, row: int, iteration: int) -> tuple[float, float, float, float, bool]:
        """Width, height, left and top edge as parts of the photo's sides; whether mirrored."""
        draw = numpy_stream("crop", self.seed, iteration=iteration, row=row).random(5)
        area = AREA[0] + (AREA[1] - AREA[0]) * draw[0]
        low, high = (math.log(ratio) for ratio in RATIO)
        ratio = math.exp(low + (high - low) * draw[1])
        width, height = min(1.0, math.sqrt(area * ratio)), min(1.0, math.sqrt(area / ratio))
        return width, height, (1 - width) * draw[2], (1 - height) * draw[3], bool(draw[4] < 0.5)

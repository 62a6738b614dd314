"""Random parts of photos: what is drawn, and that it is drawn for a photo at an iteration."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from umlbench.protocols.finetune import crops
from umlbench.protocols.finetune.crops import RandomCrop

ROWS = torch.tensor([5, 0, 7])


def photos(side=12):
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_part_lies_in_its_photo(seed, row, iteration):
    width, height, left, top, _ = RandomCrop(8, seed).box(row, iteration)
    assert 0 < width <= 1
    assert 0 < height <= 1
    assert 0 <= left <= left + width <= 1 + 1e-12
    assert 0 <= top <= top + height <= 1 + 1e-12
    assert width * height <= 1
    assert width * height >= 0.08 - 1e-9 or 1.0 in (width, height)


def test_areas_and_mirrors_are_spread_as_stated():
    boxes = [RandomCrop(8, 1).box(row, 3) for row in range(2000)]
    areas = torch.tensor([width * height for width, height, *_ in boxes])
    assert 0.08 <= areas.min() < 0.1
    assert 0.48 < areas.median() < 0.58
    assert 0.46 < sum(mirrored for *_, mirrored in boxes) / 2000 < 0.54


def test_a_photo_s_part_depends_on_photo_and_iteration_alone():
    crop, x = RandomCrop(8, 1), photos()
    whole = crop(x, ROWS, 4)
    order = torch.tensor([2, 0])
    assert torch.equal(crop(x[order], ROWS[order], 4), whole[order])
    assert torch.equal(RandomCrop(8, 1)(x, ROWS, 4), whole)
    for other in (RandomCrop(8, 2)(x, ROWS, 4), crop(x, ROWS, 5), crop(x, ROWS + 1, 4)):
        assert not torch.equal(other, whole)


def test_the_global_generator_is_not_asked():
    before = torch.get_rng_state()
    RandomCrop(8, 1)(photos(), ROWS, 0)
    assert torch.equal(torch.get_rng_state(), before)


def boxed(monkeypatch, *box):
    monkeypatch.setattr(RandomCrop, "box", lambda *_: box)


def test_the_whole_photo_is_resized_and_mirrored(monkeypatch):
    expected = interpolate(photos(), 8, mode="bilinear", align_corners=False)
    boxed(monkeypatch, 1.0, 1.0, 0.0, 0.0, False)
    torch.testing.assert_close(RandomCrop(8, 1)(photos(), ROWS, 0), expected)
    boxed(monkeypatch, 1.0, 1.0, 0.0, 0.0, True)
    torch.testing.assert_close(RandomCrop(8, 1)(photos(), ROWS, 0), expected.flip(3))


def test_a_part_at_its_own_size_is_its_pixels(monkeypatch):
    """Columns 3 to 9 and rows 6 to 12 of 12: half of each side."""
    boxed(monkeypatch, 0.5, 0.5, 0.25, 0.5, False)
    found = RandomCrop(6, 1)(photos(), ROWS, 0)
    torch.testing.assert_close(found, photos()[:, :, 6:12, 3:9])
    assert crops.AREA == (0.08, 1.0)

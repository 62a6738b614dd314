"""Files into waveforms, and what a damaged one says."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from umlbench.encoders import sounds
from umlbench.encoders.loading import Loader
from umlbench.encoders.sounds import Broken, Form
from umlbench.errors import UserError

FORM = Form(rate=8000, seconds=0.5)


def tone(samples, rate, hertz=440.0, size=0.5):
    return size * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)


@pytest.fixture
def write(tmp_path):
    def made(name, wave, rate=8000, **options):
        soundfile.write(tmp_path / name, wave, rate, **options)
        return tmp_path / name

    return made


def test_a_clip_as_it_is(write):
    wave = np.float32(tone(4000, 8000))
    path = write("a.wav", wave, subtype="FLOAT")
    assert np.array_equal(FORM.read(path), wave)
    whole = np.arange(-2000, 2000, dtype=np.int16) * 16
    assert np.array_equal(FORM.read(write("b.wav", whole)), whole / np.float32(32768))
    assert FORM.samples == 4000
    assert Form().samples == 220500


def test_short_is_padded_at_the_end_and_long_is_cut_there(write):
    wave = np.float32(tone(6000, 8000))
    short = FORM.read(write("short.wav", wave[:1500], subtype="FLOAT"))
    assert np.array_equal(short[:1500], wave[:1500])
    assert not short[1500:].any()
    assert np.array_equal(FORM.read(write("long.wav", wave, subtype="FLOAT")), wave[:4000])


def test_stereo_becomes_the_mean(write):
    left, right = np.float32(tone(4000, 8000)), np.float32(tone(4000, 8000, 1000))
    both = write("both.wav", np.stack([left, right], 1), subtype="FLOAT")
    assert np.allclose(FORM.read(both), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [4000, 11025, 22050, 44100])
def test_another_rate_keeps_the_tone(write, rate):
    found = FORM.read(write("other.wav", tone(rate // 2, rate), rate, subtype="FLOAT"))
    expected = tone(4000, 8000)
    assert np.abs(found - expected)[200:-200].max() < 2e-3


@pytest.mark.parametrize("ending", sounds.ENDINGS)
def test_every_ending_is_read(write, ending):
    found = FORM.read(write(f"a{ending}", tone(4000, 8000)))
    assert found.shape == (4000,)
    assert np.corrcoef(found, tone(4000, 8000))[0, 1] > 0.95


@given(
    samples=st.integers(1, 9000),
    channels=st.integers(1, 3),
    rate=st.sampled_from([4000, 8000, 11025]),
)
def test_any_sound_gives_one_shape(tmp_path_factory, samples, channels, rate):
    path = tmp_path_factory.mktemp("any") / "a.wav"
    wave = np.random.default_rng(samples).uniform(0.1, 1, (samples, channels))
    soundfile.write(path, wave, rate, subtype="FLOAT")
    found = FORM.read(path)
    assert (found.shape, found.dtype) == ((4000,), np.float32)
    assert np.isfinite(found).all()
    assert found.any()


def cut(path, share=0.6):
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    return path


def spoil(wave, value):
    spoiled = np.float32(wave)
    spoiled[7] = value
    return spoiled


def damaged(write, tmp_path):
    """Files, and what is wrong with each."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40000)
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "words.ogg").write_text("no sound at all")
    return {
        tmp_path / "empty.wav": "has 0 bytes",
        tmp_path / "words.ogg": "is no sound file: Format not recognised",
        write("silent.wav", np.zeros(4000)): "is silent: every sample of its first 0.5 s is 0",
        write("late.wav", np.r_[np.zeros(4000), 1.0]): "is silent: every sample of its first 0.5 s",
        write("none.wav", np.zeros(0)): "holds no samples",
        cut(write("cut.wav", noise)): "is cut off: 48026 of 80044 bytes",
        cut(write("cut.ogg", noise)): "is cut off: its last page is not marked as the last",
        cut(write("cut.flac", noise)): "",
        write("nan.wav", spoil(noise, np.nan), subtype="FLOAT"): "holds samples that are not fin",
        write("inf.wav", spoil(noise, np.inf), subtype="FLOAT"): "holds samples that are not fin",
    }


def test_damaged_files_say_what_is_wrong(write, tmp_path):
    for path, what in damaged(write, tmp_path).items():
        with pytest.raises(Broken) as error:
            FORM.read(path)
        assert str(error.value).startswith(what), path
        assert "\n" not in str(error.value)


def test_a_fault_is_empty_for_a_usable_file(write, tmp_path):
    assert sounds.fault(write("a.wav", tone(4000, 8000))) == ""
    assert sounds.fault(tmp_path / "empty.wav").endswith(
        f"No such file or directory: '{tmp_path / 'empty.wav'}'"
    )
    assert "is silent" in sounds.fault(write("silent.wav", np.zeros(4000)))


def test_all_damaged_files_are_named_at_once(write, tmp_path):
    import torch

    paths = list(damaged(write, tmp_path))[:5]
    good = write("good.wav", tone(4000, 8000))
    loader = Loader("sound", FORM.read, torch.from_numpy)
    with pytest.raises(UserError) as error:
        list(loader.batches([paths[0], good, *paths[1:]], size=2, workers=0, pin=False))
    assert error.value.message.startswith("5 broken sound(s): ")
    assert all(f"{path} (" in error.value.message for path in paths)
    found = list(loader.batches([good, good, good], size=2, workers=1, pin=False))
    assert [tuple(batch.shape) for batch in found] == [(2, 4000), (1, 4000)]

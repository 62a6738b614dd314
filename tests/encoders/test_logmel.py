import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from umlbench import encoders
from umlbench.encoders import logmel
from umlbench.errors import UserError

RATE = 44100


def test_bands_are_triangles_on_the_mel_scale():
    bank = logmel.filters(RATE)
    assert bank.shape == (64, 1025)
    assert (bank >= 0).all()
    assert (bank.max(1) <= 1).all()
    hertz = np.fft.rfftfreq(2048, 1 / RATE)
    peaks = hertz[bank.argmax(1)]
    assert (np.diff(peaks) >= 0).all()
    assert not bank[:, (hertz < 50) | (hertz > 16000)].any()
    inside = (hertz > peaks[8]) & (hertz < peaks[-1])
    assert np.allclose(bank[:, inside].sum(0), 1)  # neighbours share what lies between them


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 6000.0])
def test_a_tone_is_loud_in_its_band_and_steady(hertz):
    wave = np.float32(0.5 * np.sin(2 * np.pi * hertz * np.arange(5 * RATE) / RATE))
    mean, deviation = np.split(logmel.statistics(wave, RATE), 2)
    bank = logmel.filters(RATE)
    at = np.argmax(bank[:, round(hertz * 2048 / RATE)])
    assert abs(int(mean.argmax()) - at) <= 1
    assert deviation[mean.argmax()] < 0.1
    louder = logmel.statistics(2 * wave, RATE)
    assert np.allclose(louder[at] - mean[at], 20 * np.log10(2), atol=1e-3)


def test_a_tone_that_stops_varies():
    wave = np.float32(0.5 * np.sin(2 * np.pi * 1000 * np.arange(5 * RATE) / RATE))
    wave[len(wave) // 2 :] = 0
    mean, deviation = np.split(logmel.statistics(wave, RATE), 2)
    assert deviation[mean.argmax()] > 20
    assert np.isfinite(mean).all()


def test_rows_of_files_and_the_key(tmp_path):
    stream = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.ogg" for number in range(3)]
    for path in paths:
        soundfile.write(path, stream.uniform(-0.5, 0.5, 30000), 22050)
    encoder = encoders.load("logmel", device="cuda")
    ticks = []
    rows = encoder.encode(paths, ticks.append)
    assert (rows.shape, rows.dtype) == ((3, encoder.width), np.float32)
    assert (encoder.width, encoder.modality, sum(ticks)) == (128, "audio", 3)
    assert np.array_equal(encoder.encode(paths[::-1])[::-1], rows)
    assert encoder.encode([]).shape == (0, 128)
    assert json.loads(json.dumps(encoder.key())) == encoder.key()
    with pytest.raises(UserError, match="'logmel' computes in float32 only"):
        encoders.load("logmel", dtype="float16")
    paths[1].write_bytes(b"")
    with pytest.raises(UserError, match=r"1 broken sound\(s\): .*1.ogg \(has 0 bytes\)"):
        encoder.encode(paths)


def test_a_key_needs_no_library():
    code = (
        "import sys; from umlbench import encoders; encoders.load('logmel').key();"
        "print([n for n in ('torch', 'scipy', 'soundfile') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"

"""Makes the sounds of the tests: a tone of half a second in every container, with tags that must not get through.

Run it with the package `soundfile` (0.13) and its libsndfile: python make.py
"""

import math
import pathlib

import numpy
import soundfile

RATE = 16_000
SECONDS = 0.5
SECRET = "where I live"
FORMATS = [
    ("tone.wav", "WAV", "PCM_16"),
    ("tone.mp3", "MP3", "MPEG_LAYER_III"),
    ("vorbis.ogg", "OGG", "VORBIS"),
    ("opus.ogg", "OGG", "OPUS"),
    ("tone.flac", "FLAC", "PCM_16"),
]

here = pathlib.Path(__file__).parent
samples = [0.4 * math.sin(2 * math.pi * 440 * at / RATE) for at in range(int(RATE * SECONDS))]
for name, container, codec in FORMATS:
    with soundfile.SoundFile(here / name, "w", RATE, 1, codec, format=container) as file:
        file.title = SECRET
        file.write(numpy.array(samples))

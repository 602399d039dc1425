"""What NudeNet itself says of two drawn pictures: `python reference.py MODEL.onnx` draws them, and writes answers.json beside
this file. Made with nudenet 3.4.2, onnxruntime 1.32.0, numpy 2.4.6, opencv-python-headless 5.0.0.93 and pillow 13.0.0.

Two shaded discs are nothing to be ashamed of, and look enough like it to be found."""

import json
import pathlib
import sys

import numpy
from nudenet import NudeDetector
from PIL import Image

here = pathlib.Path(__file__).parent


def discs(width, height):
    y, x = numpy.mgrid[0:height, 0:width].astype(float)
    picture = numpy.tile([90.0, 110.0, 140.0], (height, width, 1))
    for centre in (0.34, 0.66):
        far = ((x - centre * width) / (0.22 * width)) ** 2 + ((y - 0.53 * height) / (0.27 * height)) ** 2
        shade = numpy.clip(1 - 0.45 * far, 0, 1)[..., None]
        picture = numpy.where((far < 1)[..., None], numpy.array([224, 172, 140]) * shade + 10, picture)
    return picture.astype(numpy.uint8)


detector = NudeDetector(sys.argv[1])
answers = {}
for name, size in {"square": (320, 320), "wide": (500, 300)}.items():
    picture = discs(*size)
    Image.fromarray(picture).save(here / f"{name}.png")
    # nudenet 3.4.2 turns OpenCV's order of colours around twice, so that files are seen with red and blue swapped. Given red
    # first, the network sees what it was trained on: it is surer of the face in a photograph then, 0.81 against 0.72.
    answers[name] = detector.detect(picture)
(here / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")

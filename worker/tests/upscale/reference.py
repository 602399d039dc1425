"""What ncnn itself makes of a fixed picture: `python reference.py WEIGHTS` draws small.png and writes large.png beside this
file. They were made with ncnn 1.0.20250916, numpy 2.4.6 and pillow 13.0.0."""

import pathlib
import sys

import ncnn
import numpy
from PIL import Image

# As in worker/src/engines/upscale/tiles.rs: pixels of its edge that a picture is continued by.
BEYOND = 10
here = pathlib.Path(__file__).parent
weights = pathlib.Path(sys.argv[1])

y, x = numpy.mgrid[0:40, 0:56]
disc = (x - 20) ** 2 + (y - 18) ** 2 < 144
lines = (x + 2 * y) % 9 < 2
small = numpy.stack([x * 4, y * 6, 255 - x * 2 - y * 2], axis=2)
small = numpy.where(disc[..., None], [240, 200, 40], small)
small = numpy.where((lines & (x > 34))[..., None], [20, 30, 60], small).astype(numpy.uint8)
Image.fromarray(small).save(here / "small.png")

net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.opt.use_bf16_storage = False
net.load_param(str(weights / "realesr-animevideov3-x4.param"))
net.load_model(str(weights / "realesr-animevideov3-x4.bin"))
padded = numpy.pad(small, ((BEYOND, BEYOND), (BEYOND, BEYOND), (0, 0)), mode="edge")
planes = numpy.ascontiguousarray(padded.transpose(2, 0, 1).astype(numpy.float32) / 255)
extractor = net.create_extractor()
extractor.input("data", ncnn.Mat(planes))
_, made = extractor.extract("output")
inner = numpy.array(made)[:, 4 * BEYOND : -4 * BEYOND, 4 * BEYOND : -4 * BEYOND]
large = numpy.rint(inner * 255).clip(0, 255).astype(numpy.uint8).transpose(1, 2, 0)
Image.fromarray(large).save(here / "large.png")

"""The sizes in which doodle is trained, and every number that training needs."""

from dataclasses import asdict, dataclass

from chosen import FEW, FIRST, MANY, SOME


@dataclass(frozen=True)
class Shape:
    """The network: `channels` and `blocks` for each level, from fine to coarse; attention from level `attends` on.
    What it `predicts` is the "velocity" or the "picture", which says the velocity as well."""

    size: int = 128
    patch: int = 4
    channels: tuple = (96, 192, 288)
    blocks: tuple = (1, 2, 2)
    attends: int = 1
    head: int = 32
    embedding: int = 384
    text: int = 384
    text_blocks: int = 2
    predicts: str = "velocity"

    def plain(self):
        """What JSON can hold; `Shape(**plain)` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Config:
    """A training run. `batch` pictures a step; rates are AdamW's; `things` restricts the vocabulary, None to all; `easy` has scenes
    that are fewer to learn. With `muon`, that teaches the matrices; with `reused`, each scene is learnt from about so many times (see
    pool.py); over the share `cooling` of the minutes, at their end, rates fall to nothing. Times in training
    `lean` towards noise where below 0. `places` restricts where scenes are, None to all."""

    shape: Shape
    things: tuple | None = None
    batch: int = 512
    rate: float = 6e-4
    distil_rate: float = 2e-4
    warmup: int = 200
    decay: float = 0.999
    weight_decay: float = 0.01
    clip: float = 1.0
    unconditional: float = 0.1
    tokens: int = 48
    easy: bool = False
    places: tuple | None = None
    muon: float | None = None
    reused: int = 0
    cooling: float = 0.0
    lean: float = -0.4


CONFIGS = {
    "large": Config(
        Shape(patch=8, channels=(192, 320), blocks=(1, 2), attends=0, embedding=320, text_blocks=1, predicts="picture"),
        things=MANY, batch=384, rate=1e-3, distil_rate=2e-4, warmup=100, decay=0.997, easy=True, muon=1.5e-3, cooling=0.4, lean=-0.8, tokens=32,
    ),
    "small": Config(
        Shape(size=64, patch=8, channels=(96, 128), blocks=(1, 1), attends=0, embedding=192, text_blocks=0, predicts="picture"),
        things=SOME, batch=96, rate=2e-3, distil_rate=3e-4, warmup=50, decay=0.995,
        easy=True, places=FEW, muon=2e-3, reused=20, cooling=0.3, lean=-0.8,
    ),
    "tiny": Config(
        Shape(size=32, channels=(16, 32), blocks=(1, 1), attends=1, head=16, embedding=32, text_blocks=1),
        things=FIRST, batch=4, warmup=2, decay=0.9,
    ),
}

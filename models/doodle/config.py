"""The sizes in which doodle is trained, and every number that training needs."""

from dataclasses import asdict, dataclass

# The things of the small configuration: what people ask for first, as told by name in things.py.
FIRST = (
    "cat", "dog", "rabbit", "elephant", "frog", "penguin", "fish", "butterfly", "tree", "evergreen tree", "sunflower", "mushroom",
    "apple", "banana", "pizza", "house", "castle", "car", "bicycle", "rocket", "balloon", "star", "snowman", "robot",
)


@dataclass(frozen=True)
class Shape:
    """The network: `channels` and `blocks` for each level, from fine to coarse; attention from level `attends` on."""

    size: int = 128
    patch: int = 2
    channels: tuple = (48, 96, 192, 288)
    blocks: tuple = (1, 2, 2, 2)
    attends: int = 2
    head: int = 32
    embedding: int = 512
    text: int = 384
    text_blocks: int = 2

    def plain(self):
        """What JSON can hold; `Shape(**plain)` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Config:
    """A training run. `batch` pictures a step; rates are AdamW's; `things` restricts the vocabulary, None to all."""

    shape: Shape
    things: tuple | None = None
    batch: int = 512
    rate: float = 6e-4
    distil_rate: float = 2e-4
    warmup: int = 500
    decay: float = 0.999
    weight_decay: float = 0.01
    clip: float = 1.0
    unconditional: float = 0.1
    tokens: int = 48


CONFIGS = {
    "large": Config(Shape()),
    "small": Config(
        Shape(size=64, patch=4, channels=(64, 96, 128), blocks=(2, 2, 1), attends=1, embedding=128, text_blocks=1),
        things=FIRST, batch=32, rate=1e-3, distil_rate=3e-4, warmup=100, decay=0.995,
    ),
    "tiny": Config(
        Shape(size=32, channels=(16, 32), blocks=(1, 1), attends=1, head=16, embedding=32, text_blocks=1),
        things=FIRST, batch=4, warmup=2, decay=0.9,
    ),
}

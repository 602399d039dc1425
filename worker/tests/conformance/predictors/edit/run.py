"""A file in and a file out."""

import pathlib
from typing import Optional

from cog import BaseRunner, Input, Path

import pixels


class Runner(BaseRunner):
    def run(
        self,
        image: Path = Input(description="The picture to change."),
        mask: Optional[Path] = Input(description="Where.", default=None),
        references: list[Path] = Input(description="Pictures to look at.", default=[]),
    ) -> Path:
        data = pathlib.Path(image).read_bytes()
        assert data.startswith(b"\x89PNG"), "that is no PNG"
        print(f"mask: {mask is not None}, references: {len(references)}")
        return Path(pixels.file(pixels.png(8, 8, len(data) + 1000 * (mask is not None) + 10000 * len(references))))

"""Goes wrong in the way that the prompt names."""

import os

from cog import BasePredictor, Input, Path

import pixels


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(description="What goes wrong."),
        needed: int = Input(description="At least 2.", default=2, ge=0),
    ) -> list[Path]:
        match prompt:
            case "nothing":
                return []
            case "a thousand":
                return [Path(pixels.file(pixels.png(1, 1, index))) for index in range(1000)]
            case "a song":
                return [Path(pixels.file(b"ID3 la la la", ".mp3"))]
            case "memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            case "a crash":
                os._exit(1)
            case _:
                raise ValueError(f"cannot paint {prompt!r}")

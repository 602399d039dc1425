"""Several pictures from one prompt; the newer form, `run`."""

import time

from cog import BaseRunner, Input, Path

import pixels


class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(description="What to paint."),
        num_outputs: int = Input(description="How many pictures.", default=2, ge=1, le=4),
        pause: float = Input(description="Seconds a picture.", default=0, ge=0, le=1),
        seed: int = Input(description="Seed.", default=0, ge=0),
    ) -> list[Path]:
        start = seed + 1_000_003 * sum(prompt.encode())
        pictures = []
        for index in range(num_outputs):
            pictures.append(Path(pixels.file(pixels.png(24, 24, start + index))))
            print(f"{100 * (index + 1) // num_outputs}%", flush=True)
            time.sleep(pause)
        return pictures

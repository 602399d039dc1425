"""One picture from a prompt, with a seed and choices; the older form, `predict`."""

import time
from typing import Optional

from cog import BasePredictor, Input, Path

import pixels


class Predictor(BasePredictor):
    def setup(self) -> None:
        print("weights are in memory")

    def predict(
        self,
        prompt: str = Input(description="What to paint."),
        negative_prompt: str = Input(description="What must not be there.", default=""),
        width: int = Input(description="Pixels from left to right.", default=64, choices=[32, 64, 128]),
        height: int = Input(description="Pixels from top to bottom.", default=64, ge=16, le=256),
        num_inference_steps: int = Input(description="Steps.", default=4, ge=1, le=1000),
        guidance_scale: float = Input(description="How much the words count.", default=7.5, ge=0, le=20),
        style: str = Input(description="How it looks.", default="soft", choices=["soft", "hard"]),
        pause: float = Input(description="Seconds between steps.", default=0, ge=0, le=1),
        seed: Optional[int] = Input(description="Seed; drawn where it is missing.", default=None),
    ) -> Path:
        for step in range(num_inference_steps):
            print(f"{100 * (step + 1) // num_inference_steps:3}%|", flush=True)
            time.sleep(pause)
        words = sum(prompt.encode()) + len(negative_prompt) + len(style)
        return Path(pixels.file(pixels.png(width, height, seed * 1_000_003 + words)))

"""A tone, whose pitch the words and the seed give, to a melody or by itself."""

import io
import math
import pathlib
import time
import wave
from typing import Optional

from cog import BaseRunner, Input, Path

import pixels

RATE = 8000


class Runner(BaseRunner):
    def run(
        self,
        prompt: str = Input(description="What to hear."),
        seed: Optional[int] = Input(description="Random seed.", default=None),
        steps: int = Input(description="Steps.", ge=1, le=100, default=2),
        pause: float = Input(description="Seconds a step.", ge=0, le=1, default=0),
        melody: Optional[Path] = Input(description="What it sounds like.", default=None),
    ) -> Path:
        for step in range(steps):
            time.sleep(pause)
            print(f"{100 * (step + 1) // steps:3}%|", flush=True)
        guide = len(pathlib.Path(melody).read_bytes()) if melody else 0
        pitch = 200 + (sum(prompt.encode()) + 7 * (seed or 0) + guide) % 800
        samples = (int(8000 * math.sin(2 * math.pi * pitch * at / RATE)) for at in range(RATE // 4))
        made = io.BytesIO()
        with wave.open(made, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples))
        return Path(pixels.file(made.getvalue(), ".wav"))

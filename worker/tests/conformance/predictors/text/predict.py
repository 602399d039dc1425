"""Text that comes word by word, without server-sent events: `predict` with an iterator."""

import random
import time

from cog import BasePredictor, ConcatenateIterator, Input


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(description="The question."),
        max_tokens: int = Input(description="Words at most.", default=4, ge=1, le=1000),
        pause: float = Input(description="Seconds between words.", default=0.02, ge=0, le=1),
        seed: int = Input(description="Seed.", default=1),
    ) -> ConcatenateIterator[str]:
        words = random.Random(f"{seed} {prompt}")
        for _ in range(max_tokens):
            yield words.choice(["fox ", "hen ", "owl ", "élan ", "🦊 "])
            time.sleep(pause)

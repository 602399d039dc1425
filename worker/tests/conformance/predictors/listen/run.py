"""How long a sound is, in words."""

import wave

from cog import BaseRunner, Input, Path


class Runner(BaseRunner):
    def run(self, audio: Path = Input(description="The sound.")) -> str:
        with wave.open(str(audio), "rb") as sound:
            return f"{sound.getnframes() / sound.getframerate():.2f} s of sound"

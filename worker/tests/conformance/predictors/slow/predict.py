"""Takes its time, and cleans up when it is cancelled."""

import pathlib
import time

from cog import BasePredictor, CancelationException, Input


class Predictor(BasePredictor):
    def predict(
        self,
        prompt: str = Input(description="File that is written when the run is cancelled."),
        seconds: float = Input(description="How long it takes.", default=60, ge=0, le=600),
    ) -> str:
        started = time.monotonic()
        try:
            while (passed := time.monotonic() - started) < seconds:
                print(f"{1 + int(99 * passed / seconds)}%", flush=True)
                time.sleep(0.01)
        except CancelationException:
            pathlib.Path(prompt).write_text("cancelled")
            raise
        return "done"

# SPDX-License-Identifier: MIT
"""Energy and carbon of a Hugging Face Trainer: `Trainer(..., callbacks=[CarbonCallback()])`."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

from .. import track
from ..tracker import Tracker


class CarbonCallback(TrainerCallback):  # type: ignore[misc]
    """Marks the trainer's epochs and optimizer steps. Takes the options of `carbon_job.track`.

    The trainer says when an evaluation has ended, not when it begins: evaluations count to their epoch.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.tracker: Tracker | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the run."""
        epochs = math.ceil(state.num_train_epochs)
        self.tracker = track(epochs, math.ceil(state.max_steps / max(1, epochs)), **self._options).start()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an epoch."""
        if self.tracker is not None:
            self.tracker.epoch()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count a step; stop after a limit that says so."""
        if self.tracker is not None:
            self.tracker.step()
            if self.tracker.should_stop:
                control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run."""
        if self.tracker is not None:
            self.tracker.finish()

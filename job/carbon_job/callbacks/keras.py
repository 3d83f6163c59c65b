# SPDX-License-Identifier: MIT
"""Energy and carbon of a Keras model: `model.fit(..., callbacks=[CarbonCallback()])`."""

from __future__ import annotations

from typing import Any

from keras.callbacks import Callback

from .. import track
from ..tracker import Tracker


class CarbonCallback(Callback):  # type: ignore[misc]
    """Marks the epochs, batches and validations of `fit`. Takes the options of `carbon_job.track`."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self.tracker: Tracker | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the run."""
        self.tracker = track(self.params.get("epochs"), self.params.get("steps"), **self._options).start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch."""
        if self.tracker is not None:
            self.tracker.epoch()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count a step."""
        if self.tracker is not None:
            self.tracker.step()

    def on_test_begin(self, logs: Any = None) -> None:
        """Begin a phase: a validation."""
        if self.tracker is not None:
            self.tracker.phase("validation").__enter__()

    def on_test_end(self, logs: Any = None) -> None:
        """End the phase."""
        if self.tracker is not None:
            self.tracker.phase("validation").__exit__(None, None, None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop after a limit that says so."""
        if self.tracker is not None and self.tracker.should_stop:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """End the run."""
        if self.tracker is not None:
            self.tracker.finish()

# SPDX-License-Identifier: MIT
"""The rules of other tools, on the same readings as ours."""

from __future__ import annotations

from .families import STEPS, Training


def carbontracker(training: Training, epochs: int) -> float:
    """Joules of the whole as Carbontracker 2.4.7 predicts them: all epochs are the mean of those measured.

    It measures from epoch_start to epoch_end; what lies between epochs and before the first is left out
    (predictor.py; `seeds` of the project's documentation).
    """
    spent = sum(piece.joules for piece in training.pieces if piece.kind == STEPS and piece.epoch < epochs)
    return training.epochs * spent / epochs


def carbontracker_tui(training: Training, epochs: int) -> float:
    """Joules of the whole as carbontracker-tui 0.1.0 predicts them: all so far, over the spans that ended, times all.

    The energy since its start is in it, set-up included (core/prediction.py, predict_unit_based).
    """
    spent = 0.0
    for piece in training.pieces:
        if piece.epoch >= epochs or (piece.epoch == epochs - 1 and piece.kind not in ("set-up", STEPS)):
            break
        spent += piece.joules
    return spent * training.epochs / epochs

# SPDX-License-Identifier: MIT
"""Callbacks in real frameworks, where they are installed: epochs, steps and validations arrive."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from job.livenode import LiveNode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # theirs
]


@pytest.fixture
def log(node: LiveNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of results, in the environment of a job."""
    for name, value in {**node.environment(), "XDG_STATE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    os.environ.pop("SLURM_NTASKS", None)
    return tmp_path / "log.jsonl"


def check(log: Path, epochs: int, steps: int, phases: int) -> None:
    """What came to the log: so many epochs of so many steps, so many validations, one run that is whole."""
    found = [json.loads(line) for line in log.read_text().splitlines()]
    ended = [line for line in found if line["type"] == "epoch"]

    assert [line["steps"] for line in ended] == [steps] * epochs
    assert len([line for line in found if line["path"] == "epoch/validation"]) == phases
    assert (found[-1]["type"], found[-1]["complete"]) == ("run", True)
    assert found[-1]["energy_j"] == pytest.approx(sum(line["energy_j"] for line in ended), rel=0.5)


def test_lightning(log: Path) -> None:
    """Lightning: every epoch, batch and validation; the check before the training is none."""
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    torch = pytest.importorskip("torch")
    from lightning.pytorch.plugins.environments import LightningEnvironment

    from carbon_job.callbacks.lightning import CarbonCallback

    class Model(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: object, _index: int) -> object:
            return self.layer(batch[0]).sum()

        validation_step = training_step

        def configure_optimizers(self) -> object:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(20, 4)), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[CarbonCallback(log=str(log))],
        plugins=[LightningEnvironment()],
    )
    trainer.fit(Model(), data, data)
    check(log, 3, 5, 3)


def test_keras(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras: every epoch, batch and validation of `fit`."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch", reason="PyTorch is not installed")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    import numpy as np

    from carbon_job.callbacks.keras import CarbonCallback

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    x, y = np.zeros((20, 4)), np.zeros((20, 1))
    model.fit(x, y, batch_size=4, epochs=3, verbose=0, validation_data=(x, y), callbacks=[CarbonCallback(log=str(log))])
    check(log, 3, 5, 3)


def test_transformers(log: Path, tmp_path: Path) -> None:
    """Hugging Face: every epoch and optimizer step of the Trainer."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from carbon_job.callbacks.transformers import CarbonCallback

    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    row = {"input_ids": torch.arange(5), "labels": torch.arange(5)}
    trainer = transformers.Trainer(
        model=transformers.BertForMaskedLM(config),
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=4,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            use_cpu=True,
        ),
        train_dataset=[row] * 20,
        callbacks=[CarbonCallback(log=str(log))],
    )
    trainer.train()
    check(log, 3, 5, 0)

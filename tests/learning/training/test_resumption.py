"""A fit that was killed and went on ends as if nothing had happened: weights, history and all, to the last bit."""

import io
import random
import signal

import numpy as np
import pytest
import torch

from tasks.caching.interruption import SIGNALS, postponed_interruption
from tasks.learning.models.networks import build_network
from tasks.learning.models.weights import dump_weights
from tasks.learning.training.history import history_table
from tasks.learning.training.loop import fit
from tasks.learning.training.resumption import (
    SCHEMA,
    InterruptedFitError,
    Position,
    TrainingCheckpointInterval,
    capture_random,
    restore_random,
)
from tests.support.hostile_files import saved, trap

EPOCHS = 12


class KilledError(Exception):
    """Stands for the death of the process, which no code of it survives."""


class Shelf:
    """Keeps training checkpoints in memory; kills the fit right after the one number `deadly`, if it is to."""

    owner = "this training"

    def __init__(self, kept=(), deadly=None, interrupted_after=None):
        self.kept, self.refused, self.where = list(kept), [], None
        self._deadly, self._interrupted_after, self.asked = deadly, interrupted_after, 0

    def keep(self, updates, write):
        file = io.BytesIO()
        write(file)
        self.kept.append(file.getvalue())
        if len(self.kept) == self._deadly:
            raise KilledError

    def newest_first(self):
        yield from reversed(self.kept)

    def refuse(self, why):
        self.refused.append(why)

    def resumed(self, where):
        self.where = where

    def is_interrupted(self):
        self.asked += 1
        return self.asked == self._interrupted_after


@pytest.fixture
def train(batches):
    """Fits an experiment; gives what may be compared: the bytes of the weights, and the history."""

    def run(experiment, shelf=None):
        parts = batches(experiment)
        network = build_network(experiment.model, experiment.training.placement, "cpu", experiment.training.seed)
        fitted = fit(network, experiment.training, parts.pop("train"), parts, None, shelf)
        table = history_table(fitted.history)
        return dump_weights(network), table, (fitted.epochs_run, fitted.stopped_early, fitted.best_epoch)

    return run


@pytest.fixture
def experiment(preset):
    """The preset `line`, kept at every epoch; `seconds` that have always passed keep it at every batch."""

    def make(every="1 epoch", model=None, **training):
        settings = {"epochs": EPOCHS, "evaluate_every": 2, "checkpoint_every": every} | training
        return preset("line", training=settings, model=model or {}, split={"validation": 0.1, "train": 0.7})

    return make


FITS = {
    **{f"{optimizer}": {"optimizer": optimizer} for optimizer in ("sgd", "adam", "adamw")},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "step": {"schedule": "step", "step_every": 3},
    "cosine": {"schedule": "cosine", "optimizer": "adam"},
    "one-cycle": {"schedule": "one-cycle", "warmup_epochs": 3},
    "clipped": {"clip_norm": 0.1},
    "early stopping": {"patience": 2, "learning_rate": 0.3, "evaluate_every": 1},
    "dropout": {"model": {"kind": "mlp", "hidden": [8, 8], "dropout": 0.3, "normalization": "batch"}},
    "never better": {"patience": 1, "learning_rate": 5.0, "evaluate_every": 1},
}


@pytest.mark.parametrize("batch_size", [None, 8], ids=["full batch", "mini-batch"])
@pytest.mark.parametrize("changes", FITS.values(), ids=FITS)
def test_resumes_as_if_nothing_had_happened(experiment, train, changes, batch_size):
    wanted = experiment(batch_size=batch_size, **changes)
    uninterrupted = train(wanted)
    everything = Shelf()
    train(wanted, everything)
    assert len(everything.kept) >= 2
    for deadly in range(1, len(everything.kept) + 1):
        shelf = Shelf(deadly=deadly)
        with pytest.raises(KilledError):
            train(wanted, shelf)
        again = Shelf(shelf.kept)
        assert train(wanted, again) == uninterrupted, f"killed after training checkpoint {deadly}"
        assert again.where == f"epoch {deadly}"
        assert again.refused == []


@pytest.mark.parametrize("shuffle", [True, False])
def test_resumes_in_the_middle_of_an_epoch(experiment, train, monkeypatch, shuffle):
    wanted = experiment("1s", batch_size=8, shuffle=shuffle, optimizer="adam")
    uninterrupted = train(wanted)
    monkeypatch.setattr(TrainingCheckpointInterval, "is_due", lambda self, position: True)
    everything = Shelf()
    assert train(wanted, everything) == uninterrupted
    assert len(everything.kept) == EPOCHS * 5
    for deadly in range(1, EPOCHS * 5 + 1, 4):
        shelf = Shelf(deadly=deadly)
        with pytest.raises(KilledError):
            train(wanted, shelf)
        assert train(wanted, Shelf(shelf.kept)) == uninterrupted, f"killed after batch {deadly}"


def test_an_interruption_keeps_a_training_checkpoint_first(experiment, train):
    wanted = experiment("1000 epochs", batch_size=8)
    shelf = Shelf(interrupted_after=23)
    with pytest.raises(InterruptedFitError):
        train(wanted, shelf)
    assert len(shelf.kept) == 1
    assert train(wanted, Shelf(shelf.kept)) == train(wanted)


def test_a_training_checkpoint_of_the_end_resumes_to_the_end(experiment, train):
    wanted = experiment(f"{EPOCHS} epochs")
    shelf = Shelf()
    first = train(wanted, shelf)
    again = Shelf(shelf.kept)
    assert train(wanted, again) == first
    assert again.where == f"epoch {EPOCHS}"


def test_never_keeps_nothing(experiment, train):
    shelf = Shelf()
    train(experiment("never"), shelf)
    assert shelf.kept == []


def test_never_resumes_from_nothing(experiment, train):
    kept = Shelf()
    train(experiment("2 epochs"), kept)
    shelf = Shelf(kept.kept)
    assert train(experiment("never"), shelf) == train(experiment("2 epochs"))
    assert (shelf.where, shelf.refused) == (None, [])


@pytest.mark.parametrize("settings", [{}, {"batch_size": 8}], ids=["full batch", "batches"])
def test_never_stops_at_once_where_it_is_interrupted(settings, experiment, train):
    shelf = Shelf(interrupted_after=3)
    with pytest.raises(InterruptedFitError):
        train(experiment("never", **settings), shelf)
    assert (shelf.kept, shelf.asked) == ([], 3)


class Struck(Shelf):
    """Gets a signal when it is asked for the second time; tells what `was_interrupted` says of it."""

    was_interrupted = None

    def __init__(self, number):
        super().__init__()
        self._number = number

    def is_interrupted(self):
        super().is_interrupted()
        if self.asked == 2:
            signal.raise_signal(self._number)
        return self.was_interrupted()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_ends_a_training_that_keeps_nothing(number, experiment, train):
    def end(number, frame):
        raise KilledError

    def work():
        with postponed_interruption() as shelf.was_interrupted:
            train(experiment("never"), shelf)

    shelf, before = Struck(number), signal.signal(number, end)
    try:
        with pytest.raises(KilledError):
            work()
    finally:
        signal.signal(number, before)
    assert (shelf.kept, shelf.asked) == ([], 2)


def altered(kept, change):
    """A training checkpoint's file after a change of its content."""
    content = torch.load(io.BytesIO(kept), weights_only=True)
    change(content)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


ALTERATIONS = {
    "another schema": (lambda captured: captured.update(schema=SCHEMA + 1), "schema"),
    "another training": (lambda captured: captured.update(owner="another"), "another training"),
    "no optimizer": (lambda captured: captured.pop("optimizer"), "optimizer"),
    "another network": (lambda captured: captured["network"].pop("bias"), "bias missing"),
    "float64": (lambda captured: captured["network"].update(bias=torch.zeros(1, dtype=torch.float64)), "float64"),
    "NaN": (lambda captured: captured["network"].update(bias=torch.full((1,), float("nan"))), "finite"),
    "a shorter history": (lambda captured: captured["position"].update(epoch=99), "losses of 99 epochs"),
    "a history of texts": (lambda captured: captured["history"].update(train_loss="no"), "does not fit"),
    "random numbers that are none": (
        lambda captured: captured["random"].update(torch=torch.zeros(3)),
        "does not fit",
    ),
    "best weights of another network": (
        lambda captured: captured["best"]["weights"].update(other=torch.zeros(1)),
        "other",
    ),
}


@pytest.mark.parametrize(("change", "why"), ALTERATIONS.values(), ids=ALTERATIONS)
def test_a_training_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(experiment, train, change, why):
    wanted = experiment(patience=5, optimizer="adam")
    shelf = Shelf(deadly=6)
    with pytest.raises(KilledError):
        train(wanted, shelf)
    again = Shelf([altered(shelf.kept[-1], change)])
    assert train(wanted, again) == train(wanted)
    assert why in again.refused[0]
    assert again.where is None


def test_the_generation_before_serves_where_the_newest_does_not_fit(experiment, train):
    wanted = experiment()
    shelf = Shelf(deadly=6)
    with pytest.raises(KilledError):
        train(wanted, shelf)
    again = Shelf([shelf.kept[-2], shelf.kept[-1][:-100]])
    assert train(wanted, again) == train(wanted)
    assert (len(again.refused), again.where) == (1, "epoch 5")


def test_never_runs_code_in_a_training_checkpoint(experiment, train, tmp_path):
    wanted = experiment()
    shelf = Shelf([saved({"schema": SCHEMA, "owner": "this training", "network": trap(tmp_path / "canary")})])
    assert train(wanted, shelf) == train(wanted)
    assert "was not run" in shelf.refused[0]
    assert not (tmp_path / "canary").exists()


def test_random_numbers_go_on():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    np.random.standard_normal()  # leaves its second number for later
    captured = capture_random(torch.device("cpu"))

    def draw():
        return random.uniform(0, 1), random.gauss(0, 1), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()

    expected = draw()
    draw()
    restore_random(captured, torch.device("cpu"))
    assert draw() == expected


@pytest.mark.parametrize(
    ("every", "due"),
    [("1 epoch", [1, 2, 3, 4, 5, 6]), ("3 epochs", [3, 6]), ("2epochs", [2, 4, 6]), ("9 s", []), ("never", [])],
)
def test_when_a_training_checkpoint_is_due(every, due):
    interval = TrainingCheckpointInterval(every)
    assert [epoch for epoch in range(1, 7) if interval.is_due(Position(epoch))] == due
    assert not interval.is_due(Position(1, batch=1))


def test_seconds_count_from_the_one_before(monkeypatch):
    clock = iter([100.0, 105.0, 110.0, 110.0, 111.0, 119.0, 121.0, 121.0])
    monkeypatch.setattr("tasks.learning.training.resumption.time.monotonic", lambda: next(clock))
    interval = TrainingCheckpointInterval("10s")
    assert [interval.is_due(Position(1, 3)) for _ in range(5)] == [False, True, False, False, True]

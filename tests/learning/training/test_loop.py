import math

import pytest
import torch

from tasks.errors import ExperimentError
from tasks.learning.config.training import Training
from tasks.learning.models.networks import build_network
from tasks.learning.models.weights import dump_weights
from tasks.learning.training import loop
from tasks.learning.training.history import history_table
from tasks.learning.training.loop import DivergenceError, fit

#: Epoch, training loss before the update, test loss after it: torch 2.13 on an x86-64 CPU, every digit. The notebook
#: has all but the last, which is evaluated in any case.
LINE_LOSSES = """
0,0.9654504656791687,0.8617286682128906
10,0.6198207139968872,0.45759907364845276
20,0.2741910219192505,0.05346927046775818
30,0.08842664211988449,0.17352473735809326
40,0.0757826715707779,0.17364943027496338
50,0.06544751673936844,0.15089289844036102
60,0.05513310432434082,0.1260756552219391
70,0.04482702165842056,0.10331912338733673
80,0.03453870117664337,0.07850198447704315
90,0.024222299456596375,0.05368487164378166
100,0.013921253383159637,0.03092845156788826
110,0.006046775728464127,0.015119403600692749
120,0.014829881489276886,0.015119403600692749
130,0.014829881489276886,0.015119403600692749
140,0.014829881489276886,0.015119403600692749
150,0.014829881489276886,0.015119403600692749
160,0.014829881489276886,0.015119403600692749
170,0.014829881489276886,0.015119403600692749
179,0.019733110442757607,0.025293570011854172
"""


@pytest.fixture
def train(batches):
    """Fits an experiment; gives the network and the fit."""

    def run(experiment, on_progress=None):
        parts = batches(experiment)
        network = build_network(experiment.model, experiment.training.placement, "cpu", experiment.training.seed)
        return network, fit(network, experiment.training, parts.pop("train"), parts, on_progress)

    return run


@pytest.fixture(scope="session")
def by_hand():
    """The notebook's way of training, with stock parts, over given batches; gives losses by batch."""

    def run(network, optimizer, loss_of, batches_of_epochs, clip_norm=None):
        losses = []
        for batches in batches_of_epochs:
            losses.append([])
            for x, y in batches:
                network.train()
                loss = loss_of(network(x), y)
                optimizer.zero_grad()
                loss.backward()
                if clip_norm:
                    torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
                optimizer.step()
                losses[-1].append(loss.item())
        return losses

    return run


class TestGolden:
    def test_line_to_the_last_digit(self, preset, train):
        network, fitted = train(preset("line"))
        rows = [line.split(",") for line in LINE_LOSSES.split()]
        table = history_table(fitted.history).to_pydict()
        evaluated = [epoch for epoch, loss in enumerate(table["test_loss"]) if loss is not None]
        assert len(table["epoch"]) == fitted.epochs_run == 180
        assert evaluated == [int(epoch) for epoch, _, _ in rows]
        assert [table["train_loss"][epoch] for epoch in evaluated] == [float(loss) for _, loss, _ in rows]
        assert [table["test_loss"][epoch] for epoch in evaluated] == [float(loss) for _, _, loss in rows]
        assert {name: round(tensor.item(), 4) for name, tensor in network.state_dict().items()} == {
            "weights": 0.6791,
            "bias": 0.2933,
        }
        assert (fitted.stopped_early, fitted.best_epoch) == (False, None)

    def test_line_before_training(self, preset, batches):
        experiment = preset("line")
        x, y = batches(experiment)["test"]
        network = build_network(experiment.model, experiment.training.placement, "cpu", experiment.training.seed)
        residuals = (y - network(x)).flatten().tolist()
        assert [round(value, 4) for value in (min(residuals), max(residuals))] == [-0.9135, -0.8907]

    def test_line_cuda_overshoots(self, preset, train):
        _, fitted = train(preset("line-cuda"))
        test = fitted.history.held_out_loss["test"]
        assert fitted.history.train_loss[10] < fitted.history.train_loss[0]
        assert test[1] < test[19]
        assert test[19] == pytest.approx(33, abs=3)

    def test_line_layers(self, preset, train):
        network, _ = train(preset("line-layers"))
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        assert shapes == {"linear_layer.weight": [1, 1], "linear_layer.bias": [1]}

    def test_bytes_do_not_change_from_fit_to_fit(self, preset, train):
        experiment = preset("line", training={"batch_size": 7, "epochs": 5})
        assert dump_weights(train(experiment)[0]) == dump_weights(train(experiment)[0])


class TestUpdates:
    def test_batches_as_by_hand(self, preset, train, batches, by_hand):
        experiment = preset("line", training={"batch_size": 15, "epochs": 12, "shuffle": False, "optimizer": "adam"})
        network, fitted = train(experiment)
        x, y = batches(experiment)["train"]
        other = build_network(experiment.model, "constructor", "cpu", 88)
        cut = list(zip(x.split(15), y.split(15), strict=True))
        losses = by_hand(other, torch.optim.Adam(other.parameters(), lr=0.03), torch.nn.L1Loss(), [cut] * 12)
        assert dump_weights(network) == dump_weights(other)
        weighted = [(15 * a + 15 * b + 10 * c) / 40 for a, b, c in losses]
        assert list(fitted.history.train_loss) == pytest.approx(weighted, abs=1e-12)

    def test_shuffling_changes_the_path(self, preset, train):
        ordered, shuffled, other = (
            train(preset("line", training={"batch_size": 7, "epochs": 3} | settings))[1].history.train_loss
            for settings in ({"shuffle": False}, {"shuffle": True}, {"shuffle": True, "seed": 89})
        )
        assert ordered[1] != shuffled[1] != other[1]

    def test_a_full_batch_is_not_shuffled(self, preset, train):
        first, second = (
            train(preset("line", training={"shuffle": shuffle, "epochs": 3}))[1].history.train_loss
            for shuffle in (True, False)
        )
        assert first == second

    def test_gradients_are_clipped_as_by_hand(self, preset, train, batches, by_hand):
        experiment = preset("line-cuda", training={"clip_norm": 0.5, "epochs": 30, "seed": 88})
        network, _ = train(experiment)
        other = build_network(experiment.model, "constructor", "cpu", 88)
        optimizer = torch.optim.SGD(other.parameters(), lr=0.01)
        by_hand(other, optimizer, torch.nn.L1Loss(), [[batches(experiment)["train"]]] * 30, clip_norm=0.5)
        assert dump_weights(network) == dump_weights(other)

    def test_the_schedule_reaches_the_optimizer(self, preset, train):
        network, fitted = train(
            preset("line", training={"schedule": "step", "step_every": 5, "step_factor": 0.1, "epochs": 10})
        )
        longer, _ = train(preset("line", training={"learning_rate": 0.03, "epochs": 10}))
        assert list(fitted.history.learning_rate) == pytest.approx([0.03] * 5 + [0.003] * 5)
        assert dump_weights(network) != dump_weights(longer)

    @pytest.mark.parametrize("loss", ["l1", "mse", "huber", "bce"])
    def test_every_loss_falls(self, preset, train, loss):
        losses = train(preset("line", training={"loss": loss, "epochs": 50}))[1].history.train_loss
        assert losses[-1] < losses[0]

    def test_bce_refuses_other_targets_before_any_update(self, preset, train):
        with pytest.raises(ExperimentError, match=r"row \d+ of the train part is"):
            train(preset("line-cuda", data={"noise": 1e-9}, training={"loss": "bce"}))


class TestEvaluation:
    @pytest.mark.parametrize(
        ("epochs", "evaluated"), [(8, [0, 3, 6, 7]), (7, [0, 3, 6]), (6, [0, 3, 5]), (2, [0, 1]), (1, [0])]
    )
    def test_comes_at_the_interval_and_at_the_end(self, preset, train, epochs, evaluated):
        _, fitted = train(preset("line", training={"epochs": epochs, "evaluate_every": 3}))
        assert list(fitted.history.evaluated_epochs) == evaluated

    def test_the_last_one_is_of_the_final_weights(self, preset, train, batches):
        experiment = preset("line", training={"batch_size": 8, "epochs": 5})
        network, fitted = train(experiment)
        x, y = batches(experiment)["test"]
        assert fitted.history.held_out_loss["test"][-1] == torch.nn.L1Loss()(network(x), y).item()

    def test_in_pieces_is_the_same(self, preset, train, monkeypatch):
        whole = train(preset("line", training={"epochs": 3}))[1].history.held_out_loss["test"]
        monkeypatch.setattr(loop, "EVALUATED_ROWS", 3)
        pieces = train(preset("line", training={"epochs": 3}))[1].history.held_out_loss["test"]
        assert list(pieces) == pytest.approx(list(whole), rel=1e-6)

    def test_validation_comes_first(self, preset, train):
        _, fitted = train(preset("line", split={"train": 0.6, "validation": 0.2}, training={"epochs": 1}))
        assert list(fitted.history.held_out_loss) == ["validation", "test"]


class TestEarlyStopping:
    @pytest.fixture
    def overshooting(self, preset):
        return preset(
            "line-cuda", split={"train": 0.6, "validation": 0.2}, training={"patience": 3, "evaluate_every": 2}
        )

    def test_stops_and_restores_the_best_weights(self, train, overshooting):
        network, fitted = train(overshooting)
        losses = list(fitted.history.held_out_loss["validation"])
        best = losses.index(min(losses))
        assert fitted.stopped_early
        assert fitted.best_epoch == 2 * best
        assert len(losses) == best + 1 + 3
        assert fitted.epochs_run == 2 * (best + 3) + 1 == len(fitted.history.train_loss)
        again = Training(**overshooting.training.model_dump() | {"epochs": 2 * best + 1, "patience": None})
        until_best, _ = train(overshooting.model_copy(update={"training": again}))
        assert dump_weights(network) == dump_weights(until_best)

    def test_patience_that_lasts_keeps_the_best_weights_too(self, train, overshooting):
        patient = overshooting.training.model_copy(update={"patience": 1000})
        _, fitted = train(overshooting.model_copy(update={"training": patient}))
        losses = list(fitted.history.held_out_loss["validation"])
        assert (fitted.stopped_early, fitted.epochs_run) == (False, 200)
        assert fitted.best_epoch == fitted.history.evaluated_epochs[losses.index(min(losses))]

    def test_the_last_epoch_may_be_the_best(self, preset, train, batches):
        learning = {"patience": 1, "evaluate_every": 10, "epochs": 18}
        experiment = preset("line", split={"train": 0.6, "validation": 0.2}, training=learning)
        network, fitted = train(experiment)
        assert (fitted.best_epoch, fitted.stopped_early) == (17, False)
        x, y = batches(experiment)["validation"]
        assert torch.nn.L1Loss()(network(x), y).item() == min(fitted.history.held_out_loss["validation"])

    def test_patience_that_ends_with_the_last_epoch_stopped_nothing(self, preset, train):
        still = {"patience": 1, "evaluate_every": 10, "epochs": 5, "learning_rate": 1e-30}
        _, fitted = train(preset("line", split={"train": 0.6, "validation": 0.2}, training=still))
        assert (fitted.stopped_early, fitted.epochs_run, fitted.best_epoch) == (False, 5, 0)

    def test_equal_is_not_better(self, preset, train):
        still = {"patience": 2, "evaluate_every": 1, "learning_rate": 1e-30}
        _, fitted = train(preset("line", split={"train": 0.6, "validation": 0.2}, training=still))
        assert (fitted.stopped_early, fitted.epochs_run, fitted.best_epoch) == (True, 3, 0)


class TestDivergence:
    @pytest.mark.parametrize("settings", [{}, {"batch_size": 8, "learning_rate": 0.01}, {"momentum": 0.9}])
    def test_is_noticed_at_its_epoch(self, preset, train, settings):
        growing = {"loss": "mse", "learning_rate": 1e3, "evaluate_every": 1000}
        experiment = preset("line-cuda", training=growing | settings)
        with pytest.raises(DivergenceError, match=r"at epoch \d+: the training loss \((inf|nan)\)") as raised:
            train(experiment)
        assert "training.learning_rate" in str(raised.value)
        assert "training.clip_norm" in str(raised.value)
        shorter = experiment.training.model_copy(update={"epochs": raised.value.epoch - 1})
        assert train(experiment.model_copy(update={"training": shorter}))[1].epochs_run == raised.value.epoch - 1

    def test_of_a_held_out_loss(self, preset, train):
        far = {"end": 5e19, "step": 1e18, "weight": 1e-20}
        slow = {"loss": "mse", "learning_rate": 1e-30, "epochs": 2}
        experiment = preset(
            "line", data=far, split={"train": 0.1}, model={"initial_weight": 0.7, "initial_bias": 0.0}, training=slow
        )
        with pytest.raises(DivergenceError, match=r"at epoch 0: the test loss \(inf\)"):
            train(experiment)

    def test_of_the_last_update(self, preset, train):
        """The training loss is taken before it: only the evaluation tells."""
        growing = {"learning_rate": 5e33, "weight_decay": 1e3, "epochs": 2}
        with pytest.raises(DivergenceError, match=r"at epoch 1: the test loss \((inf|nan)\)"):
            train(preset("line", training=growing))

    def test_of_parameters_that_no_loss_has_seen(self):
        network = torch.nn.Linear(1, 1)
        network.bias.data.fill_(math.nan)
        with pytest.raises(DivergenceError, match="at epoch 7: the parameter bias is not finite"):
            loop._require_finite_parameters(network, 7)


class TestProgress:
    def test_shows_the_end(self, preset, train):
        calls = []
        _, fitted = train(preset("line"), lambda *call: calls.append(call))
        assert calls[-1] == (180, 180, fitted.history.train_loss[-1])

    def test_shows_every_epoch_if_time_allows(self, preset, train, monkeypatch):
        monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 0)
        calls = []
        _, fitted = train(preset("line", training={"epochs": 4}), lambda *call: calls.append(call))
        assert [call[0] for call in calls] == [1, 2, 3, 4, 4]
        assert [call[2] for call in calls[:4]] == list(fitted.history.train_loss)

    def test_is_sparse(self, preset, train, monkeypatch):
        monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 3600)
        calls = []
        train(preset("line"), lambda *call: calls.append(call))
        assert len(calls) == 1

    def test_shows_an_early_end(self, preset, train):
        still = {"patience": 2, "evaluate_every": 1, "learning_rate": 1e-30}
        calls = []
        train(preset("line", split={"train": 0.6, "validation": 0.2}, training=still), lambda *call: calls.append(call))
        assert calls[-1][:2] == (3, 180)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_comes_to_the_same_line(preset, batches):
    experiment = preset("line")
    parts = {part: tuple(tensor.cuda() for tensor in batch) for part, batch in batches(experiment).items()}
    model = experiment.model.model_copy(update={"initial_weight": 0.1, "initial_bias": 0.9})
    network = build_network(model, "constructor", "cuda:0", 88)
    fit(network, experiment.training, parts.pop("train"), parts)
    assert [value.item() for value in network.parameters()] == pytest.approx([0.7, 0.3], abs=0.05)

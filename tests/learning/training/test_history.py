import pyarrow as pa

from tasks.learning.training.history import FitHistory, history_table


def test_losses_stand_at_their_epochs():
    history = FitHistory(("validation", "test"))
    for epoch in range(5):
        history.record(1.0 - epoch / 10, 0.5)
        if epoch % 2 == 0:
            history.record_evaluation({"validation": epoch + 0.25, "test": epoch + 0.5})
    table = history_table(history)
    assert table.to_pydict() == {
        "epoch": [0, 1, 2, 3, 4],
        "train_loss": [1.0, 0.9, 0.8, 0.7, 0.6],
        "validation_loss": [0.25, None, 2.25, None, 4.25],
        "test_loss": [0.5, None, 2.5, None, 4.5],
        "learning_rate": [0.5] * 5,
    }
    assert table.schema.types == [pa.int64()] + [pa.float64()] * 4


def test_no_validation_part_no_column():
    history = FitHistory(("test",))
    history.record(1.0, 0.1)
    history.record_evaluation({"test": 2.0})
    assert history_table(history).column_names == ["epoch", "train_loss", "test_loss", "learning_rate"]

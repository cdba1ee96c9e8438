"""The history of an experiment: on runs made up here, at the command line, and in the Prefect UI."""

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from rich.console import Console

from flows.cli.terminal import console
from flows.errors import InputError
from flows.runs.folders import RunFolder
from flows.runs.history import RunHistory, describe_flag, read_history, read_row
from flows.ui.history_page import history_page
from tasks.caching.gc.garbage import Keep, find_garbage
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.key import digest_of
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError, StageEntry
from tasks.caching.stage import StageReport
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import Store
from tasks.learning.evaluation.drift import Band
from tests.caching.conftest import ENVIRONMENT, put_record

Command = Callable[..., tuple[int, str, str]]

#: The artifacts of the stages that shape the metrics.
MADE = {"generate": ("dataset",), "split": ("train", "test"), "train": ("weights",), "evaluate": ("predictions",)}

#: Mean absolute errors of nights on which nothing happens.
CALM = (0.0250, 0.0253, 0.0252, 0.0249, 0.0251, 0.0254)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def save_night(
    store: Store,
    night: int,
    mae: float | None = 0.025,
    experiment: str = "nightly",
    settings: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    data: bytes = b"rows",
    code: dict[str, str] | None = None,
    name: str = "",
) -> Path:
    """A run as the stage `save` leaves it, made at two in a night of a November; with records if it has code."""
    outputs = {
        stage: {made: Reference.of_content(f"data/{stage}/{made}-{sha256(data)}.parquet", data) for made in names}
        for stage, names in MADE.items()
    }
    ingredients = {stage: {"stage": stage, "data": data.hex(), **(code or {})} for stage in MADE}
    if code:
        for stage in MADE:
            put_record(store, stage, ingredients[stage], outputs[stage], experiment)
    run = name or f"{experiment}-202611{night:02d}-020000"
    errors = {"loss": mae, "mae": mae, "rmse": mae, "r2": 0.99, "largest_error": mae}
    manifest = Manifest(
        run=run,
        created=f"2026-11-{night:02d}T02:00:00+00:00",
        checkpoint="line.pth",
        experiment={"name": experiment, "data": {"seed": 0}, "training": {"learning_rate": 0.03}} | (settings or {}),
        seed=42,
        environment=ENVIRONMENT.model_copy(update=environment or {}),
        stages=[
            StageEntry.of(StageReport(stage, digest_of(ingredients[stage]), "run", (), 1.0, outputs[stage]))
            for stage in MADE
        ],
        files={},
    )
    metrics = json.dumps({"train": errors, "test": {"rows": 10, **errors}}).encode()
    store.publish_run(run, {MANIFEST: manifest.model_dump_json().encode(), "metrics.json": metrics})
    return store.runs / run


@pytest.fixture
def calm(store: Store) -> Store:
    """A store with six calm nights."""
    for night, mae in enumerate(CALM, 1):
        save_night(store, night, mae)
    return store


# ---- rows


def test_runs_stand_in_the_order_in_which_they_were_made(store: Store) -> None:
    for name in (
        "-20261102-020000-10",
        "-20261102-020000-2",
        "-20261102-020000",
        "-20261101-235959",
        "-20270101-000000",
    ):
        save_night(store, 1, name=f"nightly{name}")
    rows = read_history("nightly", store).rows
    assert [row.run.removeprefix("nightly-2026") for row in rows[:4]] == [
        "1101-235959",
        "1102-020000",
        "1102-020000-2",
        "1102-020000-10",
    ]
    assert rows[4].run == "nightly-20270101-000000"


def test_runs_of_other_experiments_pointers_and_strays_do_not_count(calm: Store) -> None:
    save_night(calm, 7, 9.0, experiment="nightly-2")
    save_night(calm, 8, 9.0, experiment="night")
    for link in ("nightly-latest", "nightly-20261109-020000"):
        (calm.runs / link).symlink_to("nightly-20261106-020000")
    for stray in ("nightly-20261106-020000.old", "nightly-20261106", "20261106-020000"):
        shutil.copytree(calm.runs / "nightly-20261106-020000", calm.runs / stray)
    found = read_history("nightly", calm)
    assert (len(found.rows), found.damaged) == (6, {})


def test_a_row_shows_what_a_run_was_and_made(calm: Store) -> None:
    (calm.runs / "nightly-20261106-020000" / "verification.json").write_text('{"passed": true}')
    *_, before, row = read_history("nightly", calm).rows
    assert (row.run, row.when, row.device) == ("nightly-20261106-020000", "2026-11-06 02:00", "cpu")
    assert (row.verified, before.verified) == (True, None)
    assert row.metrics["mae"] == CALM[-1]
    assert set(row.digests) == {"dataset", "weights", "predictions"}


def test_a_run_is_judged_by_those_before_it(calm: Store) -> None:
    save_night(calm, 7, 0.0312)
    *before, newest = read_history("nightly", calm).rows
    assert not any(row.outside for row in before)
    assert [row.bands["mae"] is None for row in before] == [True] * 5 + [False]
    assert newest.outside == ("loss", "mae", "rmse", "largest_error")
    assert "mae 0.0312 is outside 0.0244 … 0.0259" in newest.flags


def test_fewer_runs_are_reported_but_judged_by_all(calm: Store) -> None:
    save_night(calm, 7, 0.0312)
    whole, last = read_history("nightly", calm), read_history("nightly", calm, last=2)
    assert last.rows == whole.rows[-2:]


@pytest.mark.parametrize(
    ("value", "band", "reported"),
    [
        (0.0312, (0.0249, 0.0257), "mae 0.0312 is outside 0.0249 … 0.0257"),
        (0.025701, (0.0249, 0.0257), "mae 0.025701 is outside 0.0249 … 0.0257"),
        (0.3, (0.1998, 0.2002), "mae 0.3 is outside 0.1998 … 0.2002"),
        (0.1, (0.0, 0.0), "mae 0.1 is outside 0 … 0"),
        (None, (0.0249, 0.0257), "mae has no value; it was in 0.0249 … 0.0257"),
    ],
    ids=["far", "just", "narrow", "zero", "missing"],
)
def test_a_flag_has_the_digits_that_show_it(value: float | None, band: tuple[float, float], reported: str) -> None:
    assert describe_flag("mae", value, Band(*band)) == reported


@pytest.mark.parametrize(
    ("nights", "last", "reported"),
    [
        ([], 0.0, "There is no run that can be read"),
        (CALM[:4], 0.025, "There is no band yet: it takes 5 runs before"),
        (CALM, 0.025, "The newest run is within the band of the runs before"),
        (CALM, 0.5, "The newest run drifts: loss, MAE, RMSE, largest error"),
    ],
    ids=["none", "few", "within", "drift"],
)
def test_the_verdict_is_on_the_newest_run(store: Store, nights: list[float], last: float, reported: str) -> None:
    for night, mae in enumerate(nights, 1):
        save_night(store, night, mae)
    newest = save_night(store, 28, last)
    if not nights:
        (newest / "metrics.json").unlink()
    assert read_history("nightly", store).verdict == reported


# ---- what changed


CHANGES = {
    "nothing": ({}, ()),
    "a setting": ({"settings": {"training": {"learning_rate": 0.1}}}, ("training.learning_rate 0.03 → 0.1",)),
    "a library": ({"environment": {"versions": {"torch": "2.13.0"}}}, ("torch absent → 2.13.0",)),
    "Python": ({"environment": {"python": "3.12.1"}}, ("python 3.11.7 → 3.12.1",)),
    "the data": ({"data": b"other rows"}, ("input data changed",)),
    "the data, by a setting": ({"data": b"other", "settings": {"data": {"seed": 1}}}, ("data.seed 0 → 1",)),
    "the code": ({"code": {"code loop.py: fit": "b"}}, ("loop.py: fit changed",)),
    "code and data": (
        {"code": {"code loop.py: fit": "b"}, "data": b"other rows"},
        ("loop.py: fit changed", "input data changed"),
    ),
}


@pytest.mark.parametrize(("new", "reported"), CHANGES.values(), ids=CHANGES)
def test_a_row_shows_what_changed(store: Store, new: dict[str, Any], reported: tuple[str, ...]) -> None:
    old: dict[str, Any] = {"code": {"code loop.py: fit": "a"}}
    save_night(store, 1, **old)
    save_night(store, 2, **old | new)
    first, second = read_history("nightly", store).rows
    assert (first.changed, first.changes) == (None, "first run")
    assert second.changed == reported
    assert second.changes == ("; ".join(reported) or "nothing")


@pytest.mark.parametrize("gone", ["removed", "damaged"])
def test_where_records_are_gone_only_the_code_can_have_changed(store: Store, gone: str) -> None:
    for night, digest in enumerate("ab", 1):
        save_night(store, night, code={"code loop.py: fit": digest})
    for path in store.records.glob("train/*.json"):
        path.unlink() if gone == "removed" else path.write_text("{")
    assert read_history("nightly", store).rows[-1].changed == ("code changed",)


@pytest.mark.parametrize(("commit", "reported"), [("a" * 40, ()), ("a" * 40 + "+changes", ("loop.py: fit changed",))])
def test_records_are_not_asked_where_git_vouches_for_the_code(
    store: Store, commit: str, reported: tuple[str, ...]
) -> None:
    for night, digest in enumerate("ab", 1):
        save_night(store, night, code={"code loop.py: fit": digest}, environment={"git_commit": commit})
    assert read_history("nightly", store).rows[-1].changed == reported


# ---- damage


def rewrite(change: Callable[[dict[str, Any]], Any], file: str) -> Callable[[Path], None]:
    """Changes a JSON file of a run."""

    def damage(run: Path) -> None:
        content = json.loads((run / file).read_bytes())
        change(content)
        (run / file).write_text(json.dumps(content))

    return damage


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no metrics": lambda run: (run / "metrics.json").unlink(),
    "garbage for metrics": lambda run: (run / "metrics.json").write_bytes(b"\xff{"),
    "metrics nested without end": lambda run: (run / "metrics.json").write_text("[" * 100_000),
    "a list of metrics": lambda run: (run / "metrics.json").write_text("[1, 2]"),
    "no test metrics": rewrite(lambda metrics: metrics.pop("test"), "metrics.json"),
    "words for metrics": rewrite(lambda metrics: metrics["test"].update(mae="low"), "metrics.json"),
    "garbage for a manifest": lambda run: (run / MANIFEST).write_text("{"),
    "another's manifest": rewrite(lambda manifest: manifest.update(run="nightly-20261101-020000"), MANIFEST),
    "a stage is missing": rewrite(lambda manifest: manifest["stages"].pop(2), MANIFEST),
    "an artifact is missing": rewrite(lambda manifest: manifest["stages"][0]["outputs"].clear(), MANIFEST),
}


def test_a_run_from_before_a_stage_was_added_is_whole(calm: Store) -> None:
    rewrite(lambda manifest: manifest["stages"].pop(1), MANIFEST)(save_night(calm, 7))
    found = read_history("nightly", calm)
    assert (len(found.rows), found.damaged) == (7, {})
    assert found.rows[-1].changed == ("code changed",)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_left_out(calm: Store, damage: Callable[[Path], Any]) -> None:
    damage(save_night(calm, 7, 0.5))
    found = read_history("nightly", calm)
    assert len(found.rows) == 6
    assert not found.drifts
    assert list(found.damaged) == ["nightly-20261107-020000"]
    assert "nightly-20261107-020000" in found.damaged["nightly-20261107-020000"]


def test_a_damaged_run_is_reported_and_no_error(calm: Store, command: Command) -> None:
    (save_night(calm, 7, 0.5) / "metrics.json").unlink()
    code, out, error = command("history", "nightly", "--json", "--fail-on-drift")
    found = json.loads(out)
    assert (code, len(found["runs"])) == (0, 6)
    assert error.splitlines() == list(found["damaged"].values())
    assert "run nightly-20261107-020000 is damaged: " in error


@pytest.mark.parametrize("value", ["1e305", "null"])
def test_a_metric_that_is_no_number_counts_as_missing(calm: Store, value: str) -> None:
    metrics = save_night(calm, 7) / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.99", value))
    newest = read_history("nightly", calm).rows[-1]
    assert newest.metrics["r2"] is None
    assert newest.flags == ("r2 has no value; it was in 0.989 … 0.991",)


def test_a_missing_metric_is_null_for_programs(calm: Store, command: Command) -> None:
    metrics = save_night(calm, 7) / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.99", "null"))
    code, out, error = command("history", "nightly", "--json", "--fail-on-drift")
    assert (code, error) == (1, "")
    assert json.loads(out)["runs"][-1]["metrics"]["r2"] is None


def test_a_project_with_damaged_runs_only_has_nothing_to_draw(store: Store, command: Command) -> None:
    (save_night(store, 1) / "metrics.json").unlink()
    code, out, error = command("history", "nightly")
    assert code == 0
    assert "There is no run that can be read." in out
    assert "nightly-20261101-020000 is damaged" in error
    assert not (store.artifacts / "history").exists()


# ---- the command


def test_people_see_two_tables_and_the_flags_in_words(
    calm: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(calm.root)
    save_night(calm, 7, 0.0312, settings={"training": {"learning_rate": 0.1}})
    code, out, error = command("history", "nightly")
    assert (code, error) == (0, "")
    rows = [line.split() for line in out.splitlines() if line.startswith("nightly-20261107-020000")]
    numbers = ["0.0312"] * 3 + ["0.99", "0.0312"]
    digest = Reference.of_content("x", b"rows").digest[:12]
    change = ["training.learning_rate", "0.03", "→", "0.1"]
    assert rows[0] == ["nightly-20261107-020000", *numbers, "not", "yet", *change]
    assert rows[1] == ["nightly-20261107-020000", "2026-11-07", "02:00", "cpu", digest, digest, digest]
    assert " ".join(rows[2][1:]).startswith("loss 0.0312 is outside 0.0244 … 0.0259; mae 0.0312 is outside")
    assert "\nThe newest run drifts: loss, MAE, RMSE, largest error.\n" in out
    assert "\nplot        artifacts/history/nightly.png\n" in out


def test_the_tables_fit_a_terminal(calm: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output, width=120, highlight=False))
    console.print_history(read_history("nightly", calm), [], None)
    assert sum(line.startswith("nightly-2026") for line in output.getvalue().splitlines()) == 12
    assert not any(line.startswith(" ") for line in output.getvalue().splitlines())


def test_programs_get_whole_numbers_digests_and_bands(calm: Store, command: Command) -> None:
    save_night(calm, 7, 0.0312)
    found = json.loads(command("history", "nightly", "--json", "--last", "3")[1])
    assert (found["experiment"], found["drifts"], found["damaged"], len(found["runs"])) == ("nightly", True, {}, 3)
    row = found["runs"][-1]
    assert row["created"] == "2026-11-07T02:00:00+00:00"
    assert row["bands"]["mae"]["low"] == pytest.approx(0.0244, abs=1e-4)
    assert len(row["digests"]["weights"]) == 64
    assert row["outside"] == ["loss", "mae", "rmse", "largest_error"]
    assert len(row["flags"]) == 4
    assert [Path(path).name for path in found["plots"]] == ["nightly.png", "nightly.svg"]


@pytest.mark.parametrize(
    ("maes", "words", "expected"),
    [
        ((0.025,), ["--fail-on-drift"], 0),
        ((0.5,), [], 0),
        ((0.5,), ["--fail-on-drift"], 1),
        ((0.5,), ["--fail-on-drift", "--json"], 1),
        ((0.5, 0.025), ["--fail-on-drift"], 0),
    ],
    ids=["calm", "drift, only reported", "drift", "drift, as JSON", "drift, and over"],
)
def test_drift_of_the_newest_run_fails_only_if_asked_to(
    calm: Store, command: Command, maes: tuple[float, ...], words: list[str], expected: int
) -> None:
    for night, mae in enumerate(maes, 7):
        save_night(calm, night, mae)
    code, out, error = command("history", "nightly", *words)
    assert (code, error) == (expected, "")
    assert ("outside" in out) == (maes[0] == 0.5)


@pytest.mark.parametrize(
    "wanted",
    ["nope", "", ".", "..", "../runs/nightly", "nightly/", "night*", "NIGHTLY", "nightly-latest", "n" * 300, "[b]"],
)
def test_an_experiment_without_runs_is_refused_with_those_that_have_some(
    calm: Store, command: Command, wanted: str
) -> None:
    save_night(calm, 1, experiment="line")
    before = sorted(calm.root.rglob("*"))
    code, out, error = command("history", wanted)
    assert (code, out) == (2, "")
    assert error == f"error: there is no run of an experiment {wanted!r}: there are runs of line, nightly\n"
    assert sorted(calm.root.rglob("*")) == before


def test_a_new_project_is_shown_the_first_step(store: Store, command: Command) -> None:
    code, _, error = command("history", "line")
    assert code == 2
    assert error == "error: there is no run of an experiment 'line': `workflow train` makes one\n"
    assert not store.root.exists()


# ---- the plot


def test_the_plot_lies_in_the_store_in_both_formats(calm: Store, command: Command) -> None:
    folder = calm.artifacts / "history"
    folder.mkdir(parents=True)
    (folder / "nightly.png").write_bytes(b"an old one")
    command("history", "nightly")
    assert (folder / "nightly.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(folder / "nightly.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert sorted(path.name for path in folder.iterdir()) == ["nightly.png", "nightly.svg"]


def test_a_plot_is_replaced_whole_or_not_at_all(calm: Store, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("history", "nightly")
    before = (calm.artifacts / "history" / "nightly.png").read_bytes()
    save_night(calm, 7)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    code, _, error = command("history", "nightly")
    assert code == 1
    assert "No space left on device; free some space" in error
    assert (calm.artifacts / "history" / "nightly.png").read_bytes() == before
    assert len(list((calm.artifacts / "history").iterdir())) == 2


@pytest.mark.parametrize(("name", "beginning"), [("x.png", b"\x89PNG"), ("x.y.svg", b"<?xml"), ("new/x.svg", b"<?xml")])
def test_the_plot_goes_where_it_is_wanted(
    calm: Store, command: Command, tmp_path: Path, name: str, beginning: bytes
) -> None:
    path = tmp_path / name
    code, out, _ = command("history", "nightly", "--plot", str(path))
    assert code == 0
    assert path.read_bytes().startswith(beginning)
    assert f"plot        {path}\n" in out
    assert not (calm.artifacts / "history").exists()


@pytest.mark.parametrize("name", ["x", "x.jpg", "x.PNG.gz", "folder.png", "x" * 300])
def test_a_plot_that_cannot_be_is_refused(calm: Store, command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    code, out, error = command("history", "nightly", "--plot", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert "is not the path of a .png or .svg file" in error
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_plots_are_no_finding_of_a_check_and_no_garbage(trained: Store, command: Command) -> None:
    command("history", "line")
    then = time.time() - 100 * 24 * 3600
    for path in (trained.artifacts / "history").iterdir():
        os.utime(path, (then, then))
    assert inspect_store(trained).findings == []
    found = find_garbage(trained, Keep())
    assert not [path for paths in found.by_kind.values() for path in paths if "history" in path.split("/")]


# ---- names and texts of others

HOSTILE = "[red]x[/] <img src=x onerror=alert(1)> | `y` $x^2$ [z](javascript:0)"


@pytest.fixture
def hostile(calm: Store) -> RunHistory:
    """A history with texts in it that mean something to a terminal, to Markdown and to HTML."""
    environment = {"device": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    save_night(calm, 7, 0.5, settings={HOSTILE: HOSTILE}, environment=environment)
    return read_history("nightly", calm)


def test_hostile_texts_are_printed_as_they_are(hostile: RunHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output, width=2000, highlight=False))
    console.print_history(hostile, [Path("[bold]x.png")], None)
    assert f"{HOSTILE} absent → {HOSTILE}; {HOSTILE} absent → {HOSTILE}" in output.getvalue()
    assert f"  2026-11-07 02:00  {HOSTILE}  " in output.getvalue()  # when, and the device
    assert "[bold]x.png" in output.getvalue()


def test_hostile_texts_are_inert_on_the_page(hostile: RunHistory) -> None:
    page = history_page(hostile, None)
    assert "<img" not in page
    assert "](javascript" not in page
    columns = [line.count(" | ") for line in page.splitlines() if line.startswith("| nightly")]
    assert columns == [7] * 7 + [5] * 7


def test_a_run_that_was_made_at_no_moment_is_damaged(calm: Store) -> None:
    run = save_night(calm, 7, 0.5)
    for created in (HOSTILE, "2026-11-07", "2026-11-07T02:00:00", "2026-11-07T02:00:00+01:00", "9999"):
        rewrite(lambda manifest, created=created: manifest.update(created=created), MANIFEST)(run)
        with pytest.raises(ManifestError, match=r"is damaged \(created: "):
            Manifest.read(run)


# ---- the page


def test_the_page_has_the_newest_run_first_the_verdict_and_the_plot(calm: Store) -> None:
    save_night(calm, 7, 0.0312)
    page = history_page(read_history("nightly", calm), b"picture")
    title, verdict, flags, plot, *_ = page.split("\n\n")
    assert title == "# Runs of nightly"
    assert verdict == "**The newest run drifts: loss, MAE, RMSE, largest error.**"
    assert flags.startswith("- nightly-20261107-020000: loss 0.0312 is outside 0.0244 … 0.0259; mae 0.0312 is outside")
    assert plot.endswith("](data:image/png;base64,cGljdHVyZQ==)")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| nightly")]
    assert [row[0].removeprefix("| nightly-202611") for row in rows[:7]] == [
        f"{day:02d}-020000" for day in range(7, 0, -1)
    ]
    assert rows[0][1:] == ["0.0312", "0.0312", "0.0312", "0.99", "0.0312", "not yet", "nothing |"]
    assert rows[7][1:3] == ["2026-11-07 02:00", "cpu"]


def test_the_page_names_what_it_leaves_out(calm: Store) -> None:
    (save_night(calm, 7) / "metrics.json").unlink()
    assert "Left out, as damaged: nightly-20261107-020000." in history_page(read_history("nightly", calm), None)


@pytest.fixture
def newest_page(api: Any) -> Callable[[str], Any]:
    """The newest page under a key, as the server knows it."""
    from prefect.client.schemas.filters import ArtifactCollectionFilter

    def find(key: str) -> Any:
        chosen = ArtifactCollectionFilter.model_validate({"key": {"any_": [key]}})
        (page,) = api.client.read_latest_artifacts(artifact_filter=chosen)
        return page

    return find


def test_the_command_puts_the_page_into_the_ui(
    calm: Store, command: Command, api_url: str, newest_page: Callable[[str], Any]
) -> None:
    save_night(calm, 7, 0.0312)
    found = json.loads(command("history", "nightly", "--json")[1])
    page = newest_page("nightly-history")
    assert found["ui"] == f"{api_url.removesuffix('/api')}/artifacts/artifact/{page.latest_id}"
    assert page.description == "The newest run drifts: loss, MAE, RMSE, largest error"
    assert page.data.startswith("# Runs of nightly\n")
    assert "](data:image/png;base64,iVBORw0KGgo" in page.data
    assert "mae 0.0312 is outside" in page.data
    assert page.flow_run_id is None


def test_no_server_is_started_for_it(calm: Store, workflow: Any) -> None:
    done = workflow("history", "nightly", "--json", home=calm.root, PREFECT_API_URL="", WORKFLOW_SERVER_PORT="4790")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ui"] is None
    assert not (calm.root / ".prefect").exists()


def test_a_server_that_does_not_answer_is_reported(
    calm: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, out, error = command("history", "nightly", "--json")
    assert (code, json.loads(out)["ui"]) == (0, None)
    assert error == (
        "The Prefect server at http://127.0.0.1:9/api, set in the environment variable PREFECT_API_URL, "
        "is not answering.\n"
    )


def test_a_server_that_does_not_take_the_page_is_reported(
    calm: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> str:
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr("flows.ui.history_page.create_page", refuse)
    code, out, error = command("history", "nightly", "--json")
    assert (code, json.loads(out)["ui"]) == (0, None)
    assert error.startswith("Prefect's server stopped answering (connection refused)")


# ---- the train flow


def test_a_new_run_shows_the_history_and_a_warning_if_it_drifts(
    store: Store, train: Callable[..., Any], api: Any
) -> None:
    for night, mae in enumerate(CALM, 1):
        save_night(store, night, mae / 10, experiment="line")
    outcome = train("line")
    page = api.artifacts(outcome.flow_run_id)["line-history"]
    assert "data:image" not in page, "the plot would cost more than all other pages"
    assert page.index(outcome.run) < page.index("line-20261106-020000")
    log = api.log(outcome.flow_run_id, "the run drifts: ")
    assert sum("mae 0.0253 is outside 0.00244 … 0.00259" in message for message in log) == 1


def test_a_run_that_is_reused_adds_nothing_to_the_history(trained: Store, train: Callable[..., Any], api: Any) -> None:
    assert "line-history" not in api.artifacts(train("line").flow_run_id)


def test_damaged_runs_beside_a_new_one_do_not_hinder_it(store: Store, train: Callable[..., Any], api: Any) -> None:
    (save_night(store, 1, experiment="line") / "metrics.json").write_text("{")
    outcome = train("line")
    assert "Left out, as damaged: line-20261101-020000." in api.artifacts(outcome.flow_run_id)["line-history"]


# ---- what a run must reach


def accepting(**accept: Any) -> dict[str, Any]:
    return {"accept": accept}


@pytest.mark.parametrize(
    ("settings", "accepted", "reported"),
    [
        ({}, None, None),
        (accepting(min_r2=0.9), True, ()),
        (accepting(max_mae=0.0312), True, ()),
        (accepting(max_mae=0.03), False, ("mae 0.0312 is above accept.max_mae 0.03",)),
        (accepting(min_r2=0.9, allow_drift=False), False, None),
    ],
)
def test_a_run_is_accepted_if_it_reaches_what_its_experiment_demands(
    calm: Store, settings: dict[str, Any], accepted: bool | None, reported: tuple[str, ...] | None
) -> None:
    row = read_row(RunFolder(folder := save_night(calm, 7, 0.0312, settings=settings), Manifest.read(folder)), calm)
    assert row.accepted is accepted
    assert row == read_history("nightly", calm).rows[-1]
    if reported is not None:
        assert row.rejections == reported
    elif accepted is False:
        assert row.rejections == row.flags
        assert any(flag.startswith("mae 0.0312 is outside ") for flag in row.flags)


def test_a_demand_that_is_none_is_damage(calm: Store) -> None:
    folder = save_night(calm, 7, settings=accepting(r2="high"))
    with pytest.raises(InputError, match="r2: unknown field"):
        read_row(RunFolder(folder, Manifest.read(folder)), calm)
    assert "nightly-20261107-020000" in read_history("nightly", calm).damaged

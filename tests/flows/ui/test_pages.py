import base64
import html
import re
from pathlib import Path

import pytest

from flows.ui.pages import (
    PLOTS,
    artifact_key,
    cell,
    markdown_table,
    metrics_rows,
    metrics_summary,
    plan_page,
    plan_summary,
    plots_page,
    report_page,
    run_status,
)
from flows.ui.pages import verification_page as page_of
from tasks.caching.decision import Decision


@pytest.mark.parametrize("experiment", ["line", "Line_2.b", "a--b", "Ω.x"])
def test_a_key_has_the_form_that_prefect_allows(experiment: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", artifact_key(experiment, "plan"))


@pytest.mark.parametrize(
    "text",
    [
        "a|b",
        "<img src=x onerror=alert(1)>",
        "&lt;script&gt;",
        "`x`",
        "[a](javascript:alert(1))",
        "![a](b)",
        "a\n\n# b",
        "*a* __b__ ~~c~~",
        "# a",
        "$x^2$ \\frac{1}{2}",
        "{{ 7*7 }} {% raw %} ${x} %(x)s {x}",
        "\\",
    ],
)
def test_a_text_is_shown_as_it_is_and_stays_in_its_cell(text: str) -> None:
    shown = cell(text)
    assert "\n" not in shown
    assert "<" not in shown
    # Whoever reads it as Markdown, and then as HTML, sees the very text: every sign that means something is escaped.
    assert not re.search(r"[|`*_\[\]!#~$\\]", re.sub(r"\\[\\|`*_{}\[\]()#+!~$]", "", shown))
    assert html.unescape(re.sub(r"\\([\\|`*_{}\[\]()#+!~$])", r"\1", shown)) == " ".join(text.split())


def test_a_table_has_a_line_a_row() -> None:
    assert markdown_table(("a", "b"), [("1", "2|3")]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2\\|3 |"]


def test_the_plan_says_what_becomes_of_each_stage_and_why() -> None:
    decisions = [Decision("train", "will run", ("epochs 1 → 2", "loop changed")), Decision("plot", "depends", ())]
    page = plan_page("line", decisions)
    assert page.startswith("# Plan for line\n\n")
    assert "| train | will run | epochs 1 → 2; loop changed |" in page
    assert "| plot | depends |  |" in page


def test_the_metrics_have_a_column_for_each_part() -> None:
    metrics = {"train": {"rows": 4000, "mae": 0.25}, "test": {"rows": 10, "mae": None, "loss": 0.5}}
    assert metrics_rows(metrics) == [
        {"metric": "rows", "train": "4,000", "test": "10"},
        {"metric": "mae", "train": "0.25", "test": "–"},
        {"metric": "loss", "train": "–", "test": "0.5"},
    ]
    assert metrics_summary("run", metrics) == "run, test rows: loss 0.5, mae –, r2 –"


def test_the_plan_is_summed_up_in_a_line() -> None:
    decisions = [Decision(str(number), "reused", ()) for number in range(2)]
    assert plan_summary([*decisions, Decision("save", "will run", ("forced",))]) == "2 reused, 1 will run"


@pytest.mark.parametrize(
    ("url", "shown"), [("http://127.0.0.1:1/r", "(http://127.0.0.1:1/r)"), (None, "workflow serve")]
)
def test_the_report_is_linked_if_it_is_served(tmp_path: Path, url: str | None, shown: str) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a_b.png").touch()
    page = report_page(tmp_path, "0a1b", url, "trained now")
    assert "\ntrained now\n" in page
    assert shown in page
    assert "- plots/a\\_b.png" in page
    assert "run.json has SHA-256 `0a1b`, which `workflow verify --expect` takes." in page


def test_the_plots_are_carried_inside_the_page(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name in PLOTS:
        (tmp_path / "plots" / f"{name}.png").write_bytes(name.encode())
    images = re.findall(r"\(data:image/png;base64,([^)]+)\)", plots_page("run", tmp_path))
    assert [base64.b64decode(image).decode() for image in images] == list(PLOTS)


@pytest.mark.parametrize(("passed", "word", "title"), [(True, "passed", "is verified"), (False, "FAILED", "is NOT")])
def test_the_verification_shows_each_check(passed: bool, word: str, title: str) -> None:
    page = page_of("run", {"passed": passed, "checks": [{"name": "modes", "passed": passed, "detail": "agree"}]})
    assert title in page
    assert f"| modes | {word} | agree |" in page


@pytest.mark.parametrize(
    ("trained", "rejections", "status"),
    [
        (True, None, "trained now"),
        (False, None, "nothing to train, as on 2026-11-23 02:00 UTC"),
        (True, (), "trained now; accepted"),
        (True, ("r2 0.1 is below accept.min_r2 0.9",), "trained now; not accepted: r2 0.1 is below accept.min_r2 0.9"),
    ],
)
def test_a_run_that_is_trained_is_distinguished_from_one_that_is_found(
    trained: bool, rejections: tuple[str, ...] | None, status: str
) -> None:
    assert run_status("2026-11-23T02:00:07+00:00", trained=trained, rejections=rejections) == status

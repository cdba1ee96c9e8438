import base64
import html
import re
from pathlib import Path

import pytest

from flows.pages import PLOTS, artifact_key, cell, markdown_table, metrics_page, plan_page, plots_page
from flows.pages import verification_page as page_of
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
    page = metrics_page("run", {"train": {"rows": 4000, "mae": 0.25}, "test": {"rows": 10, "mae": None}})
    assert "| metric | train | test |" in page
    assert "| rows | 4,000 | 10 |" in page
    assert "| mae | 0.25 | – |" in page


def test_the_plots_are_carried_inside_the_page(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name in PLOTS:
        (tmp_path / "plots" / f"{name}.png").write_bytes(name.encode())
    images = re.findall(r"\(data:image/png;base64,([^)]+)\)", plots_page("run", tmp_path))
    assert [base64.b64decode(image).decode() for image in images] == list(PLOTS)


@pytest.mark.parametrize(("passed", "word", "title"), [(True, "passed", "is verified"), (False, "FAILED", "is NOT")])
def test_the_verification_tells_each_check(passed: bool, word: str, title: str) -> None:
    page = page_of("run", {"passed": passed, "checks": [{"name": "modes", "passed": passed, "detail": "agree"}]})
    assert title in page
    assert f"| modes | {word} | agree |" in page

"""The report: everything is in it, it stands alone, and no text can break out of it."""

import tomllib
from base64 import b64decode
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

import pytest

from tasks.learning.config.experiment import Experiment
from tasks.learning.models.learned import Learned
from tasks.learning.reporting.report import _size, marks
from tasks.learning.reporting.report import render_report as render

VOID = {"meta", "img", "br", "link", "input"}
DIGEST = "0123456789abcdef" * 4
PLOTS = {
    name: f"<svg><title>{name}</title></svg>".encode()
    for name in ("data", "untrained", "trained", "loss", "residuals", "predicted")
}
LEARNED = Learned(2, {"weights": 0.679123456, "bias": 0.3})
SPLIT = {"method": "sequential", "rows": {"train": 40, "test": 10}}
WORST = [
    {"row": 1234, "split": "test", "x": 0.98, "target": 0.986, "prediction": 0.958812345, "residual": 0.027187655},
    {"row": 7, "split": "train", "x": 0.14, "target": 0.398, "prediction": 0.388, "residual": -0.01},
]


def render_report(
    manifest: dict[str, Any],
    metrics: dict[str, dict[str, Any]],
    plots: dict[str, bytes],
    learned: Learned = LEARNED,
    worst: Any = WORST,
    split: Any = SPLIT,
) -> str:
    return render(manifest, metrics, split, plots, learned, worst)


HOSTILE = (
    "<script>alert(1)</script>",
    "{{7*7}}",
    "{% raw %}",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</style><script>alert(1)</script>",
    "$x$ &amp; <b>",
    r"\input{/etc/passwd} $\frac{",
    "# a | b `c` [d](javascript:e) ![f](g)",
    "{{ self.__class__ }} ${x} %(x)s {x}",
)


class Page(HTMLParser):
    """A parsed page: its tags with their attributes, its text, its tables, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def row(self, *start: str) -> list[str]:
        [found] = [row for row in self.rows if tuple(row[: len(start)]) == start]
        return found


def artifact(path: str, size: int = 2345) -> dict[str, Any]:
    return {"path": path, "digest": DIGEST, "size": size, "kind": path.rpartition(".")[2]}


def stage(name: str, status: str, seconds: float | None, *reasons: str, **outputs: Any) -> dict[str, Any]:
    return {
        "name": name,
        "key": "k",
        "status": status,
        "reasons": list(reasons),
        "seconds": seconds,
        "outputs": outputs,
    }


@pytest.fixture
def manifest() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "run": "line-1",
        "created": "2026-11-23T22:41:07+02:00",
        "checkpoint": "weights-of-line.pth",
        "experiment": Experiment(name="line").model_dump(mode="json"),
        "seed": 42,
        "environment": {
            "device": "cuda:0",
            "device_note": "",
            "threads": 8,
            "python": "3.11.2",
            "machine": "Linux x86_64",
            "versions": {"torch": "2.13.0", "numpy": "2.3.5"},
            "git_commit": "6f1c0a9+changes",
        },
        "stages": [
            stage("generate", "reused", 0.25, "unchanged", dataset=artifact("data/dataset/a.parquet")),
            stage(
                "train", "run", 1.5, "epochs 1 → 2", "code changed", weights=artifact("artifacts/weights/b.pth", 999)
            ),
            stage("save", "running", None, "never cached"),
        ],
        "files": {"plots/loss.svg": artifact("artifacts/loss/c.svg", 2_500_000)},
    }


@pytest.fixture
def metrics() -> dict[str, dict[str, Any]]:
    values = {"mae": 0.123456789, "mse": 1.23456789e-06, "rmse": 0.5, "r2": 0.75, "largest_error": 0.25, "loss": 0.0625}
    return {
        "train": {"rows": 40_000, **values},
        "validation": {"rows": 5, **values},
        "test": {"rows": 10, **values, "loss": 0.03125},
    }


@pytest.fixture
def page(manifest: dict[str, Any], metrics: dict[str, Any]) -> Page:
    return Page(render_report(manifest, metrics, PLOTS))


def test_says_what_ran_and_how_it_went(page: Page) -> None:
    assert page.text.count("line-1") >= 2
    for text in ("23 November 2026, 20:41:07 UTC", "cuda:0", "Test loss 0.03125 (mean absolute error), R² 0.75"):
        assert text in page.text
    assert page.all("time") == [{"datetime": "2026-11-23T20:41:07+00:00"}]


def test_says_what_was_learned(page: Page, manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    assert "2 parameters learned: weights = 0.6791, bias = 0.3." in page.text
    many = Page(render_report(manifest, metrics, PLOTS, Learned(1_000_000, {})))
    assert "1,000,000 parameters learned." in many.text
    assert "1 parameter learned: a = 1." in Page(render_report(manifest, metrics, PLOTS, Learned(1, {"a": 1.0}))).text


def test_lists_the_worst_rows(page: Page) -> None:
    assert page.row("test", "1,234") == ["test", "1,234", "0.98", "0.986", "0.9588", "0.02719"]
    assert page.row("train", "7")[-1] == "-0.01"


def test_says_where_and_how_long_it_ran(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    def facts() -> str:
        html = render_report(manifest, metrics, PLOTS)
        return html[html.index('<dl class="facts">') : html.index("</dl>")]

    assert "<dd>GPU, cuda:0</dd>" in facts()
    assert "<dd>1.5 s; training 1.5 s</dd>" in facts()
    manifest["environment"]["device"] = "cpu"
    manifest["stages"][1]["status"] = "reused"
    assert "<dd>CPU, 8 threads</dd>" in facts()
    assert "<dd>0 s; training 1.5 s, reused</dd>" in facts()


def test_what_is_known_later_is_marked_once(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    html = render_report(manifest, metrics, PLOTS)
    for name in ("verified", "before"):
        for mark in marks(name):
            assert html.count(mark) == 1
    assert "not yet: see <a href='./verification.json'>" in html


@pytest.mark.parametrize(
    ("accept", "shown"),
    [
        ({"min_r2": 0.5}, "<dd>yes</dd>"),
        ({"min_r2": 0.9}, "<dd>no: r2 0.75 is below accept.min_r2 0.9</dd>"),
        ({"allow_drift": False}, "<dd>yes; `workflow history` shows whether it drifts</dd>"),
    ],
)
def test_says_whether_it_is_accepted_if_something_is_demanded(
    manifest: dict[str, Any], metrics: dict[str, Any], accept: dict[str, Any], shown: str
) -> None:
    assert "<dt>Accepted</dt>" not in render_report(manifest, metrics, PLOTS)
    manifest["experiment"]["accept"] |= accept
    assert f"<dt>Accepted</dt>{shown}" in render_report(manifest, metrics, PLOTS).replace("\n", "")


def test_a_picture_leads_to_itself_enlarged_and_back(page: Page) -> None:
    figures = [figure["id"] for figure in page.all("figure")]
    links = [link["href"] for link in page.all("a")]
    assert len(figures) == len(PLOTS)
    assert all(links.count(f"#{figure}") >= 1 for figure in figures)
    assert sum("aria-label" in link and link["href"] == "#plots" for link in page.all("a")) == len(figures)


def test_a_time_without_zone_is_utc(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    manifest["created"] = "2026-11-23T20:41:07"
    html = render_report(manifest, metrics, PLOTS)
    assert '<time datetime="2026-11-23T20:41:07+00:00">23 November 2026, 20:41:07 UTC</time>' in html


def test_shows_the_device_note_only_if_there_is_one(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    assert 'class="note"' not in render_report(manifest, metrics, PLOTS)
    manifest["environment"]["device_note"] = "no GPU"
    assert '<p class="note">no GPU</p>' in render_report(manifest, metrics, PLOTS)


def test_embeds_the_plots_headlines_first(page: Page) -> None:
    prefix = "data:image/svg+xml;base64,"
    sources = [image["src"] or "" for image in page.all("img")]
    assert all(source.startswith(prefix) for source in sources)
    shown = [b64decode(source.removeprefix(prefix)) for source in sources]
    assert shown == [PLOTS[name] for name in ("trained", "loss", "predicted", "residuals", "data", "untrained")]
    assert all(image["alt"] for image in page.all("img"))


def test_metrics_by_split_with_four_digits(page: Page) -> None:
    assert page.row("Split", "Rows") == ["Split", "Rows", "Loss", "MAE", "MSE", "RMSE", "R²", "Largest error"]
    assert page.row("train", "40,000") == [
        "train",
        "40,000",
        "0.0625",
        "0.1235",
        "1.235e-06",
        "0.5",
        "0.75",
        "0.25",
    ]
    assert page.row("validation")
    assert page.row("test", "10")[2] == "0.03125"


def test_undefined_metrics_are_dashes(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    for values in metrics.values():
        values["r2"] = None
    page = Page(render_report(manifest, metrics, PLOTS))
    assert page.row("test", "10")[6] == "–"
    assert "None" not in page.text
    assert "R² –" not in page.text


def test_validation_may_be_absent(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    del metrics["validation"]
    page = Page(render_report(manifest, metrics, PLOTS))
    assert [row[0] for row in page.rows if row[0] in ("train", "validation", "test")][:2] == ["train", "test"]
    assert "validation" not in [row[0] for row in page.rows]


def test_a_further_metric_is_shown_by_its_name(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    metrics["test"]["accuracy"] = 0.5
    page = Page(render_report(manifest, metrics, PLOTS))
    assert page.row("Split", "Rows")[-1] == "accuracy"
    assert page.row("train", "40,000")[-1] == "–"


def test_why_each_stage_ran(page: Page) -> None:
    assert page.row("generate", "reused") == ["generate", "reused", "unchanged", "–", "0.250"]
    assert page.row("train", "run") == ["train", "run", "epochs 1 → 2code changed", "1.500", "–"]
    assert page.row("save", "run") == ["save", "run", "never cached", "–", "–"]
    assert "1 of 3 stages were reused, which saved 0.250 seconds; the others took 1.500 seconds" in page.text


def test_every_setting_is_there(page: Page, manifest: dict[str, Any]) -> None:
    for section in ("data", "split", "model", "training"):
        for name in manifest["experiment"][section]:
            assert page.row(f"{section}.{name}")
    assert page.row("data.weight")[1] == "0.7"
    assert page.row("data.rows")[1] == "–"
    assert page.row("training.shuffle")[1] == "true"


def test_settings_keep_their_full_precision(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    manifest["experiment"]["training"]["learning_rate"] = 0.012345678901
    page = Page(render_report(manifest, metrics, PLOTS))
    assert page.row("training.learning_rate")[1] == "0.012345678901"


def test_the_toml_is_the_experiment(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    manifest["experiment"]["data"]["noise"] = 1e-05
    manifest["experiment"]["name"] = 'a"\\\x7f<é'
    page = Page(render_report(manifest, metrics, PLOTS))
    toml = page.text[page.text.index("All settings as TOML") + 20 : page.text.index("Made by pytorch-workflow")]
    given = {
        name: {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else part
        for name, part in manifest["experiment"].items()
        if part is not None
    }
    assert tomllib.loads(toml) == given


def test_lineage_names_every_artifact(page: Page) -> None:
    assert page.row("generate", "dataset") == [
        "generate",
        "dataset",
        "data/dataset/a.parquet",
        "2.3 kB",
        "0123456789ab…",
    ]
    assert page.row("train", "weights")[3] == "999 B"
    assert page.row("save", "the files of the run folder, listed below")
    assert [code["title"] for code in page.all("code") if "title" in code] == [DIGEST] * 3


def test_the_drawing_shows_the_outcome_in_words_too(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    html = render_report(manifest, metrics, PLOTS)
    page = Page(html)
    steps = [attributes["data-status"] for attributes in page.all("div") if attributes.get("class") == "step"]
    assert steps == ["reused", "run", "run"]
    assert "<b>generate</b> <span>reused</span>" in html
    assert "<b>save</b> <span>run</span>" in html


def test_environment_files_and_verification(page: Page) -> None:
    assert page.row("Device")[1] == "cuda:0"
    assert page.row("plots/loss.svg")[0] == "plots/loss.svg"
    assert {"href": "./plots/loss.svg"} in page.all("a")
    assert {"href": "./run.json"} in page.all("a")
    assert page.row("CPU threads")[1] == "8"
    assert page.row("Machine")[1] == "Linux x86_64"
    assert page.row("Git commit")[1] == "6f1c0a9+changes"
    assert page.row("Seed of the model")[1] == "42"
    assert page.row("python")[1] == "3.11.2"
    assert page.row("torch")[1] == "2.13.0"
    assert page.row("plots/loss.svg")[1:3] == ["artifacts/loss/c.svg", "2.5 MB"]
    assert "workflow verify line-1" in page.text
    assert "weights-of-line.pth" in page.text


def test_outside_a_checkout(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    manifest["environment"]["git_commit"] = None
    assert Page(render_report(manifest, metrics, PLOTS)).row("Git commit")[1] == "none: not a git checkout"


def test_stands_alone(page: Page) -> None:
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
    assert forbidden.isdisjoint(tag for tag, _ in page.tags)
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/svg+xml;base64,", "#", "./"))
        assert not any(name.startswith("on") for name in attributes)


def test_loads_nothing_by_its_styles(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    html = render_report(manifest, metrics, PLOTS)
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_the_policy_comes_before_what_it_governs(page: Page) -> None:
    policy = {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    }
    assert page.tags.index(("meta", policy)) < [tag for tag, _ in page.tags].index("style")


def test_is_accessible(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    levels = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert levels == ["h1"] + ["h2"] * 10
    assert all(header["scope"] in ("col", "row", "rowgroup") for header in page.all("th"))
    identifiers = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", "plots") in identifiers
        if (href := attributes.get("href") or "#plots").startswith("#"):
            assert href[1:] in identifiers


def with_every_text(value: Any, text: str) -> Any:
    """A copy in which `text` is in the place of every text."""
    if isinstance(value, dict):
        return {key: with_every_text(part, text) for key, part in value.items()}
    if isinstance(value, list):
        return [with_every_text(part, text) for part in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_inert(text: str, manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    before = Page(render_report(manifest, metrics, PLOTS))
    hostile = with_every_text(manifest, text) | {"created": manifest["created"]}
    hostile["environment"]["device_note"] = ""
    hostile["environment"]["versions"] = {text: text, "numpy": text}
    hostile["stages"][0]["outputs"] = {text: artifact(text)}
    hostile["files"] = {text: artifact(text)}
    hostile["experiment"]["data"] = {
        text if key == "kind" else key: value for key, value in hostile["experiment"]["data"].items()
    }
    # The statuses decide what is shown of a stage, so that these stay.
    for mine, theirs in zip(hostile["stages"], manifest["stages"], strict=True):
        mine["status"] = theirs["status"]
    learned, worst = Learned(2, {text: 1.0, "b": 2.0}), [WORST[0] | {"split": text}, WORST[1]]
    page = Page(render_report(hostile, {text: metrics["train"], **metrics}, PLOTS, learned, worst))
    # There is one more split: a row with its heading and seven values.
    assert len(page.tags) == len(before.tags) + 9
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in before.tags}
    assert {name for _, attributes in page.tags for name in attributes} == {
        name for _, attributes in before.tags for name in attributes
    }
    assert page.text.count(text) >= 20
    assert page.row(text, text, text, "2.3 kB")


def test_is_the_same_for_the_same_run(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    first = render_report(manifest, metrics, PLOTS)
    assert first == render_report(deepcopy(manifest), deepcopy(metrics), dict(reversed(PLOTS.items())))


def test_changes_none_of_its_arguments(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    before = deepcopy((manifest, metrics))
    render_report(manifest, metrics, PLOTS)
    assert (manifest, metrics) == before


@pytest.mark.parametrize("missing", sorted(PLOTS))
def test_a_missing_plot_is_named(missing: str, manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    with pytest.raises(KeyError, match=missing):
        render_report(manifest, metrics, {name: svg for name, svg in PLOTS.items() if name != missing})


def test_a_time_that_is_none_is_refused(manifest: dict[str, Any], metrics: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="yesterday"):
        render_report(manifest | {"created": "yesterday"}, metrics, PLOTS)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (3_000_000_000, "3.0 GB"),
        (2 * 10**15, "2000.0 TB"),
    ],
)
def test_sizes_for_people(count: int, shown: str) -> None:
    assert _size(count) == shown

"""The report of a run: one HTML page that explains what was trained, how well it does, and how to repeat it.

The page stands alone: no scripts, and nothing is loaded from anywhere. Every text in it is escaped, and its
Content-Security-Policy forbids everything but its own styles and embedded images. The template is a constant, not
a file and not a docstring, so that the fingerprint of this module changes with it.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined, Template

#: What stands where there is no value.
ABSENT = "–"

#: Shown of a SHA-256, the rest is in the title.
DIGEST_LENGTH = 12


class Figure(NamedTuple):
    """How a plot is shown: its caption, and what it shows in words for those who cannot see it."""

    caption: str
    alt: str


#: The plots that matter most, shown large.
HEADLINES = {
    "trained": Figure("Predictions after training", "Data of each split, with the trained model's predictions."),
    "loss": Figure("Loss while training", "Loss on the training rows and on the held-out rows, by epoch."),
}

#: The other plots, shown small.
DETAILS = {
    "data": Figure("Data", "The rows of the dataset, by split."),
    "untrained": Figure("Predictions before training", "Data of each split, with the untrained model's predictions."),
    "residuals": Figure("Residuals", "Prediction minus target, row by row."),
}

#: Names of the losses, as training.loss chooses them.
LOSSES = {
    "l1": "mean absolute error",
    "mse": "mean squared error",
    "huber": "Huber, delta 1",
    "bce": "binary cross-entropy",
}

#: Headings of the metrics table. A metric that is not listed goes by its own name.
METRICS = {
    "rows": "Rows",
    "loss": "Loss",
    "mae": "MAE",
    "mse": "MSE",
    "rmse": "RMSE",
    "r2": "R²",
    "largest_error": "Largest error",
}

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2329; --soft: #566069; --line: #dfe2e1; --stripe: #f4f5f2;
  --run: #8a4209; --run-fill: #fdf1e4; --run-line: #d9a274;
  --reused: #1f5f4c; --reused-fill: #eaf5f0; --reused-line: #8dbcaa;
  --link: #1d5a94;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #15181b; --card: #1c2024; --ink: #e4e6e7; --soft: #a3abb2; --line: #343a40; --stripe: #22272b;
    --run: #f3b57f; --run-fill: #372617; --run-line: #855b35;
    --reused: #8fd3bb; --reused-fill: #17302a; --reused-line: #3f7563;
    --link: #8dbdec;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 72rem; padding: 2.75rem 1.5rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  overflow-wrap: anywhere;
}
code, pre { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
h1, h2 { line-height: 1.2; letter-spacing: -.015em; text-wrap: balance; }
h1 { margin: .2rem 0 .9rem; font-size: clamp(1.6rem, 1.1rem + 2.4vw, 2.4rem); font-weight: 680; }
h2 { margin: 3.25rem 0 .4rem; font-size: 1.3rem; font-weight: 650; }
p { margin: 0 0 1rem; max-width: 46rem; }
a { color: var(--link); text-underline-offset: .18em; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.soft { color: var(--soft); }
.kicker { margin: 0; color: var(--soft); font-size: .875rem; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; margin: 0 0 1.5rem; }
.facts > div { max-width: 100%; }
.facts dt { color: var(--soft); font-size: .8125rem; }
.facts dd { margin: 0; font-weight: 550; }
.note { padding: .6rem .9rem; border-left: 3px solid var(--run-line); border-radius: 0 6px 6px 0;
  background: var(--run-fill); color: var(--run); }
.outcome { margin: 0; max-width: 54rem; font-size: 1.1875rem; line-height: 1.5; font-variant-numeric: tabular-nums; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1.25rem 0 0; padding: .7rem 0; list-style: none;
  border-block: 1px solid var(--line); font-size: .875rem; }
.plots { display: grid; gap: 1rem; margin-top: 1rem; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.plots.small { grid-template-columns: repeat(3, minmax(0, 1fr)); }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; padding: .6rem; background: #fff;
  border: 1px solid var(--line); border-radius: 8px; }
figcaption { margin-top: .35rem; color: var(--soft); font-size: .875rem; }
.scroll { margin: .75rem 0 0; overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overscroll-behavior-x: contain; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .45rem .9rem; border-top: 1px solid var(--line); text-align: left; vertical-align: baseline;
  font-weight: inherit; }
thead th { border-top: 0; color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; }
tbody:first-of-type > tr:first-child > :is(th, td) { border-top: 0; }
thead + tbody:first-of-type > tr:first-child > :is(th, td) { border-top: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums lining-nums; white-space: nowrap; }
.name { min-width: 7rem; }
.long { min-width: 15rem; }
.short { white-space: nowrap; }
td ul { margin: 0; padding: 0; list-style: none; }
.groups { columns: 2 20rem; column-gap: 1rem; }
.groups .scroll { margin: 0 0 1rem; break-inside: avoid; }
.groups th { width: 55%; font-weight: 400; }
caption { padding: .55rem .9rem; text-align: left; font-weight: 650; background: var(--stripe);
  border-bottom: 1px solid var(--line); }
.badge { display: inline-block; padding: 0 .55em; border-radius: 1em; font-size: .8125rem;
  font-weight: 600; white-space: nowrap; }
[data-status] { color: var(--run); background: var(--run-fill); border: 1px solid var(--run-line); }
[data-status="reused"] { color: var(--reused); background: var(--reused-fill); border-color: var(--reused-line);
  border-style: dashed; }
.chain { display: flex; flex-wrap: wrap; gap: .6rem 0; margin: 1rem 0 .25rem; padding: 0; list-style: none; }
.chain li { display: flex; align-items: center; max-width: 100%; }
.chain li + li::before { content: "→" / ""; padding: 0 .55rem; color: var(--soft); }
.step { padding: .4rem .95rem; border-width: 1.5px; border-radius: 8px; line-height: 1.3; }
.step b { display: block; font-weight: 650; }
.step span { font-size: .8125rem; }
pre { margin: .5rem 0 1rem; padding: .8rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; white-space: pre-wrap; }
summary { cursor: pointer; color: var(--link); }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8125rem; }
@media (max-width: 45rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h2 { margin-top: 2.5rem; }
  .facts { gap: .6rem 1.75rem; }
  .outcome { font-size: 1.0625rem; }
  .plots, .plots.small { grid-template-columns: minmax(0, 1fr); }
  th, td, caption { padding-inline: .7rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2 { break-after: avoid; margin-top: 1.75rem; }
  figure, tr, .chain { break-inside: avoid; }
  .scroll { overflow: visible; }
  .long { min-width: 0; }
  [data-status], .note, caption, .outcome { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

PAGE = """
{%- macro plot(figure) %}
    <figure>
      <img src="{{ figure.source }}" alt="{{ figure.alt }}">
      <figcaption>{{ figure.caption }}</figcaption>
    </figure>
{%- endmacro %}
{%- macro digest(artifact) %}<code title="{{ artifact.digest }}">{{ artifact.digest_shown }}</code>{% endmacro %}
{%- macro pairs(title, rows) %}
    <div class="scroll" role="region" tabindex="0" aria-label="{{ title }}">
      <table>
        <caption>{{ title }}</caption>
        <tbody>
          {%- for name, value in rows %}
          <tr><th scope="row" class="name">{{ name }}</th><td>{{ value }}</td></tr>
          {%- endfor %}
        </tbody>
      </table>
    </div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ run }} · training report</title>
<style>{% include "style.css" %}</style>
</head>
<body>
<header>
  <p class="kicker">Training report</p>
  <h1>{{ run }}</h1>
  <dl class="facts">
    <div><dt>Experiment</dt><dd>{{ experiment }}</dd></div>
    <div><dt>When</dt><dd><time datetime="{{ created.isoformat() }}">{{ when }}</time></dd></div>
    <div><dt>Device</dt><dd>{{ device }}</dd></div>
  </dl>
  {%- if device_note %}
  <p class="note">{{ device_note }}</p>
  {%- endif %}
  <p class="outcome">{{ outcome }}</p>
  <nav aria-label="Contents">
    <ul>
      <li><a href="#plots">Plots</a></li>
      <li><a href="#metrics">Metrics</a></li>
      <li><a href="#stages">Stages</a></li>
      <li><a href="#configuration">Configuration</a></li>
      <li><a href="#lineage">Lineage</a></li>
      <li><a href="#environment">Environment</a></li>
      <li><a href="#files">Files</a></li>
      <li><a href="#repeat">Verify and repeat</a></li>
    </ul>
  </nav>
</header>
<main>
<section aria-labelledby="plots">
  <h2 id="plots">Plots</h2>
  <div class="plots">
    {%- for figure in headlines %}{{ plot(figure) }}{% endfor %}
  </div>
  <div class="plots small">
    {%- for figure in details %}{{ plot(figure) }}{% endfor %}
  </div>
</section>

<section aria-labelledby="metrics">
  <h2 id="metrics">Metrics</h2>
  <p class="soft">Of the trained model, on each split. The loss is {{ loss_name }}.</p>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="metrics">
    <table>
      <thead>
        <tr>
          <th scope="col">Split</th>
          {%- for heading in metrics.headings %}
          <th scope="col" class="number">{{ heading }}</th>
          {%- endfor %}
        </tr>
      </thead>
      <tbody>
        {%- for split, values in metrics.rows %}
        <tr>
          <th scope="row" class="short">{{ split }}</th>
          {%- for value in values %}
          <td class="number">{{ value }}</td>
          {%- endfor %}
        </tr>
        {%- endfor %}
      </tbody>
    </table>
  </div>
</section>

<section aria-labelledby="stages">
  <h2 id="stages">Why each stage ran</h2>
  <p class="soft">{{ effort }}</p>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="stages">
    <table>
      <thead>
        <tr>
          <th scope="col">Stage</th><th scope="col">Status</th><th scope="col">Why</th>
          <th scope="col" class="number">Seconds spent</th><th scope="col" class="number">Seconds saved</th>
        </tr>
      </thead>
      <tbody>
        {%- for stage in stages %}
        <tr>
          <th scope="row" class="name">{{ stage.name }}</th>
          <td><span class="badge" data-status="{{ stage.status }}">{{ stage.status }}</span></td>
          <td class="long"><ul>{% for reason in stage.reasons %}<li>{{ reason }}</li>{% endfor %}</ul></td>
          <td class="number">{{ stage.spent }}</td>
          <td class="number">{{ stage.saved }}</td>
        </tr>
        {%- endfor %}
      </tbody>
    </table>
  </div>
</section>

<section aria-labelledby="configuration">
  <h2 id="configuration">Configuration</h2>
  <p class="soft">Everything that the run was asked to do.</p>
  <div class="groups">
    {%- for section, settings in sections %}{{ pairs(section, settings) }}{% endfor %}
  </div>
</section>

<section aria-labelledby="lineage">
  <h2 id="lineage">Lineage</h2>
  <p class="soft">How every artifact came about. Artifacts are named by their content and never change.</p>
  <ol class="chain">
    {%- for stage in stages %}
    <li>
      <div class="step" data-status="{{ stage.status }}"><b>{{ stage.name }}</b> <span>{{ stage.status }}</span></div>
    </li>
    {%- endfor %}
  </ol>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="lineage">
    <table>
      <thead>
        <tr>
          <th scope="col">Stage</th><th scope="col">Artifact</th><th scope="col">Path</th>
          <th scope="col" class="number">Size</th><th scope="col">SHA-256</th>
        </tr>
      </thead>
      {%- for stage in stages %}
      <tbody>
        {%- for artifact in stage.artifacts %}
        <tr>
          {%- if loop.first %}
          <th scope="rowgroup" class="name" rowspan="{{ loop.length }}">{{ stage.name }}</th>
          {%- endif %}
          <td class="name">{{ artifact.name }}</td>
          <td class="long"><code>{{ artifact.path }}</code></td>
          <td class="number">{{ artifact.size }}</td>
          <td class="short">{{ digest(artifact) }}</td>
        </tr>
        {%- else %}
        <tr><th scope="row" class="name">{{ stage.name }}</th><td colspan="4" class="soft">{{ stage.nothing }}</td></tr>
        {%- endfor %}
      </tbody>
      {%- endfor %}
    </table>
  </div>
</section>

<section aria-labelledby="environment">
  <h2 id="environment">Environment</h2>
  <p class="soft">Where the run took place.</p>
  <div class="groups">
    {%- for title, rows in environment %}{{ pairs(title, rows) }}{% endfor %}
  </div>
</section>

<section aria-labelledby="files">
  <h2 id="files">Files of the run folder</h2>
  <p class="soft">Beside this report and <code>run.json</code>, which says the same for programs.</p>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="files">
    <table>
      <thead>
        <tr>
          <th scope="col">File</th><th scope="col">Path</th>
          <th scope="col" class="number">Size</th><th scope="col">SHA-256</th>
        </tr>
      </thead>
      <tbody>
        {%- for file in files %}
        <tr>
          <th scope="row" class="name">{{ file.name }}</th>
          <td class="long"><code>{{ file.path }}</code></td>
          <td class="number">{{ file.size }}</td>
          <td class="short">{{ digest(file) }}</td>
        </tr>
        {%- endfor %}
      </tbody>
    </table>
  </div>
</section>

<section aria-labelledby="repeat">
  <h2 id="repeat">Verify and repeat</h2>
  <p>This shows that the checkpoint <code>{{ checkpoint }}</code>, reloaded into a fresh model, predicts what training
    recorded, row by row:</p>
  <pre><code>{{ verify }}</code></pre>
  <p>To train it again, save the settings below as <code>again.toml</code>, and:</p>
  <pre><code>workflow train again.toml</code></pre>
  <details>
    <summary>All settings as TOML</summary>
    <pre><code>{{ toml }}</code></pre>
  </details>
</section>
</main>
<footer>Made by pytorch-workflow. This page stands alone: it runs no scripts and loads nothing.</footer>
</body>
</html>
"""


def render_report(
    manifest: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]], plots: Mapping[str, bytes]
) -> str:
    """The report of a run as one HTML page that stands alone; the same for the same arguments.

    Args:
        manifest: of the run, as JSON describes it.
        metrics: of the trained model, by split and name; None where one is undefined. Validation may be absent.
        plots: SVG images by name: data, untrained, trained, loss and residuals.

    Raises:
        KeyError: the manifest, the metrics or the plots lack a part; its name is the argument.
        ValueError: the manifest's time is not in ISO 8601.
    """
    experiment = manifest["experiment"]
    created = _moment(manifest["created"])
    stages = [_stage(entry) for entry in manifest["stages"]]
    loss_name = LOSSES.get(experiment["training"]["loss"], experiment["training"]["loss"])
    return _page().render(
        run=manifest["run"],
        experiment=experiment["name"],
        created=created,
        when=f"{created.day} {created:%B %Y, %H:%M:%S} UTC",
        device=manifest["environment"]["device"],
        device_note=manifest["environment"]["device_note"],
        outcome=_outcome(metrics["test"], loss_name),
        headlines=_figures(HEADLINES, plots),
        details=_figures(DETAILS, plots),
        loss_name=loss_name,
        metrics=_metrics_table(metrics),
        effort=_effort(manifest["stages"]),
        stages=stages,
        sections=[(name, list(_settings(name, part))) for name, part in _sections(experiment)],
        environment=_environment(manifest),
        files=_artifacts(manifest["files"]),
        checkpoint=manifest["checkpoint"],
        verify=f"workflow verify {shlex.quote(manifest['run'])}",
        toml=_toml(experiment),
    )


def _page() -> Template:
    """The compiled page; a name that it lacks is an error, and all that is filled in is escaped."""
    environment = Environment(
        loader=DictLoader({"report.html": PAGE, "style.css": STYLE}), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html")


def _moment(created: str) -> datetime:
    """A time in ISO 8601, in UTC; one without a time zone is taken as UTC."""
    moment = datetime.fromisoformat(created)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _outcome(test: Mapping[str, Any], loss_name: str) -> str:
    """The run in one line: how the trained model does on the test rows."""
    parts = [f"Test loss {_number(test['loss'])} ({loss_name})"]
    if test.get("r2") is not None:
        parts.append(f"R² {_number(test['r2'])}")
    if test.get("largest_error") is not None:
        parts.append(f"largest error {_number(test['largest_error'])}")
    return f"{', '.join(parts)}, on {_number(test['rows'])} rows that the model did not see in training."


def _figures(figures: Mapping[str, Figure], plots: Mapping[str, bytes]) -> list[dict[str, str]]:
    """The plots with their images. An SVG inside <img> is inert: a browser runs no script in it and loads nothing."""
    return [
        {"source": f"data:image/svg+xml;base64,{b64encode(plots[name]).decode()}", **figure._asdict()}
        for name, figure in figures.items()
    ]


def _metrics_table(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Headings and rows of the metrics table: the known metrics in their order, then any others."""
    present = dict.fromkeys(name for values in metrics.values() for name in values)
    names = [*(name for name in METRICS if name in present), *(name for name in present if name not in METRICS)]
    return {
        "headings": [METRICS.get(name, name) for name in names],
        "rows": [(split, [_number(values.get(name)) for name in names]) for split, values in metrics.items()],
    }


def _effort(stages: list[Mapping[str, Any]]) -> str:
    """How much of the work was reused, and what that saved."""
    seconds = {"run": 0.0, "reused": 0.0}
    for stage in stages:
        seconds[_status(stage)] += stage["seconds"] or 0.0
    count = sum(_status(stage) == "reused" for stage in stages)
    return (
        f"{count} of {len(stages)} stages were reused, which saved {seconds['reused']:,.3f} seconds; "
        f"the others took {seconds['run']:,.3f} seconds, without the writing of this report."
    )


def _status(stage: Mapping[str, Any]) -> str:
    """Whether a stage was run or reused. The last one, save, is still running while it writes this: it runs."""
    return "reused" if stage["status"] == "reused" else "run"


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage as the page tells it."""
    status, running = _status(stage), stage["status"] == "running"
    seconds = ABSENT if running or stage["seconds"] is None else f"{stage['seconds']:,.3f}"
    return {
        "name": stage["name"],
        "status": status,
        "spent": seconds if status == "run" else ABSENT,
        "saved": seconds if status == "reused" else ABSENT,
        "reasons": stage["reasons"] or [ABSENT],
        "artifacts": _artifacts(stage["outputs"]),
        "nothing": "the files of the run folder, listed below" if running else "no artifacts",
    }


def _artifacts(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Artifacts as the page tells them."""
    return [
        {
            "name": name,
            "path": entry["path"],
            "size": _size(entry["size"]),
            "digest": entry["digest"],
            "digest_shown": entry["digest"][:DIGEST_LENGTH] + "…",
        }
        for name, entry in entries.items()
    ]


def _environment(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Where the run took place, as titled lists of names and values."""
    environment = manifest["environment"]
    place = [
        ("Device", environment["device"]),
        ("CPU threads", str(environment["threads"])),
        ("Machine", environment["machine"]),
        ("Git commit", environment["git_commit"] or "none: not a git checkout"),
        ("Seed of the model", str(manifest["seed"])),
    ]
    versions = [("python", environment["python"]), *environment["versions"].items()]
    return [("Place", place), ("Versions", versions)]


def _sections(experiment: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections of an experiment; its names are told elsewhere."""
    return ((name, part) for name, part in experiment.items() if isinstance(part, Mapping))


def _settings(prefix: str, section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a section with dotted names, and their values as they were given, at full precision."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _settings(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", _setting(value)


def _setting(value: Any) -> str:
    """The value of a setting for people."""
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else _toml_value(value)


def _toml(experiment: Mapping[str, Any]) -> str:
    """An experiment as a TOML file; settings that are not given are left out."""
    names = {name: value for name, value in experiment.items() if not isinstance(value, Mapping)}
    blocks = [_toml_lines(names), *(f"[{name}]\n{_toml_lines(part)}" for name, part in _sections(experiment))]
    return "\n\n".join(blocks)


def _toml_lines(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} = {_toml_value(value)}" for name, value in settings.items() if value is not None)


def _toml_value(value: Any) -> str:
    """A value in TOML, which writes texts, whole numbers and truth values as JSON does (but for DEL)."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _number(value: float | None) -> str:
    """A number with 6 significant digits; whole ones in full, in groups of three."""
    if value is None:
        return ABSENT
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _size(count: int) -> str:
    """Bytes in a unit that people read: 1 kB is 1000 bytes."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"

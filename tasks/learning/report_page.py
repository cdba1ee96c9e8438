"""The page of the report: its template, for Jinja, and its style.

Constants, and neither files nor docstrings, so that the fingerprint of the stage that renders them changes with them.
"""

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

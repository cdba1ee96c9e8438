"""The page of the report: its template, for Jinja.

A constant, and neither a file nor a docstring, so that the fingerprint of the stage that renders it changes with it.
"""

PAGE = """
{%- macro plot(figure) %}
    <figure id="plot-{{ figure.name }}">
      <a href="#plot-{{ figure.name }}"><img src="{{ figure.source }}" alt="{{ figure.alt }}"></a>
      <a class="smaller" href="#plots" aria-label="Back to the report"></a>
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
{%- macro by_split(headings, rows) %}
    <table>
      <thead>
        <tr>
          <th scope="col">Split</th>
          {%- for heading in headings %}
          <th scope="col" class="number">{{ heading }}</th>
          {%- endfor %}
        </tr>
      </thead>
      <tbody>
        {%- for split, values in rows %}
        <tr>
          <th scope="row" class="short">{{ split }}</th>
          {%- for value in values %}
          <td class="number">{{ value }}</td>
          {%- endfor %}
        </tr>
        {%- endfor %}
      </tbody>
    </table>
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
    <div><dt>Time</dt><dd>{{ time }}</dd></div>
    {%- for name, verdict in verdicts %}
    <div><dt>{{ name }}</dt><dd>{{ verdict }}</dd></div>
    {%- endfor %}
  </dl>
  {%- if device_note %}
  <p class="note">{{ device_note }}</p>
  {%- endif %}
  <p class="outcome">{{ outcome }}</p>
  <p class="outcome">{{ learned }}</p>
  <nav aria-label="Contents">
    <ul>
      <li><a href="#plots">Plots</a></li>
      <li><a href="#metrics">Metrics</a></li>
      <li><a href="#worst">Worst rows</a></li>
      <li><a href="#before">The run before</a></li>
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
  <p class="soft">{{ split | join(" ") }}</p>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="metrics">
    {{ by_split(metrics.headings, metrics.rows) }}
  </div>
</section>

<section aria-labelledby="worst">
  <h2 id="worst">Worst rows</h2>
  <p class="soft">The rows with the largest residuals, of all splits; predicted against actual is drawn
    <a href="#plot-predicted">above</a>.</p>
  <div class="scroll" role="region" tabindex="0" aria-labelledby="worst">
    {{ by_split(worst.headings, worst.rows) }}
  </div>
</section>

<section aria-labelledby="before">
  <h2 id="before">Against the run before</h2>
  {{ before }}
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
  <p class="soft">Beside this report and <a href="./run.json">run.json</a>, which says the same for programs.</p>
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
          <th scope="row" class="name"><a href="{{ file.link }}">{{ file.name }}</a></th>
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
  <p>All settings as TOML</p>
  <pre><code>{{ toml }}</code></pre>
</section>
</main>
<footer>Made by pytorch-workflow. This page stands alone: it runs no scripts and loads nothing.</footer>
</body>
</html>
"""

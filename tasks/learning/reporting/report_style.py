"""The style of the report and of the pages around it.

A constant, and neither a file nor a docstring, so that the fingerprint of the stage that renders it changes with it.
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
.plots.small { grid-template-columns: repeat(4, minmax(0, 1fr)); }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; padding: .6rem; background: #fff;
  border: 1px solid var(--line); border-radius: 8px; }
@media screen and (prefers-color-scheme: dark) {
  figure img { filter: invert(.89) hue-rotate(180deg); border-color: #ccc; }
}
figure > a { display: block; cursor: zoom-in; }
figure > .smaller { display: none; position: absolute; inset: 0; cursor: zoom-out; }
figure:target { position: fixed; inset: 0; z-index: 1; display: flex; flex-direction: column; justify-content: center;
  padding: 1rem; background: var(--paper); }
figure:target > .smaller { display: block; }
figure:target img { height: calc(100vh - 6rem); object-fit: contain; }
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
  figure:target { position: static; display: block; padding: 0; }
  figure:target img { height: auto; }
  h2 { break-after: avoid; margin-top: 1.75rem; }
  figure, tr, .chain { break-inside: avoid; }
  .scroll { overflow: visible; }
  .long { min-width: 0; }
  [data-status], .note, caption, .outcome { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

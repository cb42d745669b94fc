"""The style sheet of the page: light and dark by the reader's setting, one column that fits a phone.

No colour carries a meaning alone: squares that changed are filled, others hollow, what was added, removed, reshaped or
cast has a sign, and every figure is in a table too.
"""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1c2128; --soft: #57606a; --line: #d0d7de; --edge: #848d97; --panel: #f6f8fa;
  --accent: #0b57d0; --alarm: #9a1c1c; --alarm-page: #fff1f0; --bar: #3d74c7;
  --h1: #e9f1fb; --h2: #cfe2f7; --h3: #a9cbef; --h4: #7bade2;
  --h5: #4d8bcf; --h6: #2a69b0; --h7: #174b87; --h8: #0a2f5c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --line: #343c46; --edge: #6e7681; --panel: #161b22;
    --accent: #79b0ff; --alarm: #ffb4ab; --alarm-page: #3a1413; --bar: #5b93e0;
    --h1: #16243a; --h2: #1c3558; --h3: #23497a; --h4: #2c60a0;
    --h5: #3f7cc5; --h6: #67a0e4; --h7: #9cc5f7; --h8: #d6e8ff;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 0 1rem 3rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere;
}
code, .name { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875em; }
h1 { font-size: 1.25rem; margin: 1.5rem 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--accent); }
.summary { font-size: 1.3rem; line-height: 1.35; margin: .5rem 0 1rem; text-wrap: balance; }
.soft, caption, figcaption, footer { color: var(--soft); font-size: .875rem; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; top: .5rem; background: var(--page); padding: .5rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
nav a { display: inline-block; padding: .35rem 0; }
.alarm { border-left: 4px solid var(--alarm); background: var(--alarm-page); padding: .5rem .75rem; margin: 1rem 0; }
.alarm h2 { margin: 0; border: 0; font-size: 1rem; color: var(--alarm); }
.alarm ul { margin: .25rem 0 0; padding-left: 1.25rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; padding: .25rem 0; max-width: calc(100vw - 2rem); }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; min-width: 10rem; }
td { overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.heat { list-style: none; margin: .5rem 0; padding: 0; }
.heat li {
  display: grid; grid-template-columns: minmax(9rem, 18rem) 10rem 1fr; gap: .1rem .75rem; align-items: center;
  padding: .2rem 0; border-bottom: 1px solid var(--line);
}
.meter {
  display: flex; align-items: center; gap: .5rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; font-size: .85rem;
}
.meter svg { flex: none; width: 4.5rem; height: .6rem; }
.track { fill: var(--panel); stroke: var(--line); stroke-width: 1; }
.fill, .bin { fill: var(--bar); }
.strip { display: flex; flex-wrap: wrap; gap: 2px; }
.strip i, .key i {
  display: inline-flex; width: 1rem; height: 1rem; border: 1px solid var(--edge); border-radius: 2px;
  font: 700 .7rem/1 monospace;  align-items: center; justify-content: center; color: var(--ink); flex: none;
}
i.h0 { border-style: dashed; }
i.h1 { background: var(--h1); } i.h2 { background: var(--h2); } i.h3 { background: var(--h3); }
i.h4 { background: var(--h4); } i.h5 { background: var(--h5); color: var(--page); }
i.h6 { background: var(--h6); color: var(--page); } i.h7 { background: var(--h7); color: var(--page); }
i.h8 { background: var(--h8); color: var(--page); }
.key {
  list-style: none; margin: .5rem 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .8rem;
}
.key li { display: flex; align-items: center; gap: .35rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; }
figure svg { display: block; width: 100%; height: 5rem; }
.axis { stroke: var(--soft); stroke-width: 1; }
.ends { display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft); }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .5rem; }
@media (max-width: 40rem) {
  .heat li { grid-template-columns: 1fr auto; }
  .strip { grid-column: 1 / -1; }
  .summary { font-size: 1.15rem; }
  tbody th { min-width: 11rem; }
}
@media print { nav, .skip { display: none; } .scroll { overflow: visible; } }
"""
"""CSS, as it stands between the tags: the page's security policy names its hash."""

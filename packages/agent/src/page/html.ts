import { createHash } from 'node:crypto';
import type { MachineView, WaitsFor } from './view.ts';

// The page has no script and loads nothing: the agent writes it anew for every request, and it reloads itself.

const RELOAD_SECONDS = 2;

const style = `
:root { color-scheme: light dark; --ground: #f4f5f6; --card: #fff; --ink: #17202a; --soft: #5a6672; --line: #d9dee3;
  --good: #1a7f4b; --waits: #8a5a00; --bad: #b3261e; --ahead: #b9d9c8; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161a; --card: #1b2127; --ink: #e8ecf0; --soft: #9aa7b3;
  --line: #323b44; --good: #5fd39a; --waits: #f0b955; --bad: #ff8a80; --ahead: #2c5a45; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; padding: 1rem; }
header, main { max-width: 60rem; margin: 0 auto; }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; justify-content: space-between;
  padding: .25rem 0 1rem; }
h1 { font-size: 1.25rem; }
header p, .about, dt, .expires { color: var(--soft); }
main { display: grid; gap: 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-left: .375rem solid var(--tone);
  border-radius: .5rem; padding: 1rem 1.25rem; }
.good { --tone: var(--good); } .waits { --tone: var(--waits); } .bad { --tone: var(--bad); }
h2 { font-size: 1.125rem; overflow-wrap: anywhere; }
.about { font-size: .875rem; overflow-wrap: anywhere; }
.headline { font-size: 1.25rem; font-weight: 600; margin-top: .75rem; }
.who { display: inline-block; color: var(--tone); border: 1px solid var(--tone); border-radius: 1rem;
  padding: 0 .75rem; font-size: .875rem; font-weight: 600; margin: .5rem 0 .25rem; }
.code { font: 600 clamp(1.125rem, 6vw, 2.5rem)/1.2 ui-monospace, monospace; letter-spacing: .04em; margin: .75rem 0 .25rem;
  white-space: nowrap; user-select: all; }
svg { display: block; width: 100%; height: .75rem; border-radius: .375rem; margin-top: .75rem; background: var(--line); }
.got { fill: var(--ahead); } .taken { fill: var(--tone); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .125rem 1rem; margin-top: .75rem; font-size: .9375rem; }
dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
@media (max-width: 30rem) { body { padding: .75rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .375rem; } }
`;

/** Value of the header Content-Security-Policy: this style sheet and nothing else. */
export const contentPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const who: Readonly<Record<WaitsFor, string>> = {
  cloud: 'waits for the cloud',
  operator: 'waits for the operator',
  administrator: 'waits for the administrator',
  machine: 'waits for the machine',
  material: 'waits for material',
  holder: 'waits for a print',
  person: 'waits for a person at the machine',
};

/** The whole page. @param time when the agent wrote it, for display */
export function pageOf(machines: readonly MachineView[], time: string): string {
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="refresh" content="${RELOAD_SECONDS}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escaped(titleOf(machines))}</title><style>${style}</style></head><body>`,
    `<header><h1>Machines of this site</h1><p>As of ${escaped(time)}, renewed every ${RELOAD_SECONDS} s</p></header>`,
    `<main>${machines.map(sectionOf).join('')}</main></body></html>\n`,
  ].join('\n');
}

function titleOf(machines: readonly MachineView[]): string {
  const [only, ...others] = machines;
  if (only !== undefined && others.length === 0) return `${only.title}: ${only.headline}`;
  const bad = machines.filter(({ tone }) => tone === 'bad').length;
  return bad === 0 ? `${machines.length} machines` : `${bad} of ${machines.length} machines need attention`;
}

function sectionOf({ title, about, tone, headline, waitsFor, next, code, progress, rows }: MachineView): string {
  return [
    `<section class="${tone}"><h2>${escaped(title)}</h2>`,
    about === '' ? '' : `<p class="about">${escaped(about)}</p>`,
    `<p class="headline">${escaped(headline)}</p>`,
    waitsFor === undefined ? '' : `<p class="who">${who[waitsFor]}</p>`,
    next === undefined ? '' : `<p>${escaped(next)}</p>`,
    code === undefined
      ? ''
      : `<p class="code">${escaped(code.text)}</p><p class="expires">${escaped(code.expires)}</p>`,
    progress === undefined ? '' : bar(progress),
    rows.length === 0
      ? ''
      : `<dl>${rows.map(([label, value]) => `<dt>${escaped(label)}</dt><dd>${escaped(value)}</dd>`).join('')}</dl>`,
    '</section>',
  ].join('');
}

/** Taken by the machine, and received ahead of it. Attributes, because the policy forbids styles of elements. */
function bar({ taken, got }: { readonly taken: number; readonly got: number }): string {
  const rect = (name: string, share: number) =>
    `<rect class="${name}" width="${(100 * share).toFixed(2)}" height="1"></rect>`;
  const label = `${Math.floor(100 * taken)} % made, ${Math.floor(100 * got)} % received`;
  return `<svg viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label="${label}">${rect('got', got)}${rect('taken', taken)}</svg>`;
}

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => escapes[character] ?? '');

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The prefix of the clauses of each specification. */
const prefixes: Readonly<Record<string, string>> = {
  'live-matrix.md': 'LM',
  'vault.md': 'VA',
  'ledger.md': 'LE',
  'peer.md': 'PE',
  'protocol.md': 'PR',
  'federation.md': 'FE',
  'pairing.md': 'PA',
  'packages.md': 'PK',
  'rehearsal.md': 'RE',
  'settings.md': 'SE',
};

/** The words that make a sentence a requirement (RFC 8174: capitals only). */
const requirement = /\b(MUST|SHOULD|MAY)\b/;

/** The text without the sentence that introduces the key words. */
function paragraphsOf(file: string): string[] {
  const text = readFileSync(join(root, 'spec', file), 'utf8');
  return text.split(/\n\s*\n/).filter((paragraph) => !paragraph.includes('RFC 8174'));
}

describe.each(Object.entries(prefixes))('%s', (file, prefix) => {
  const paragraphs = paragraphsOf(file);
  const ids = paragraphs.flatMap((paragraph) => /^\*\*([A-Z]{2}-[\d.]+)\*\*/.exec(paragraph)?.[1] ?? []);

  it('numbers its clauses in order, each number once', () => {
    expect(ids.length).toBeGreaterThan(10);
    const numbers = ids.map((id) => {
      expect(id.startsWith(`${prefix}-`), id).toBe(true);
      const parts = id.slice(prefix.length + 1).split('.');
      return { list: parts.slice(0, -1).join('.'), clause: Number(parts.at(-1)) };
    });
    const next = new Map<string, number>();
    for (const [i, { list, clause }] of numbers.entries()) {
      expect(clause, ids[i]).toBe(next.get(list) ?? 1);
      next.set(list, clause + 1);
      // A list of numbers is not resumed after another one.
      expect(i === 0 || numbers[i - 1]?.list === list || clause === 1, ids[i]).toBe(true);
    }
  });

  it('states no requirement outside a numbered clause', () => {
    const loose = paragraphs.filter(
      (paragraph) =>
        requirement.test(paragraph) && !paragraph.startsWith(`**${prefix}-`) && !paragraph.startsWith('| '),
    );
    expect(loose).toEqual([]);
  });
});

it('names only existing files and folders', () => {
  const missing: string[] = [];
  for (const file of readdirSync(join(root, 'spec'))) {
    const text = readFileSync(join(root, 'spec', file), 'utf8');
    for (const [, path = ''] of text.matchAll(/`((?:packages|tests|vectors|docs)\/[\w./-]+)`/g))
      if (!existsSync(join(root, path))) missing.push(`${file}: ${path}`);
  }
  expect(missing).toEqual([]);
});

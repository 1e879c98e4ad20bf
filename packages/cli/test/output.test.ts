import { MillraceError } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { formatBytes, formatCount, formatDuration, formatTable } from '../src/output/format.ts';
import { createProgress } from '../src/output/progress.ts';
import { createTerminal } from '../src/output/terminal.ts';

describe('output', () => {
  const collect = (isTTY: boolean, json = false) => {
    const texts = { out: '', err: '' };
    const terminal = createTerminal({
      stdout: { write: (text) => (texts.out += text) },
      stderr: { write: (text) => (texts.err += text), isTTY, columns: 60 },
      json,
    });
    return { terminal, texts };
  };

  it('shows a progress bar on a terminal that fits into the line', () => {
    const { terminal, texts } = collect(true);
    const progress = createProgress(terminal, 'object 1');
    progress.update(1, 4, 'layer 3  '.repeat(20));
    progress.finish('made');
    const shown = texts.err.split('\r\u001b[2K')[0] ?? '';
    expect(shown).toContain('██████░');
    expect(shown).toContain('25 %');
    expect(shown.length).toBeLessThan(60);
    expect(texts.err.endsWith('made\n')).toBe(true);
    expect(texts.out).toBe('');
  });

  it('prints a line at every tenth without a terminal', () => {
    const { terminal, texts } = collect(false);
    const progress = createProgress(terminal, 'store');
    for (let i = 0; i <= 1000; i += 1) progress.update(i, 1000);
    progress.finish();
    expect(texts.err.trim().split('\n')).toHaveLength(11);
    expect(texts.err).not.toContain('\u001b');
  });

  it('prints one document even if called repeatedly', () => {
    const { terminal, texts } = collect(false, true);
    terminal.result({ a: 1 }, 'text');
    terminal.result({ a: 2 }, 'text');
    terminal.error(new MillraceError('E_STORE', 'late'));
    expect(JSON.parse(texts.out)).toEqual({ a: 1 });
    expect(texts.err).toContain('E_STORE');
  });

  it('escapes control characters from a server', () => {
    const { terminal, texts } = collect(false);
    terminal.error(new MillraceError('E_STORE', 'a\u001b[2Jb\nc'));
    expect(texts.err).not.toContain('\u001b');
    expect(texts.err).toContain('a [2Jb c');
    expect(formatTable(['a', 'b'], [['x\ty', 'z']])).toBe('a    b\nx y  z');
  });

  it('formats numbers', () => {
    expect([0, 999, 1234, 892_967, 40e6].map(formatBytes)).toEqual(['0 B', '999 B', '1.23 kB', '893 kB', '40.0 MB']);
    expect([5, 1234, 2.5e6].map(formatCount)).toEqual(['5', '1.23 k', '2.50 M']);
    expect([12, 1500, 61_000].map(formatDuration)).toEqual(['12 ms', '1.5 s', '1 min 1 s']);
  });
});

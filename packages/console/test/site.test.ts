import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readConsoleFiles } from '../src/index.ts';

const MOST = 200_000;

describe('the built web application', () => {
  it('needs less than 200 kB for its first view, and loads nothing from elsewhere', async () => {
    const files = new Map((await readConsoleFiles()).map((file) => [file.path, file]));
    const textOf = (path: string) => Buffer.from(files.get(path)?.body ?? []).toString();
    /** The page, and what it names; of scripts, what they import before their first line. */
    const first = new Set<string>();
    const visit = (path: string) => {
      if (first.has(path)) return;
      first.add(path);
      const names = /html$/.test(path) ? /(?:src|href)="(\/[^"]+)"/g : /\bfrom\s*["'`]\.\/([^"'`]+)["'`]/g;
      for (const [, name = ''] of textOf(path).matchAll(names)) visit(name.startsWith('/') ? name : `/assets/${name}`);
    };
    visit('/index.html');
    expect([...first].filter((path) => !files.has(path))).toEqual([]);
    expect(first.size).toBeGreaterThan(3);
    const compressed = [...first].map((path) => gzipSync(files.get(path)?.body ?? Buffer.alloc(0)).length);
    expect(compressed.reduce((sum, bytes) => sum + bytes)).toBeLessThan(MOST);
    expect(textOf('/index.html')).not.toMatch(/(src|href)="(?!\/)/);
    expect([...files.values()].filter(({ path, immutable }) => !immutable && path !== '/index.html')).toEqual([]);
  });
});

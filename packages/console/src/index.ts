import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bytes, MillraceError } from '@millrace/base';

/** A file of the web application. */
export interface ConsoleFile {
  /** Begins with a slash. */
  readonly path: string;
  readonly type: string;
  readonly body: Bytes;
  /** The name contains a hash of the contents, so the contents never change. */
  readonly immutable: boolean;
}

/** The same from src and from dist. */
const site = fileURLToPath(new URL('../dist/site', import.meta.url));

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Reads the built web application. @throws {MillraceError} E_CONFIG if it is not built */
export async function readConsoleFiles(): Promise<readonly ConsoleFile[]> {
  const entries = await readdir(site, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `${site} is missing: build with \`npm run build\``, { cause });
  });
  const files = entries.filter((entry) => entry.isFile() && types[extname(entry.name)] !== undefined);
  return Promise.all(
    files.map(async ({ parentPath, name }) => {
      const file = join(parentPath, name);
      const path = `/${relative(site, file).split(sep).join('/')}`;
      const body = new Uint8Array(await readFile(file));
      return { path, type: types[extname(name)] ?? '', body, immutable: path.startsWith('/assets/') };
    }),
  );
}

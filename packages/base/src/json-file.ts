import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { MillraceError } from './errors.ts';
import { parse } from './schema.ts';

/** A file with JSON; undefined if there is none. @throws {MillraceError} E_CONFIG if it cannot be read or is damaged */
export async function readJsonFile<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
  try {
    return parse(schema, JSON.parse(text), path, 'E_CONFIG');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `${path} is damaged`, { cause });
  }
}

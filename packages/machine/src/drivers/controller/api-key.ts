import { readFile } from 'node:fs/promises';
import { MillraceError } from '@millrace/base';

/** Headers that prove the key in a file. @throws {MillraceError} E_CONFIG */
export async function apiKeyHeaders(file: string | undefined): Promise<Readonly<Record<string, string>>> {
  if (file === undefined) return {};
  try {
    const key = (await readFile(file, 'utf8')).trim();
    if (/^[\x21-\x7e]{8,512}$/.test(key)) return { 'X-Api-Key': key };
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read the API key in ${file}`, { cause });
  }
  throw new MillraceError('E_CONFIG', `${file} holds no API key`);
}

import { stat } from 'node:fs/promises';

/**
 * Changes whenever the file is written or replaced. Files are looked at every second, for each of a site's machines: a
 * stamp costs a fraction of reading.
 * @returns undefined if the file cannot be looked at
 */
export async function stampOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, ctimeNs } = await stat(path, { bigint: true });
    return `${ino} ${size} ${ctimeNs}`;
  } catch {
    return undefined;
  }
}

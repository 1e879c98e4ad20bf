import { MillraceError, utf8, writeDurably } from '@millrace/base';
import { type CsvCell, formatCsv } from '@millrace/client';

/** Writes rows to a file that only the user may read. @throws {MillraceError} E_INPUT */
export async function writeCsvFile(path: string, rows: readonly (readonly CsvCell[])[]): Promise<void> {
  try {
    await writeDurably(path, utf8(formatCsv(rows)), 0o600);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot write ${path}`, { cause });
  }
}

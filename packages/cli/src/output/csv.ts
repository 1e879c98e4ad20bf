import { MillraceError, utf8, writeDurably } from '@millrace/base';

/** A cell: text, a number, or nothing. */
export type Cell = string | number | undefined;

/**
 * Writes rows as CSV (RFC 4180): CRLF after each row, quotes where they are needed. Spreadsheets execute text that looks
 * like a formula, so such text gets an apostrophe in front (OWASP, CSV injection). Numbers stay as they are.
 */
export function formatCsv(rows: readonly (readonly Cell[])[]): string {
  return rows.map((row) => `${row.map(formatCell).join(',')}\r\n`).join('');
}

/** Writes rows to a file that only the user may read. @throws {MillraceError} E_INPUT */
export async function writeCsvFile(path: string, rows: readonly (readonly Cell[])[]): Promise<void> {
  try {
    await writeDurably(path, utf8(formatCsv(rows)), 0o600);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot write ${path}`, { cause });
  }
}

function formatCell(cell: Cell): string {
  if (cell === undefined) return '';
  if (typeof cell === 'number') return String(cell);
  // Spreadsheets ignore spaces in front; full-width signs stand for = + - @ in some of them.
  const text = /^\s*[=+\-@\t\r\n＝＋－＠]/u.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

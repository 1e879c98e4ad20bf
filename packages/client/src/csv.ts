/** A cell: text, a number, or nothing. */
export type CsvCell = string | number | undefined;

/**
 * Rows as CSV (RFC 4180): CRLF after each row, quotes where they are needed. Spreadsheets execute text that looks
 * like a formula, so such text gets an apostrophe in front (OWASP, CSV injection). Numbers stay as they are.
 */
export function formatCsv(rows: readonly (readonly CsvCell[])[]): string {
  return rows.map((row) => `${row.map(formatCell).join(',')}\r\n`).join('');
}

function formatCell(cell: CsvCell): string {
  if (cell === undefined) return '';
  if (typeof cell === 'number') return String(cell);
  // Spreadsheets ignore spaces in front; full-width signs stand for = + - @ in some of them.
  const text = /^\s*[=+\-@\t\r\n＝＋－＠]/u.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

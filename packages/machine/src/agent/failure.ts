import { errorCodes, type MillraceError } from '@millrace/base';

/**
 * What may be said of an error beside this machine; the cloud is told the code alone. A line that cannot be executed is
 * not quoted: its text is the design's.
 */
export function evidence({ code, message }: MillraceError): { readonly code: string; readonly reason: string } {
  return { code, reason: (code === 'E_GCODE' ? errorCodes.E_GCODE.meaning : message).slice(0, 500) };
}

/** The whole of it, for the owner. */
export function fullReason(error: MillraceError): string {
  const { line } = error.data;
  const where = typeof line === 'number' ? ` (line ${line})` : '';
  return `${error.message.slice(0, 470)}${where}`;
}

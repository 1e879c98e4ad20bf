import { errorCodes, type MillraceError } from '@millrace/base';

/**
 * The part of an error that may be shown at this machine; the cloud gets only the code. A line that cannot be executed
 * is not quoted, because its text is part of the design.
 */
export function evidence({ code, message }: MillraceError): { readonly code: string; readonly reason: string } {
  return { code, reason: (code === 'E_GCODE' ? errorCodes.E_GCODE.meaning : message).slice(0, 500) };
}

/** The full reason, for the owner. */
export function fullReason(error: MillraceError): string {
  const { line } = error.data;
  const where = typeof line === 'number' ? ` (line ${line})` : '';
  return `${error.message.slice(0, 470)}${where}`;
}

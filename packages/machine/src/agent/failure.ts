import { errorCodes, type MillraceError } from '@millrace/base';

/**
 * The part of an error that may be shown at this machine; the cloud gets only the code. A line that cannot be executed
 * is not quoted, because its text is part of the design.
 */
export function evidence({ code, message, data }: MillraceError): { readonly code: string; readonly reason: string } {
  if (code === 'E_GCODE') return { code, reason: errorCodes.E_GCODE.meaning };
  if (code === 'E_SAFETY') return { code, reason: `${errorCodes.E_SAFETY.meaning} Rule: ${data.rule}.` };
  return { code, reason: message.slice(0, 500) };
}

/** The full reason, for the owner. */
export function fullReason(error: MillraceError): string {
  const { line } = error.data;
  const where = typeof line === 'number' ? ` (line ${line})` : '';
  return `${error.message.slice(0, 470)}${where}`;
}

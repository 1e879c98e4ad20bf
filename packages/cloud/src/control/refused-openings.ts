import { isErrorCode, MillraceError } from '@millrace/base';
import type { MessageOf } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import { printOf } from './object-prints.ts';
import { isBegun, type PrintRecord } from './records.ts';

/**
 * Records that a proactive node refuses a permitted object for good. The machine learns it when it calls home again, and
 * reports the object as failed. The object stays counted.
 * @throws {MillraceError} E_NOT_FOUND, E_INPUT (not an error code)
 */
export async function takeRefusedOpening(
  context: ControlContext,
  { object, permitId, code, reason }: MessageOf<'stream.refused'>,
  from: string,
): Promise<void> {
  if (!isErrorCode(code)) throw new MillraceError('E_INPUT', 'a refusal needs an error code');
  const { records, logger } = context;
  const { print } = await printOf(context, object);
  logger.warn({ object, code, by: from }, 'object refused by a proactive node: its print fails');
  const refusal = { code, reason: `${reason} (refused by the ${from} node)` };
  await records.prints.update(print, (current) =>
    current.permit?.permitId === permitId && current.refusal === undefined ? { ...current, refusal } : current,
  );
}

/** @throws {MillraceError} the code with which a proactive node refuses the object of a permitted print */
export function requireNotRefused(print: PrintRecord): void {
  const { refusal, object } = print;
  if (refusal !== undefined && isBegun(print) && isErrorCode(refusal.code))
    throw new MillraceError(refusal.code, refusal.reason, { data: { object } });
}

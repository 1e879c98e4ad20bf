import { MillraceError } from '@millrace/base';
import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';

/** The print that has claimed an object. @throws {MillraceError} E_NOT_FOUND */
export async function printOf({ records }: ControlContext, object: string): Promise<PrintRecord> {
  const [licence, number] = [object.slice(0, 32), object.slice(33)];
  const claim = await records.claims.get(`${licence}/${number}`);
  if (claim === undefined || object[32] !== '-') throw new MillraceError('E_NOT_FOUND', `no object ${object}`);
  return records.prints.require(claim.print);
}

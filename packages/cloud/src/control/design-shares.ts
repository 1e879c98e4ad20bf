import { MillraceError } from '@millrace/base';
import type { Attested, TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireKept } from './designs.ts';
import { provedUser } from './proved-users.ts';
import type { Submitted } from './submitted.ts';

// Private parts of designs that a designer has sealed to other designers of the same organisation. Control cannot open
// them, and recipients verify the signer.

const idOf = (design: string, key: string) => `${design}/${key}`;

/**
 * Keeps what a designer has sealed to other keys of the owner's organisation. Later shares replace earlier ones.
 * @throws {MillraceError} E_FORBIDDEN (no designer of the owner, or a recipient who is none), E_DESIGN_DELETED
 */
export async function shareDesign(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'design.share'>>,
): Promise<{ design: string }> {
  const { records } = context;
  const design = await records.designs.require(body.design);
  authorize(actor, 'design.share', design);
  requireKept(design);
  for (const { key } of body.shares) {
    const member = (await provedUser(context, key))?.member;
    if (member?.organisation !== design.owner || !member.roles.includes('designer'))
      throw new MillraceError('E_FORBIDDEN', `the key ${key} is no designer of the design’s owner`, { data: { key } });
  }
  for (const { key } of body.shares) {
    const record = { design: body.design, transaction: bytes, credential };
    await records.shares.put(idOf(body.design, key), record);
  }
  return { design: body.design };
}

/** The newest share of a design for this key. @throws {MillraceError} E_NOT_FOUND */
export async function shareOf({ records }: ControlContext, design: string, key: string): Promise<Attested> {
  return records.shares.require(idOf(design, key));
}

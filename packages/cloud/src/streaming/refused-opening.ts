import { MillraceError, toHex } from '@millrace/base';
import { type Opening, readPermit } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';

/** Codes with which a node refuses an object for good: another permit of the same print cannot succeed either. */
const FINAL: ReadonlySet<string> = new Set([
  'E_LICENCE_EXHAUSTED',
  'E_LICENCE_QUOTA',
  'E_LICENCE_INVALID',
  'E_LICENCE_REVOKED',
  'E_MATERIAL',
  'E_PACKAGE_SHARE',
  'E_DESIGN_DELETED',
  'E_REVOKED',
  'E_CREDITED',
  'E_REPLAY',
]);

/** Longest reason that is sent, characters. */
const MAX_REASON = 300;

/**
 * Tells control that this node refuses an object that control has permitted. Otherwise the machine would wait for the
 * stream and learn no reason.
 */
export async function reportRefusedOpening(
  mail: Pick<MailClient, 'send'>,
  { opening, by, error }: { readonly opening: Opening; readonly by: 'keys' | 'segments'; readonly error: unknown },
): Promise<void> {
  if (!(error instanceof MillraceError) || !FINAL.has(error.code)) return;
  const { id, object, design } = readPermit(opening.permit);
  const permitId = toHex(id);
  const { code } = error;
  const reason = error.message.slice(0, MAX_REASON);
  const to = { role: 'control', partition: design } as const;
  await mail.send(to, { type: 'stream.refused', object, permitId, code, reason }, `refused/${by}/${permitId}`);
}

import { equalBytes, MillraceError, toHex, toMillraceError, wipe } from '@millrace/base';
import { contentKeysInfo, type MessageOf, readTransaction, sha256 } from '@millrace/protocol';
import { readManifest } from '@millrace/vault';
import { verifyDesign } from '../node/verify-design.ts';
import { openAttachment } from './attachments.ts';
import type { KeysContext } from './context.ts';
import type { OpenSecret } from './licences.ts';
import { verifyMaintenanceRequest } from './maintenance-requests.ts';

// Owners' signed transactions on designs, which control passes on.

export async function addDesign(
  { config, playbook, deletions, refusals, outbound }: KeysContext,
  message: MessageOf<'design.add'>,
): Promise<void> {
  const { manifest: read, keysHash } = await verifyDesign(message, config.directory);
  const { designId, owner } = read;
  await deletions.requireKept(designId);
  const { keys, manifest } = message;
  if (keys === undefined || !equalBytes(sha256(keys), keysHash))
    throw new MillraceError('E_INPUT', 'not the content keys that were signed');
  const info = contentKeysInfo(designId, owner);
  const content = await openAttachment(outbound.attachments, info, keys, async (code, reason) => {
    if (playbook.designs().some(({ design }) => design === designId)) return; // an old message that was replayed
    await refusals.create(designId, { code, reason });
    const refused = { type: 'design.refused', design: designId, code, reason } as const;
    await outbound.mail.send({ role: 'control', partition: designId }, refused, `refused/${designId}`);
  });
  try {
    await playbook.addDesign({ manifest, keys: content });
  } finally {
    wipe(content);
  }
}

/**
 * Records the owner's signed deletion first, so that a node that is killed later completes it when the message is
 * delivered again. Overwrites the design's key before it reports to control. Running streams end with a code.
 */
export async function deleteDesign(
  { playbook, deletions, refusals, licences, streams, outbound, logger }: KeysContext,
  deletion: MessageOf<'design.delete'>,
): Promise<void> {
  const { design } = deletion;
  const known = playbook.designs().some((view) => view.design === design);
  if (known) await deletions.note(deletion, playbook.design(design));
  // A refused design has no keys to destroy.
  else if (!(await deletions.has(design)) && (await refusals.get(design)) === undefined)
    throw new MillraceError('E_NOT_FOUND', `no design ${design}`);
  await streams.endDesign(design, new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  if (known) {
    await playbook.deleteDesign(design);
    logger.info({ design }, 'design deleted: its keys are destroyed');
  }
  await licences.forget(design);
  await outbound.mail.send(
    { role: 'control', partition: design },
    { type: 'design.deleted', design },
    `deleted/${design}`,
  );
}

/** Applies the owner's signed setting from the next sweep on. Ignores a setting older than the present one. */
export async function setMaintenance(
  { config, playbook, deletions, outbound, logger }: KeysContext,
  request: MessageOf<'design.maintenance'>,
): Promise<void> {
  const { design } = request;
  await deletions.requireKept(design);
  const body = await verifyMaintenanceRequest(request, playbook.design(design), config.directory);
  const mode = await playbook.setMode(design, body.mode, body.issued);
  logger.info({ design, mode }, 'maintenance mode set: it applies from the next sweep on');
  const id = toHex(body.id);
  await outbound.mail.send(
    { role: 'control', partition: design },
    { type: 'design.maintained', design, transaction: id, mode },
    `maintained/${id}`,
  );
}

export async function addLicence(
  { config, playbook, licences, deletions, outbound, clock }: KeysContext,
  granted: MessageOf<'licence.grant'>,
): Promise<void> {
  const claimed = readTransaction(granted.transaction);
  if (claimed.type === 'licence.grant') await deletions.requireKept(claimed.design);
  const designOf = async (design: string) => readManifest(await playbook.manifest(design));
  const refuse = async (licence: string, code: string, reason: string) => {
    if (await licences.has(licence)) return; // an old message that was replayed
    await outbound.mail.send(
      { role: 'control', partition: licence },
      { type: 'licence.refused', licence, code, reason },
      `refused/${licence}`,
    );
  };
  const open: OpenSecret = (licence, info, sealed) =>
    openAttachment(outbound.attachments, info, sealed, (code, reason) => refuse(licence, code, reason));
  const { directory } = config;
  try {
    await licences.add({ granted, designOf, directory, now: clock.now(), open });
  } catch (error) {
    const { code, message } = toMillraceError(error);
    // Control recorded the licence before the signer's key expired. Otherwise a print would claim an object in vain.
    if (code === 'E_EXPIRED') await refuse(toHex(claimed.id), code, message);
    throw error;
  }
}

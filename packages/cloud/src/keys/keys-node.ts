import { join } from 'node:path';
import {
  type Clock,
  type Closable,
  Closer,
  copyBytes,
  equalBytes,
  Gate,
  type Logger,
  MillraceError,
  systemClock,
  toHex,
  toMillraceError,
  wipe,
} from '@millrace/base';
import {
  type Addresses,
  contentKeysInfo,
  type LinkMessage,
  type Message,
  type MessageOf,
  type NodeRole,
  readTransaction,
  sha256,
} from '@millrace/protocol';
import { openLmdb } from '@millrace/stores';
import {
  decodeMessage,
  encodeMessage,
  openFileKeyWrapper,
  openSlots,
  Playbook,
  readManifest,
  wipeMessage,
} from '@millrace/vault';
import { z } from 'zod';
import { type NodeConfig, nodeFiles } from '../config.ts';
import { catchUpDeletions, Deletions } from '../node/deletions.ts';
import { HeadKeeper } from '../node/head.ts';
import { connectOutbound, type Outbound } from '../node/proactive.ts';
import { Table } from '../node/table.ts';
import { verifyDesign } from '../node/verify-design.ts';
import { ObjectBook } from '../streaming/objects.ts';
import { openAttachment } from './attachments.ts';
import { Checks } from './checks.ts';
import { LicenceBook, type OpenSecret } from './licences.ts';
import { Maintenance } from './maintenance.ts';
import { KeysStreams } from './streams.ts';
import { verifyWish } from './wishes.ts';

const refusalSchema = z.strictObject({ code: z.string(), reason: z.string() });

interface Parts {
  readonly config: NodeConfig;
  readonly playbook: Playbook;
  readonly licences: LicenceBook;
  readonly deletions: Deletions;
  /** Designs whose content keys do not open. */
  readonly refusals: Table<z.output<typeof refusalSchema>>;
  readonly streams: KeysStreams;
  readonly maintenance: Maintenance;
  readonly checks: Checks;
  readonly outbound: Outbound;
  /** Of mail to the segments node: what names places is a shared task, a message of a sweep is alone. */
  readonly order: Gate;
  readonly logger: Logger;
}

/** A running node; its parts serve as `ControlNode.context` does. */
export interface KeysNode extends Closable {
  readonly parts: Parts;
  close(): Promise<void>;
}

/** The keys node: holds playbooks and content keys (wrapped), opens no port, never sees a cell. */
export async function createKeysNode(
  { config, addresses }: { config: NodeConfig; addresses: Addresses },
  modules: { clock?: Clock; logger: Logger },
): Promise<KeysNode> {
  const closer = new Closer();
  const { logger } = modules;
  const clock = modules.clock ?? systemClock;
  const { directory } = config;
  const data = join(config.folder, nodeFiles.data);
  const environment = closer.add(openLmdb({ path: data }));
  const wrapper = closer.add(await openFileKeyWrapper(join(config.folder, nodeFiles.kek)));
  const playbook = closer.add(
    await Playbook.open({
      store: environment.store('playbook'),
      epochSlots: closer.add(await openSlots(join(data, 'epoch.keys'))),
      designSlots: closer.add(await openSlots(join(data, 'design.keys'))),
      wrapper,
      density: config.maintenance.density,
    }),
  );
  const records = environment.store('records');
  const licences = new LicenceBook(records, wrapper);
  const deletions = new Deletions(records, directory);
  const refusals = new Table(records, 'refused', refusalSchema);
  const outbound = await connectOutbound({
    config,
    role: 'keys',
    addresses,
    store: records,
    clock,
    logger,
    onStream: (message) => onStream(parts, message),
  });
  const { control, mail, link } = outbound;
  const objects = new ObjectBook(records);
  const order = new Gate();
  const streams = new KeysStreams({
    directory,
    identity: config.identity,
    clock,
    logger,
    playbook,
    licences,
    deletions,
    objects,
    mail,
    link,
    order,
    chaffPercent: config.chaffPercent,
  });
  const maintenance = new Maintenance(
    { playbook, store: records, mail, control, clock, logger, order },
    config.maintenance,
  );
  const checks = new Checks(config.checks, {
    store: records,
    check: (ids, deep) => maintenance.check(ids, deep),
    logger,
  });
  const parts: Parts = {
    config,
    playbook,
    licences,
    deletions,
    refusals,
    streams,
    maintenance,
    checks,
    outbound,
    order,
    logger,
  };
  closer.add(streams);
  closer.add(checks);
  closer.add(maintenance);
  closer.add(outbound);
  const newestEpoch = () => {
    const { sweep, epoch } = playbook.status();
    return sweep?.to ?? epoch;
  };
  const head = closer.add(new HeadKeeper({ store: records, control, epoch: newestEpoch, logger }));
  // A playbook that was put back opens nothing of today and must not begin a sweep of its own.
  head.start(async () => {
    await catchUpDeletions({ control, logger }, async (deletion) => {
      if (playbook.designs().some(({ design }) => design === deletion.design)) await deleteDesign(parts, deletion);
    });
    await outbound.start((message, from) => handle(parts, message, from));
    maintenance.start();
    void checks.start();
  });
  return { parts, close: () => closer.close() };
}

function onStream({ streams, logger }: Parts, message: LinkMessage): void {
  if (message.kind === 'reverse')
    streams.receive(message.session, message.payload).catch((error: unknown) => {
      // Whatever one machine sends, the others' streams go on.
      logger.error({ err: toMillraceError(error) }, 'a reverse frame could not be handled');
    });
  if (message.kind === 'control' && message.message.type === 'lost')
    void streams.stop(Buffer.from(message.message.session).toString('hex'));
}

/** Who may say what: control announces, the segments node asks and answers. */
async function handle(parts: Parts, message: Message, from: NodeRole): Promise<void> {
  if (from === 'control') {
    switch (message.type) {
      case 'design.add':
        return addDesign(parts, message);
      case 'design.delete':
        return deleteDesign(parts, message);
      case 'design.maintenance':
        return setMaintenance(parts, message);
      case 'licence.grant':
        return addLicence(parts, message);
      case 'licence.resume':
        return parts.streams.resume(message);
      case 'stream.open':
        return parts.streams.open(message.opening);
      case 'alarm.clear':
        return parts.streams.clearAlarm(message);
      case 'vault.check':
        return parts.checks.ask(message.check, message.deep);
    }
  }
  if (from === 'segments') {
    switch (message.type) {
      case 'vault':
        return onVault(parts, message.message);
      case 'slice.missing':
        return parts.streams.missing(message);
      case 'stream.alarm':
        return parts.streams.alarmed(message);
    }
  }
  throw new MillraceError('E_INPUT', `the keys node takes no ${message.type} from ${from}`);
}

async function addDesign(
  { config, playbook, deletions, refusals, outbound }: Parts,
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
    if (playbook.designs().some(({ design }) => design === designId)) return; // an old message, replayed
    await refusals.create(designId, { code, reason });
    const refused = { type: 'design.refused', design: designId, code, reason } as const;
    await outbound.mail.send('control', refused, `refused/${designId}`);
  });
  try {
    await playbook.addDesign({ manifest, keys: content });
  } finally {
    wipe(content);
  }
}

/**
 * The owner's word, noted first: a node that is killed anywhere below does the rest when the message comes again. The
 * design's key is overwritten before control hears of it; running streams end with a code.
 */
async function deleteDesign(
  { playbook, deletions, refusals, licences, streams, outbound, logger }: Parts,
  { design, transaction }: MessageOf<'design.delete'>,
): Promise<void> {
  const known = playbook.designs().some((view) => view.design === design);
  if (known) await deletions.note(design, transaction, copyBytes(playbook.design(design).owner));
  // Of a refused one there is nothing to destroy.
  else if (!(await deletions.has(design)) && (await refusals.get(design)) === undefined)
    throw new MillraceError('E_NOT_FOUND', `no design ${design}`);
  await streams.endDesign(design, new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  if (known) {
    await playbook.deleteDesign(design);
    logger.info({ design }, 'design deleted: its keys are destroyed');
  }
  await licences.forget(design);
  await outbound.mail.send('control', { type: 'design.deleted', design }, `deleted/${design}`);
}

/** The owner's word, from the next sweep on; what is older than what was told before changes nothing. */
async function setMaintenance(
  { config, playbook, deletions, outbound, logger }: Parts,
  { design, transaction }: MessageOf<'design.maintenance'>,
): Promise<void> {
  await deletions.requireKept(design);
  const { owner } = playbook.design(design);
  const body = await verifyWish(transaction, { design, owner, installation: config.directory.installation });
  const mode = await playbook.setMode(design, body.mode, body.issued);
  logger.info({ design, mode }, 'maintenance of the design from the next sweep on');
  const id = toHex(body.id);
  await outbound.mail.send('control', { type: 'design.maintained', design, transaction: id, mode }, `maintained/${id}`);
}

async function addLicence(
  { config, playbook, licences, deletions, outbound }: Parts,
  { transaction, secret }: MessageOf<'licence.grant'>,
): Promise<void> {
  const claimed = readTransaction(transaction);
  if (claimed.type === 'licence.grant') await deletions.requireKept(claimed.design);
  const designOf = async (design: string) => readManifest(await playbook.manifest(design));
  const open: OpenSecret = (licence, info, sealed) =>
    openAttachment(outbound.attachments, info, sealed, async (code, reason) => {
      if (await licences.has(licence)) return; // an old message, replayed
      await outbound.mail.send('control', { type: 'licence.refused', licence, code, reason }, `refused/${licence}`);
    });
  const { directory } = config;
  await licences.add({ transaction: copyBytes(transaction), secret: copyBytes(secret), designOf, directory, open });
}

async function onVault(
  { playbook, maintenance, checks, refusals, outbound, order, logger }: Parts,
  bytes: Uint8Array,
): Promise<void> {
  const message = decodeMessage(bytes);
  switch (message.type) {
    case 'want':
      return order.share(async () => {
        const refusal = await refusals.get(toHex(message.design));
        if (refusal !== undefined) {
          const refused = encodeMessage({ type: 'refused', design: message.design, from: message.from, ...refusal });
          return outbound.mail.send('segments', { type: 'vault', message: refused });
        }
        const instructions = await playbook.instruct(message);
        if (instructions === undefined) throw new MillraceError('E_UNAVAILABLE', 'a check of the vault is under way');
        const answer = encodeMessage(instructions);
        wipeMessage(instructions);
        await outbound.mail.send('segments', { type: 'vault', message: answer });
        wipe(answer);
      });
    case 'stored': {
      const outcome = await playbook.stored(message);
      if (outcome?.complete && !outcome.decoys) logger.info({ design: outcome.design }, 'design stored');
      return maintenance.answered(message);
    }
    case 'maintained':
      if (message.missing.length + message.damaged.length > 0) checks.soon();
      return maintenance.answered(message);
    case 'checked':
      return maintenance.answered(message);
    case 'refused':
      return logger.warn({ code: message.code, reason: message.reason }, 'the segments node refused a design');
    default:
      throw new MillraceError('E_INPUT', `the keys node takes no ${message.type}`);
  }
}

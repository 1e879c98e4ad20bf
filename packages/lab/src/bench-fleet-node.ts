import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, MillraceError, noMetrics, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import {
  addMailRoutes,
  answersInMemory,
  BoxRegistry,
  connectOutbound,
  createTlsServer,
  IdempotentAnswers,
  KeysStream,
  listen,
  Mailbox,
  type Outbound,
  PaceGuard,
  runDistributionNode,
  SegmentsStream,
  sliceMail,
} from '@millrace/cloud/parts';
import { createEngine } from '@millrace/live-matrix';
import {
  encodeControl,
  encodeStream,
  type LinkMessage,
  type Message,
  nodeOf,
  offerSession,
  type StreamParameters,
} from '@millrace/protocol';
import { MemoryRecords, openLmdb } from '@millrace/stores';
import { openSlots } from '@millrace/vault';
import { type Home, serveParent } from './bench-fleet-ipc.ts';
import {
  bindingOf,
  configOf,
  createCells,
  type FleetSetup,
  keysOf,
  parametersOf,
  timesOf,
} from './bench-fleet-setup.ts';

/*
 * One node of the fleet. Streams, relay, links and mail are the product's code. Users, permits and ledger are left out,
 * and cells and keys come from memory instead of the vault.
 */

const TICK_MS = 100;
const logger = silentLogger;

/** Control, reduced to the mailbox on its store, over HTTPS. */
async function startControl(fleet: FleetSetup): Promise<void> {
  const config = configOf(fleet, 'control');
  await mkdir(config.folder, { recursive: true });
  const lmdb = openLmdb({ path: join(config.folder, 'data') });
  const { directory } = fleet;
  const boxes = new BoxRegistry(lmdb.records('records'), directory);
  const mailbox = new Mailbox({
    queue: lmdb.queue('mail'),
    id: config.id,
    directory,
    identity: config.identity,
    boxes,
    clock: systemClock,
  });
  const server = createTlsServer({ directory: fleet.directory, tls: config.tls, logger, bodyLimit: 1 << 20 });
  const answers = await IdempotentAnswers.open(answersInMemory(), systemClock);
  const ownMail = {
    requireActive: () => undefined,
    receive: () => Promise.reject(new MillraceError('E_NOT_FOUND', 'this control reads no mail')),
  };
  addMailRoutes(server, { directory, mailbox, ownMail, boxes }, { answers });
  await listen(server, fleet.addresses.control);
}

async function outboundOf(
  fleet: FleetSetup,
  role: 'segments' | 'keys',
  onStream: (message: LinkMessage) => void,
): Promise<Outbound> {
  const { control, distribution } = fleet.addresses;
  const addresses = { control, distribution: { ...distribution, host: '127.0.0.1' } };
  const config = configOf(fleet, role);
  await mkdir(join(config.folder, 'data'), { recursive: true });
  const data = join(config.folder, 'data');
  const slots = {
    mail: await openSlots(join(data, 'mail.boxes')),
    ...(role === 'keys' && { attachments: await openSlots(join(data, 'attachments.boxes')) }),
  };
  const store = new MemoryRecords();
  return connectOutbound({ config, addresses, store, slots, clock: systemClock, logger, onStream });
}

function guardOf(fleet: FleetSetup, machine: string, { window }: StreamParameters): PaceGuard {
  return new PaceGuard({ tenthsOfMs: timesOf(fleet, machine), factor: 1, window, clock: systemClock });
}

const failed = (error: unknown) => {
  if (error !== undefined) process.stderr.write(`a stream ended: ${String(error)}\n`);
};

async function startSegments(fleet: FleetSetup): Promise<void> {
  const engine = createEngine();
  const cells = createCells();
  const streams = new Map<string, SegmentsStream>();
  const outbound = await outboundOf(fleet, 'segments', (message) => {
    if (message.kind === 'reverse') void streams.get(toHex(message.session))?.receive(message.payload);
  });
  const link = outbound.links.to(undefined);
  setInterval(() => {
    for (const stream of streams.values()) stream.tick();
  }, TICK_MS);
  await outbound.start(async (message: Message) => {
    if (message.type === 'stream.session') {
      const { session, permitId, seed, parameters } = message;
      const machine = parameters.object.slice(0, 32);
      link.send(encodeControl({ type: 'admit', permitId, machine }));
      link.send(encodeControl({ type: 'route', session, machine }));
      const stream = await SegmentsStream.open({
        session,
        permitId,
        seed,
        parameters,
        guard: guardOf(fleet, parameters.object, parameters),
        engine,
        clock: systemClock,
        logger,
        sendFrame: (frame) => link.send(encodeStream('frame', frame, session)),
        onFirstTaken: async () => undefined,
        onTelemetry: () => undefined,
        onEnd: failed,
      });
      streams.set(toHex(session), stream);
    } else if (message.type === 'stream.slices') {
      for (const { session, cells: places } of message.slices) {
        const stream = streams.get(session);
        for (const { segment } of places) stream?.addCell(segment, cells(segment));
      }
    }
  });
}

async function startKeys(fleet: FleetSetup): Promise<(home: Home) => Promise<void>> {
  const engine = createEngine();
  const streams = new Map<string, KeysStream>();
  const { links, mail } = await outboundOf(fleet, 'keys', (message) => {
    if (message.kind === 'reverse') void streams.get(toHex(message.session))?.receive(message.payload);
  });
  const link = links.to(undefined);
  const slices = sliceMail(mail);
  const segments = nodeOf(fleet.directory, 'segments').id;
  const { identity } = configOf(fleet, 'keys');
  return async ({ machine, key, ephemeral }) => {
    const session = systemRandom(16);
    const parameters = parametersOf(fleet, machine);
    const binding = bindingOf(machine, session);
    const licenceSecret = systemRandom(32);
    const { offer, seed, context } = await offerSession({
      binding,
      machineStatic: key,
      machineEphemeral: ephemeral,
      sender: identity,
      licenceSecret,
      parameters,
      core: new Uint8Array(),
      designSecret: undefined,
    });
    const permitId = toHex(systemRandom(16));
    await mail.send(
      { role: 'segments', partition: parameters.design },
      { type: 'stream.session', session, permitId, seed, parameters },
    );
    link.send(encodeControl({ type: 'offer', machine, permitId, offer }));
    const stream = await KeysStream.open({
      session,
      seed,
      parameters,
      context,
      guard: guardOf(fleet, machine, parameters),
      engine,
      clock: systemClock,
      logger,
      slice: async (from, to) => {
        const slice = Array.from({ length: to - from }, (_, i) => keyedCell(from + i));
        const cells = slice.map(({ segment, index }) => ({ segment, index }));
        await slices.add(segments, { session: toHex(session), cells });
        return slice;
      },
      hashes: async () => hashGroup,
      mailMix: (revision, secret) =>
        mail.send(
          { role: 'segments', partition: parameters.design },
          {
            type: 'stream.mix',
            session: toHex(session),
            revision: Number(revision),
            secret: new Uint8Array(secret),
          },
        ),
      send: (message) => link.send(message),
      onEnd: failed,
    });
    streams.set(toHex(session), stream);
  };
}

/** Hashes as long as a group of a design of 10,000 segments. The machines do not check them. */
const hashGroup = { hashes: new Uint8Array(2_048), path: Array.from({ length: 8 }, () => new Uint8Array(32)) };

function keyedCell(segment: number): { segment: number; index: Bytes; outerKey: Bytes; cek: Bytes } {
  const keys = keysOf(segment);
  return { segment, index: systemRandom(20), outerKey: keys.slice(0, 32), cek: keys.slice(32) };
}

let onHome: ((home: Home) => Promise<void>) | undefined;
serveParent(async (message) => {
  if (message.type === 'home') {
    await onHome?.(message);
    return undefined;
  }
  if (message.type !== 'node') throw new Error(`not for a node: ${message.type}`);
  const { role, fleet } = message;
  if (role === 'control') await startControl(fleet);
  if (role === 'distribution') {
    const config = configOf(fleet, 'distribution');
    await mkdir(config.folder, { recursive: true });
    const modules = { clock: systemClock, logger, metrics: noMetrics };
    await runDistributionNode({ config, addresses: fleet.addresses }, modules);
  }
  if (role === 'segments') await startSegments(fleet);
  if (role === 'keys') onHome = await startKeys(fleet);
  return { type: 'ready' };
});

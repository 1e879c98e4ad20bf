import { type Bytes, copyBytes, decodeCbor, encodeCbor, fromHex, sleep, systemRandom } from '@millrace/base';
import { generateP256Key, parseSign1 } from '@millrace/identity';
import {
  acceptSession,
  decodeLink,
  encodeControl,
  encodeStream,
  type LinkControl,
  nodeOf,
  offerSession,
  type PermitRequest,
  sha256,
} from '@millrace/protocol';
import {
  answerOf,
  expectBeginning,
  expectTaken,
  type Licensed,
  licensed,
  outcomeOf,
  permitted,
  printed,
} from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { callOf, type HostileRelay, ownRelay, withDocument } from '@millrace/testkit/adversary/hostile-relay';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import { denialOnly, held, limit, type Position } from '@millrace/testkit/adversary/position';
import { order, untilEnded } from '@millrace/testkit/job';
import { filesOf, scan } from '@millrace/testkit/scan';
import { expect } from 'vitest';

type Offer = Extract<LinkControl, { type: 'offer' }>;

interface TestInstallation extends HostileInstallation {
  readonly job: Licensed;
  readonly relay: HostileRelay;
}

async function open(): Promise<TestInstallation> {
  const system = await openHostileInstallation();
  const relay = ownRelay(system.nodes.distribution.relay);
  return { ...system, relay, job: await licensed(system, 40) };
}

/** A call of the distribution node to control. */
const asDistribution = (system: TestInstallation, path: string, body: Uint8Array) =>
  answerOf(system.call('control', 'distribution', { method: 'POST', path, body }));

/** Prints while the relay meddles. Checks that what the machine executed is a prefix of the design. */
async function meddled(system: TestInstallation, meddle: HostileRelay['meddle'], limitMs = 20_000) {
  const agent = await system.agent(undefined, { settings: { stallMs: 400, giveUpMs: 3_000 } });
  system.relay.meddle = meddle;
  const view = await printed(system, system.job.licence, limitMs).finally(() => system.relay.behave());
  await agent.close();
  const taken = expectBeginning(agent, system.job.content);
  expect(taken === system.job.content.length).toBe(view.state === 'completed');
  return view;
}

const FRAME = 2;
const KEY = 3;
/** The offset of the payload in a node's message. */
const PAYLOAD = 17;

/** Changes the `which`-th message of a kind. */
function nth(kind: number, which: number, change: (bytes: Bytes) => readonly Bytes[]): HostileRelay['meddle'] {
  let count = 0;
  return (leg, bytes) => (leg !== 'from machine' && bytes[0] === kind && count++ === which ? change(bytes) : [bytes]);
}

const flipped = (bytes: Bytes, at: number): Bytes => {
  const changed = copyBytes(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
};

/** Holds one message back and forwards it after the next of its kind. */
function swapped(kind: number, which: number): HostileRelay['meddle'] {
  let kept: Bytes | undefined;
  let count = 0;
  return (leg, bytes) => {
    if (leg === 'from machine' || bytes[0] !== kind) return [bytes];
    if (count++ === which) {
      kept = bytes;
      return [];
    }
    const late = kept === undefined ? [] : [kept];
    kept = undefined;
    return [bytes, ...late];
  };
}

/** The hash of the opening's documents, to which both ends of a session are bound. All of them passed this node. */
async function openingOf(system: TestInstallation, permitId: string): Promise<{ openingHash: Bytes; licence: string }> {
  const { records } = system.nodes.control.context;
  for await (const [, record] of records.prints.list()) {
    if (record.permit?.permitId !== permitId) continue;
    const { transaction } = await records.licences.require(record.licence);
    const { bytes, request } = record.permit;
    const documents = [bytes, request, record.transaction, transaction];
    return { openingHash: sha256(...documents.map((document) => sha256(document))), licence: record.licence };
  }
  throw new Error(`no permit ${permitId}`);
}

/** Offers the machine the attacker's session instead of the keys node's. */
async function ownOffer(
  system: TestInstallation,
  { machine, permitId, offer }: Offer,
  serial: string,
  request: PermitRequest,
) {
  const parameters = {
    object: `${system.job.licence}-1`,
    design: system.job.design,
    designNonce: systemRandom(16),
    segments: 1,
    from: 0,
    size: 1_000,
    window: 1,
    order: 16 as const,
    suite: 'keccak256' as const,
    hints: 'dense' as const,
    layer: 'ctr' as const,
    revisionMs: 100,
  };
  const { offer: own } = await offerSession({
    binding: { ...(await openingOf(system, permitId)), session: offer.session, serial },
    machineStatic: (await system.nodes.control.context.records.machines.require(machine)).registration.publicKey,
    machineEphemeral: request.ephemeral,
    sender: generateP256Key(),
    licenceSecret: systemRandom(32),
    parameters,
    core: new Uint8Array(100),
    designSecret: undefined,
  });
  system.relay.toMachine(machine, encodeControl({ type: 'offer', machine, permitId, offer: own }));
}

export const distribution: Position<TestInstallation> = {
  name: 'distribution',
  holds: 'the distribution node: its TLS key, its links to machines and nodes, every upload; code of its own',
  open,
  close: (system) => system.close(),
  attacks: {
    read: [
      held(
        'keeps all that it relays, and its folder',
        'hints, sealed keys and sealed segments only',
        async (system) => {
          const from = system.relay.seen.length;
          const agent = await system.agent();
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          const relayed = system.relay.seen.slice(from).map(({ leg, bytes }) => ({ name: leg, bytes }));
          expect(relayed.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThan(system.job.content.length);
          const folder = system.installation.layout.node('distribution');
          expect(scan([...relayed, ...filesOf(folder)], system.job.content)).toEqual([]);
          expect(scan([{ name: 'machine', bytes: agent.executed() }], system.job.content)).not.toEqual([]);
        },
      ),
      held(
        'puts a key of its own in the machine’s request for a session',
        'the request is signed by the machine',
        async (system) => {
          const before = await permitted(system, system.job);
          const refused = await meddled(
            system,
            (leg, bytes) => {
              const call = leg === 'from machine' ? callOf(bytes) : undefined;
              if (call?.method !== 'call-home') return [bytes];
              const { publicKey } = generateP256Key();
              return [
                withDocument(call, (document) => {
                  // The ephemeral point is the only run of 65 bytes that starts with 4.
                  const at = Buffer.from(document).indexOf(Buffer.from([0x58, 0x41, 0x04])) + 2;
                  const changed = copyBytes(document);
                  changed.set(publicKey, at);
                  return changed;
                }),
              ];
            },
            2_500,
          ).catch((error: Error) => error.message);
          // The print stays queued: nothing was permitted for the forged request.
          expect(String(refused)).toContain('"state":"queued"');
          expect(await permitted(system, system.job)).toBe(before);
          await finishQueue(system);
        },
      ),
    ],
    alter: [
      held(
        'flips, drops, repeats and swaps frames and keys',
        'MAC over each frame, order and AEAD of keys, segment number in both: what is executed is the owner’s or nothing',
        async (system) => {
          const attacks: Record<string, HostileRelay['meddle']> = {
            'a hint flipped': nth(FRAME, 2, (bytes) => [flipped(bytes, PAYLOAD + 200)]),
            'a header flipped': nth(FRAME, 2, (bytes) => [flipped(bytes, PAYLOAD + 33)]),
            'a frame dropped': nth(FRAME, 2, () => []),
            'a frame repeated': nth(FRAME, 2, (bytes) => [bytes, bytes]),
            'frames swapped': swapped(FRAME, 1),
            'a key flipped': nth(KEY, 2, (bytes) => [flipped(bytes, PAYLOAD + 40)]),
            'a key dropped': nth(KEY, 2, () => []),
            'a key repeated': nth(KEY, 2, (bytes) => [bytes, bytes]),
            'keys swapped': swapped(KEY, 1),
          };
          const ends: Record<string, string> = {};
          for (const [name, meddle] of Object.entries(attacks)) {
            const { state, code } = await meddled(system, meddle);
            ends[name] = state === 'completed' ? state : `${state} ${code}`;
          }
          for (const end of Object.values(ends))
            expect(end).toMatch(/^(completed|failed E_(FRAME_[A-Z]+|SEAL|STARVED))$/);
          expect(ends['a hint flipped']).toBe('failed E_FRAME_MAC');
          expect(ends['a key flipped']).toBe('failed E_SEAL');
        },
      ),
      held(
        'sends frames of an earlier print of the same design',
        'every session has a seed of its own',
        async (system) => {
          const old = system.relay.seen.filter(({ message }) => message.kind === 'frame').slice(0, 6);
          expect(old).toHaveLength(6);
          let count = 0;
          const view = await meddled(system, (leg, bytes) => {
            if (leg !== 'from segments' || bytes[0] !== FRAME) return [bytes];
            const frame = old[count++]?.bytes.subarray(PAYLOAD);
            return frame === undefined ? [bytes] : [encodeStream('frame', frame, bytes.slice(1, PAYLOAD))];
          });
          expect(count).toBeGreaterThan(old.length - 1);
          expect(view.state).toMatch(/^(completed|failed)$/);
        },
      ),
      held(
        'offers the machine a session of its own, with content of its own',
        'an offer opens with the keys node’s key, which the machine’s directory pins',
        async (system) => {
          let request: PermitRequest | undefined;
          let offered = 0;
          const { serial } = (await callAsMachine(system, SITE)).config;
          const view = await meddled(system, (leg, bytes) => {
            const call = leg === 'from machine' ? callOf(bytes) : undefined;
            if (call?.method === 'call-home') {
              const { request: document } = decodeCbor(copyBytes(call.body), 'call') as { request: Uint8Array };
              request = decodeCbor(parseSign1(document).payload, 'request') as unknown as PermitRequest;
            }
            const link = leg === 'from keys' ? decodeLink(bytes, true) : undefined;
            if (link?.kind !== 'control' || link.message.type !== 'offer' || request === undefined) return [bytes];
            offered++;
            void ownOffer(system, link.message, serial, request);
            return [];
          });
          expect(offered).toBeGreaterThan(0);
          expect(view).toMatchObject({ state: 'failed', code: 'E_SEAL' });
        },
      ),
    ],
    more: [
      held(
        'sends old calls and old streams again',
        'a call counts once and gets the same answer; a session opens with keys that are gone',
        async (system) => {
          const before = await permitted(system, system.job);
          const homes = system.relay.seen.flatMap(({ leg, bytes }) => {
            const call = leg === 'from machine' ? callOf(bytes) : undefined;
            return call?.method === 'call-home' ? [call.body] : [];
          });
          expect(homes.length).toBeGreaterThan(3);
          for (const body of homes)
            await asDistribution(system, `/v1/machines/${system.machine}/call-home`, new Uint8Array(body));
          expect(await permitted(system, system.job)).toBe(before);
          const agent = await system.agent();
          await sleep(300);
          for (const { leg, bytes } of [...system.relay.seen])
            if (leg !== 'from machine')
              system.relay.toMachine(
                system.machine,
                bytes[0] === 1 ? bytes : Buffer.concat([bytes.subarray(0, 1), bytes.subarray(PAYLOAD)]),
              );
          await sleep(500);
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect(await permitted(system, system.job)).toBe(before);
        },
      ),
    ],
    elsewhere: [
      held(
        'gives another machine the whole session, and the permit',
        'a session opens with the static and the ephemeral key of the permitted machine',
        async (system) => {
          const from = system.relay.seen.length;
          const agent = await system.agent();
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          const messages = system.relay.seen.slice(from);
          const offer = messages
            .flatMap(({ message }) =>
              message.kind === 'control' && message.message.type === 'offer' ? [message.message] : [],
            )
            .at(-1);
          if (offer === undefined) throw new Error('no offer was relayed');
          // The other machine's owner tries the real documents with their own keys.
          const thief = await callAsMachine(system, ELSEWHERE);
          try {
            const opening = await openingOf(system, offer.permitId);
            const open = acceptSession({
              binding: { ...opening, session: offer.offer.session, serial: agent.config.serial },
              offer: offer.offer,
              machineKey: thief.config.machineKey,
              ephemeral: generateP256Key(),
              sender: fromHex(nodeOf(system.installation.directory, 'keys').identity),
            });
            expect(await outcomeOf(open)).toBe('E_SEAL');
          } finally {
            thief.close();
          }
        },
      ),
    ],
    forge: [
      held('invents reports, and changes the machine’s', 'a report is the machine’s signature', async (system) => {
        const agent = await system.agent();
        let reported: Bytes | undefined;
        system.relay.meddle = (leg, bytes) => {
          const call = leg === 'from machine' ? callOf(bytes) : undefined;
          if (call?.method !== 'report') return [bytes];
          reported ??= new Uint8Array(call.body);
          return [bytes];
        };
        const view = await printed(system, system.job.licence);
        system.relay.behave();
        await agent.close();
        if (reported === undefined) throw new Error('no report passed');
        const path = `/v1/machines/${system.machine}/report`;
        for (let at = 20; at < reported.length; at += 11)
          expect(await asDistribution(system, path, flipped(reported, at))).not.toBe('accepted');
        const thief = await callAsMachine(system, ELSEWHERE);
        const forged = encodeCbor({ report: await thief.report(view.object ?? '', 'completed') });
        thief.close();
        expect(await asDistribution(system, path, forged)).toMatch(/^E_(AUTH|SIGNATURE)$/);
      }),
    ],
    tenants: [
      held(
        'looks through the uploads of everybody',
        'what is uploaded was sealed by its owner before',
        async (system) => {
          const theirs = await licensed(system, 1, 3);
          const folder = system.installation.layout.node('distribution');
          expect(
            scan(
              [...filesOf(folder), ...system.relay.seen.map(({ leg, bytes }) => ({ name: leg, bytes }))],
              theirs.content,
            ),
          ).toEqual([]);
        },
      ),
      limit(
        'counts what passes',
        'whoever relays sees who prints what when, and how much of it: designs’ ids and sizes, licences, serial numbers, materials',
        async (system) => {
          const from = system.relay.seen.length;
          const agent = await system.agent();
          await printed(system, system.job.licence);
          await agent.close();
          const frames = system.relay.seen.slice(from).filter(({ message }) => message.kind === 'frame');
          expect(frames).toHaveLength(6);
          const home = system.relay.seen
            .slice(from)
            .map(({ leg, bytes }) => (leg === 'from machine' ? callOf(bytes) : undefined));
          const request = home.find((call) => call?.method === 'call-home')?.body;
          expect(Buffer.from(request ?? []).includes(agent.config.serial)).toBe(true);
        },
      ),
    ],
    deny: [
      held(
        'mails alarms, ends and refusals to the other nodes',
        'control takes from each node only what is that node’s to say; the seals of mail name its sender',
        async (system) => {
          for (const recipient of ['control', 'keys', 'segments']) {
            const path = `/v1/mailbox/${recipient}-1?id=hostile`;
            expect(await asDistribution(system, path, systemRandom(200))).toBe('E_FORBIDDEN');
          }
        },
      ),
      denialOnly(
        'relays nothing',
        'nobody can be made to relay; prints wait, counts stay, and all goes on afterwards',
        async (system) => {
          const before = await permitted(system, system.job);
          const agent = await system.agent(undefined, { timing: { callMs: 500 } });
          system.relay.meddle = () => [];
          const print = await order(system, system.operator, system.job.licence);
          await sleep(1_500);
          expect(await system.operator.api.print(print)).toMatchObject({ state: 'queued' });
          expect(await permitted(system, system.job)).toBe(before);
          system.relay.behave();
          expect(await untilEnded(system.operator, print, 20_000)).toMatchObject({ state: 'completed' });
          await agent.close();
          expectTaken(agent, system.job.content);
        },
      ),
    ],
  },
};

/** Makes the prints still queued for the machine. */
async function finishQueue(system: TestInstallation): Promise<void> {
  const agent = await system.agent();
  const queued = (await system.operator.api.prints()).filter(({ state }) => state === 'queued');
  for (const { print } of queued) await untilEnded(system.operator, print, 20_000);
  await agent.close();
}

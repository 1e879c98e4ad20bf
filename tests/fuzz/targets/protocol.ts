import { createCipheriv } from 'node:crypto';
import {
  type Bytes,
  bytesOf,
  concatBytes,
  copyBytes,
  decodeCbor,
  decodeCborMap,
  encodeCbor,
  equalBytes,
  fromHex,
  MillraceError,
  parse,
  u32be,
  utf8,
} from '@millrace/base';
import { createNumberedSealing, generateP256Key, keyId, parseSign1 } from '@millrace/identity';
import {
  acceptSession,
  createOwnerSealing,
  decodeKey,
  decodeLink,
  encodeControl,
  encodeKey,
  encodeMail,
  encodeStream,
  type Message,
  type OwnerState,
  offerSession,
  openMessage,
  openOwnerState,
  openTelemetry,
  readBoxKey,
  readTransaction,
  type StreamParameters,
  sealMail,
  sealTelemetry,
  sealToBox,
  sessionOfferSchema,
  signBoxKey,
  signMachineDocument,
  signTransaction,
  verifyMachineDocument,
  verifyOpening,
  verifyPermit,
  verifyTransaction,
} from '@millrace/protocol';
import { encodeLoosely, mutate, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Target } from '@millrace/testkit/fuzz/target';
import { boxOf, createOpening, createProtocolFixture, dated, NOW } from '@millrace/testkit/protocol/support';
import { z } from 'zod';

const OBJECT = `${'2'.repeat(32)}-1`;

/** Encoding the result again gives the same bytes. */
const writtenAgain = (result: unknown, input: Bytes) => equalBytes(encodeCbor(result as never), input);

/** The messages between the nodes and the machine. */
export async function protocolTargets(): Promise<Target[]> {
  const fixture = createProtocolFixture();
  const { keys, directory } = fixture;
  const { installation } = directory;
  const opening = await createOpening(fixture);
  const lookup =
    (...known: readonly { publicKey: Bytes }[]) =>
    (id: Bytes) =>
      known.find(({ publicKey }) => equalBytes(keyId(publicKey), id))?.publicKey;
  const users = lookup(keys.owner, keys.holder, keys.admin);
  const transactions = [
    opening.licence,
    opening.print,
    await signTransaction(keys.admin, installation, { type: 'machine.register', ...dated(), machine: fixture.machine }),
    await signTransaction(keys.admin, installation, {
      type: 'machine.assign',
      ...dated(),
      ...{
        machine: fixture.machine.machine,
        registration: new Uint8Array(32),
        organisation: fixture.design,
        number: 7,
      },
    }),
    await signTransaction(keys.holder, installation, {
      type: 'group.set',
      ...dated(),
      ...{ organisation: fixture.design, group: fixture.design, kind: 'site', name: 'Graz', address: 'Kai 1' },
      ...{ number: 7, machines: [fixture.machine.machine] },
    }),
    await signTransaction(keys.owner, installation, { type: 'design.delete', ...dated(), design: fixture.design }),
    await signTransaction(keys.owner, installation, {
      type: 'design.maintenance',
      ...dated(),
      design: fixture.design,
      mode: 'delta',
    }),
    await signTransaction(keys.holder, installation, { type: 'print.first', ...dated(), print: fixture.design }),
    await signTransaction(keys.holder, installation, { type: 'print.cancel', ...dated(), print: fixture.design }),
    await signTransaction(keys.owner, installation, { type: 'alarm.clear', ...dated(), object: OBJECT }),
    await signTransaction(keys.owner, installation, {
      type: 'licence.resume',
      ...dated(),
      licence: fixture.design,
      restore: fixture.design,
      objects: 3,
    }),
    ...(await Promise.all(
      (['licence.suspend', 'licence.reinstate'] as const).map((type) =>
        signTransaction(keys.owner, installation, { type, ...dated(), licence: fixture.design, number: 7 }),
      ),
    )),
    await signTransaction(keys.owner, installation, {
      type: 'licence.revoke',
      ...dated(),
      licence: fixture.design,
      number: 8,
      stop: true,
    }),
  ].map(copyBytes);
  const report = await signMachineDocument(keys.machine, installation, {
    type: 'report',
    ...dated(),
    object: OBJECT,
    run: new Uint8Array(16),
    event: 'failed',
    facts: {
      serial: 's',
      material: 'PLA',
      segments: 1,
      code: 'E_ALARM',
      sealed: new Uint8Array(213),
    },
  });
  const payloads = transactions.map((one) => decodeCbor(parseSign1(one).payload, 'payload'));
  const documents: Target[] = [
    {
      name: 'cbor',
      samples: [
        encodeCbor({ a: [1, -1, 'x', null, true, 1.5], b: new Uint8Array(40), c: { d: 2 ** 40 } }),
        encodeCbor([1, [2, [3]]]),
      ],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => decodeCbor(input, 'x'),
      accepts: writtenAgain,
    },
    {
      name: 'cbor with maps',
      samples: [
        encodeCbor(
          new Map([
            [1, -7],
            [4, 3],
          ]),
        ),
        encodeCbor([new Map(), new Uint8Array(3)]),
      ],
      cost: 'cheap',
      codes: ['E_SIGNATURE'],
      decode: (input) => decodeCborMap(input, 'x', 'E_SIGNATURE'),
      accepts: writtenAgain,
    },
    {
      name: 'COSE_Sign1',
      samples: transactions,
      cost: 'cheap',
      codes: ['E_SIGNATURE'],
      decode: parseSign1,
      accepts: 'any',
    },
    {
      name: 'transaction, unsigned',
      samples: transactions,
      cost: 'cheap',
      codes: ['E_SIGNATURE', 'E_INPUT'],
      make: (random) => {
        const at = random.below(transactions.length);
        const parts = decodeCborMap((transactions[at] as Bytes).subarray(1), 'x') as unknown[];
        const payload = encodeLoosely(mutateValue(payloads[at], random));
        return concatBytes(Uint8Array.of(0xd2), encodeCbor([parts[0], {}, payload, parts[3]] as never));
      },
      decode: readTransaction,
      accepts: 'any',
    },
    {
      name: 'transaction, its signature verified',
      samples: transactions,
      cost: 'dear',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT'],
      decode: (input) => verifyTransaction(input, installation, users, NOW),
      accepts: 'samples',
    },
    {
      name: 'machine document',
      samples: [copyBytes(opening.request), report],
      cost: 'middling',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT'],
      decode: (input) => verifyMachineDocument(input, installation, lookup(keys.machine), NOW),
      accepts: 'samples',
    },
    {
      name: 'box key',
      samples: [copyBytes(await signBoxKey(keys.segments, installation, boxOf('segments').body))],
      cost: 'middling',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT'],
      decode: (input) => readBoxKey(directory, { node: 'segments-1', use: 'mail' }, input, NOW),
      accepts: 'samples',
    },
    {
      name: 'permit',
      samples: [copyBytes(opening.permit)],
      cost: 'middling',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT', 'E_PERMIT'],
      decode: (input) => verifyPermit(input, installation, lookup(keys.permit), NOW),
      accepts: 'samples',
    },
  ];
  return [
    ...documents,
    openingTarget(),
    ...(await mailTargets()),
    ...linkTargets(),
    ...(await sessionTargets()),
    ...telemetryTargets(),
    ...(await ownerTargets()),
  ];

  /** The first byte selects which of the four documents is changed. */
  function openingTarget(): Target {
    const parts = ['permit', 'request', 'print', 'licence'] as const;
    return {
      name: 'opening of a stream',
      samples: parts.map((part, i) => concatBytes(Uint8Array.of(i), opening[part])),
      cost: 'dear',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT', 'E_PERMIT', 'E_NOT_FOUND', 'E_LICENCE_INVALID', 'E_MACHINE_UNKNOWN'],
      decode: (input) =>
        verifyOpening(
          { ...opening, [parts[(input[0] ?? 0) & 3] ?? 'permit']: input.subarray(1) },
          {
            directory,
            now: NOW,
            designOf: async () => ({ owner: keys.owner.publicKey, coreHash: fixture.coreHash }),
            begun: async () => false,
            credits: async () => 0,
          },
        ),
      // Only the lowest bits of the first byte count.
      accepts: (_, input) => parts.some((part) => equalBytes(copyBytes(opening[part]), input.subarray(1))),
    };
  }

  async function mailTargets(): Promise<Target[]> {
    const design = fixture.design;
    const session = { session: new Uint8Array(16), permitId: '0'.repeat(32), seed: new Uint8Array(32), parameters };
    const messages = {
      control: [
        {
          type: 'design.add' as const,
          transaction: transactions[0] as Bytes,
          credential: transactions[0] as Bytes,
          manifest: new Uint8Array(9),
        },
        { type: 'design.repair' as const, design, repair: design, segments: [1, 2, 3] },
        { type: 'box.drained' as const, use: 'mail' as const, below: 7 },
      ],
      keys: [
        {
          type: 'stream.slices' as const,
          slices: [{ session: '0'.repeat(32), cells: [{ segment: 1, index: new Uint8Array(20) }] }],
        },
        { type: 'stream.session' as const, ...session },
        { type: 'stream.mix' as const, session: '0'.repeat(32), revision: 64, secret: new Uint8Array(32) },
        { type: 'vault.sealed' as const, point: new Uint8Array(65), sealed: new Uint8Array(3) },
        { type: 'vault.renew' as const },
      ],
    };
    const { body: key, secrets: boxes } = boxOf('segments');
    const recipient = { id: 'segments-1', boxes };
    const ofSender = async (role: keyof typeof messages): Promise<Target[]> => {
      const info = utf8(`millrace/v1/mail/${installation}/${role}-1/segments-1`);
      const sender = { id: `${role}-1`, identity: keys[role] };
      const own: readonly Message[] = messages[role];
      const sealed = await Promise.all(own.map((message) => sealMail(directory, sender, key, encodeMail(message))));
      const open = (input: Bytes) => openMessage(directory, recipient, `${role}-1`, input);
      return [
        {
          name: `mail of ${role}`,
          samples: sealed,
          cost: 'very dear',
          codes: ['E_SEAL', 'E_BOX_KEY'],
          decode: open,
          accepts: 'samples',
        },
        {
          name: `mail of a ${role} node that says what it likes`,
          samples: sealed,
          make: (random) =>
            sealToBox(key, info, encodeLoosely(mutateValue(random.pick(own), random)), { sender: keys[role] }),
          cost: 'very dear',
          codes: ['E_SEAL', 'E_BOX_KEY', 'E_INPUT', 'E_FORBIDDEN'],
          decode: open,
          accepts: 'any',
        },
      ];
    };
    return [...(await ofSender('control')), ...(await ofSender('keys'))];
  }

  function linkTargets(): Target[] {
    const id = new Uint8Array(16).fill(7);
    const offer = {
      session: id,
      ephemeral: keys.keys.publicKey,
      enc: keys.keys.publicKey,
      sealed: new Uint8Array(300),
    };
    const messages = [
      { type: 'call' as const, call: 1, method: 'next' as const, body: new Uint8Array(4) },
      { type: 'answer' as const, call: 1, body: new Uint8Array(4) },
      { type: 'error' as const, call: 1, code: 'E_INPUT', message: 'm' },
      { type: 'offer' as const, machine: '0'.repeat(32), permitId: '1'.repeat(32), offer },
      { type: 'admit' as const, permitId: '1'.repeat(32), machine: '0'.repeat(32) },
      { type: 'route' as const, session: id, machine: '0'.repeat(32) },
      { type: 'mix' as const, session: id, revision: 64, sealed: new Uint8Array(81) },
      { type: 'hashes' as const, session: id, group: 1, hashes: new Uint8Array(64), path: [new Uint8Array(32)] },
      { type: 'end' as const, session: id, code: 'E_ALARM', reason: 'r' },
      { type: 'lost' as const, session: id, who: 'keys' as const },
    ];
    const controls = messages.map(encodeControl);
    const make = (random: Parameters<NonNullable<Target['make']>>[0]) =>
      concatBytes(Uint8Array.of(1), encodeLoosely(mutateValue(random.pick(messages), random)));
    const link = (addressed: boolean): Target => ({
      name: addressed ? 'link of a node' : 'link of a machine',
      samples: [
        ...controls,
        ...(['frame', 'key', 'reverse'] as const).map((kind) =>
          encodeStream(kind, new Uint8Array(50), addressed ? id : undefined),
        ),
      ],
      make,
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => decodeLink(input, addressed),
      accepts: (result, input) => {
        const message = result as ReturnType<typeof decodeLink>;
        return equalBytes(
          message.kind === 'control'
            ? encodeControl(message.message)
            : encodeStream(message.kind, message.payload, addressed ? message.session : undefined),
          input,
        );
      },
    });
    const key: Target = {
      name: 'key on a link',
      samples: [encodeKey(3, new Uint8Array(80)), encodeKey(3, new Uint8Array(112))],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: decodeKey,
      accepts: (result, input) => {
        const { segment, sealed } = result as ReturnType<typeof decodeKey>;
        return equalBytes(encodeKey(segment, sealed), input);
      },
    };
    return [link(true), link(false), key];
  }

  async function sessionTargets(): Promise<Target[]> {
    const binding = { openingHash: new Uint8Array(32), session: new Uint8Array(16).fill(3), licence: 'l', serial: 's' };
    const { offer, context } = await offerSession({
      binding,
      machineStatic: keys.machine.publicKey,
      machineEphemeral: keys.ephemeral.publicKey,
      licenceSecret: new Uint8Array(32),
      parameters,
      sender: keys.keys,
      core: new Uint8Array(300),
      designSecret: new Uint8Array(32),
    });
    void context;
    const schema = z.strictObject({ offer: sessionOfferSchema });
    return [
      {
        name: 'offer of a session',
        samples: [encodeCbor({ offer })],
        make: (random) => encodeLoosely(mutateValue({ offer }, random)),
        cost: 'very dear',
        codes: ['E_SEAL', 'E_INPUT'],
        decode: (input) => {
          const { offer: given } = parse(schema, decodeCbor(input, 'offer'), 'offer');
          if (!equalBytes(copyBytes(given.session), binding.session))
            throw new MillraceError('E_INPUT', 'another session');
          const own = { machineKey: keys.machine, ephemeral: keys.ephemeral };
          return acceptSession({ binding, offer: given, ...own, sender: keys.keys.publicKey });
        },
        accepts: 'samples',
      },
    ];
  }
}

const parameters: StreamParameters = {
  object: OBJECT,
  design: '0'.repeat(32),
  designNonce: new Uint8Array(16),
  segments: 3,
  from: 0,
  size: 40_000,
  window: 4,
  order: 16,
  suite: 'keccak256',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1_000,
};

const telemetryField = z.strictObject({ key: bytesOf(32) });

function telemetryTargets(): Target[] {
  const { key } = telemetryField.parse({ key: fromHex('07'.repeat(32)) });
  const machine = {
    state: 'running' as const,
    temperatures: { hotend: 200, bed: 60 },
    buffer: 1.5,
    wire: 1,
    hints: 1,
  };
  const told = [
    { acked: 3, ready: 2n, machine, sealed: new Uint8Array(213) },
    { acked: 3, ready: 2n, resend: [1, 2], mix: new Uint8Array(65) },
  ];
  /** Like `sealTelemetry`, for any bytes. */
  const sealed = (plain: Uint8Array): Bytes => {
    const cipher = createCipheriv('aes-256-gcm', key, concatBytes(new Uint8Array(8), u32be(5)));
    return concatBytes(cipher.update(plain), cipher.final(), cipher.getAuthTag());
  };
  const samples = told.map((one) => sealTelemetry(key, 5, one));
  const decode = (input: Bytes) => openTelemetry(key, 5, input);
  return [
    { name: 'telemetry', samples, cost: 'cheap', codes: ['E_SEAL'], decode, accepts: 'samples' },
    {
      name: 'telemetry of a machine that says what it likes',
      samples,
      make: (random) => sealed(encodeLoosely(mutateValue(random.pick(told), random))),
      cost: 'cheap',
      codes: ['E_SEAL', 'E_INPUT'],
      decode,
      accepts: 'any',
    },
  ];
}

/** What a machine seals to the owner. Anybody who knows the licence can seal, so the owner's client opens any bytes. */
async function ownerTargets(): Promise<Target[]> {
  const owner = generateP256Key();
  const binding = { installation: '1'.repeat(32), object: `${'2'.repeat(32)}-3` };
  const session = new Uint8Array(16).fill(4);
  const states: OwnerState[] = [
    { time: 1, bytes: 2, line: 3, layer: 4, position: [1.25, 2, 3], filament: 0.5 },
    { time: 1, bytes: 2, reason: 'r' },
  ];
  const sealing = await createOwnerSealing(owner.publicKey, binding, session);
  const samples = states.map((state) => sealing.seal(state));
  /** Like `createOwnerSealing`, for any bytes. */
  const info = concatBytes(
    utf8('millrace/v1/owner-state/'),
    fromHex(binding.installation),
    session,
    utf8(binding.object),
  );
  const anything = await createNumberedSealing(owner.publicKey, info);
  const decode = (input: Bytes) => openOwnerState(owner, binding, session, input);
  return [
    { name: 'state sealed to the owner', samples, cost: 'middling', codes: ['E_SEAL'], decode, accepts: 'samples' },
    {
      name: 'state sealed to the owner by who likes',
      samples,
      make: (random) => {
        const content = encodeLoosely(mutateValue(random.pick(states), random)).subarray(0, 60_000);
        const block = new Uint8Array(Math.ceil((2 + content.length) / 128) * 128);
        new DataView(block.buffer).setUint16(0, content.length);
        block.set(content, 2);
        return anything.seal(random.below(2) === 0 ? block : mutate([block], random));
      },
      cost: 'middling',
      codes: ['E_SEAL', 'E_INPUT'],
      decode,
      accepts: 'any',
    },
  ];
}

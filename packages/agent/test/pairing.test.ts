import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, fromHex, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import {
  createTlsKey,
  generateP256Key,
  generateUserKey,
  keyName,
  type MemorySigner,
  p256Key,
  tlsPublicKey,
} from '@millrace/identity';
import type { NewToken } from '@millrace/machine/admin';
import { loadMachineConfig } from '@millrace/machine/agent';
import {
  makeAnswer,
  makeOffer,
  openOffer,
  PAIRING_CODE_MS,
  type Pairing,
  type PairingKeys,
  type PairingOffer,
  pairingKeys,
  signPairing,
} from '@millrace/protocol';
import { createPeople } from '@millrace/testkit/protocol/people';
import { openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isPaired, type PairingStep, pair, startSite } from '../src/index.ts';
import { type Carried, CarryingControl, createCloud } from './hostile-control.ts';

// Hostile parties use real keys. Control is hostile in every way that its place allows.

const admin = generateUserKey();
const installation = toHex(systemRandom(16));
const people = createPeople({ admin, installation });
const cloud = await createCloud(admin, installation);

const found = await openSoftHsm();
if (typeof found === 'string') console.warn(`skipped: ${found}`);
const PIN = '161803';

let folder: string;
let control: CarryingControl;
let closing: (() => Promise<unknown>)[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace site '));
  control = await CarryingControl.start(cloud.authority);
  control.directory = cloud.signed;
  closing = [];
});
afterEach(async () => {
  for (const close of closing) await close();
  control.close();
  await rm(folder, { recursive: true, force: true });
});

/** Starts the pairing of a machine, as the agent does. */
function startAgent(now: () => number = systemClock.now, token?: NewToken) {
  const stop = new AbortController();
  const steps: PairingStep[] = [];
  const done = pair(
    { folder, cloud: control.address, everyMs: 5, token },
    {
      ...{ logger: silentLogger, clock: { ...systemClock, now }, random: systemRandom, signal: stop.signal },
      onStep: (step) => steps.push(step),
      onKey: () => undefined,
      onCloud: () => undefined,
    },
  );
  done.catch(() => undefined);
  const close = async () => {
    stop.abort(new Error('stopped'));
    await done.catch(() => undefined);
  };
  closing.push(close);
  const code = () => steps.findLast((step) => step.step === 'code')?.code;
  return { done, steps, code, close };
}

/** The code on the screen, its keys, and what control carries for it. */
async function shownBy(agent: ReturnType<typeof startAgent>): Promise<{ keys: PairingKeys; carried: Carried }> {
  for (;;) {
    const code = await control.until(() => agent.code());
    const keys = await pairingKeys(code);
    const carried = await control.until(() =>
      agent.code() === code ? control.carried.get(keys.id) : ('changed' as const),
    );
    if (carried !== 'changed') return { keys, carried };
  }
}

async function signedBy(
  signer: MemorySigner,
  { publicKey, tlsKey, token }: Pick<PairingOffer, 'publicKey' | 'tlsKey'> & { token?: PairingOffer['token'] },
): Promise<Bytes> {
  const now = systemClock.now();
  const pairing: Pairing = {
    ...{ type: 'machine.pair', id: systemRandom(16), issued: now, expires: now + 3_600_000, name: 'mini' },
    machine: {
      machine: keyName(publicKey),
      publicKey: new Uint8Array(publicKey),
      serial: 'S-7',
      kind: 'virtual',
      profile: { factor: 9 },
      ...(token && { token }),
    },
    ...{ tlsKey: new Uint8Array(tlsKey), material: 'PLA', driver: '{}' },
  };
  return signPairing(signer, installation, pairing);
}

const trust = {
  ...{ installation, adminKey: toHex(admin.publicKey), directory: 1 },
  distribution: { host: '127.0.0.1', port: 7_602 },
};

/** An honest operator enters the code. */
async function answerAs(
  { keys, carried }: { readonly keys: PairingKeys; readonly carried: Carried },
  signer: MemorySigner,
  credential: Bytes = new Uint8Array(),
  change: Partial<PairingOffer> = {},
): Promise<void> {
  const offered = { ...openOffer(keys, carried.offer, systemClock.now()), ...change };
  const document = await signedBy(signer, offered);
  carried.answer = makeAnswer(keys, carried.offer, { ...trust, document, credential });
}

const admitted = async (folder: string) => {
  const tlsKey = tlsPublicKey(new Uint8Array(await readFile(join(folder, 'tls.key.pem'))));
  const { machine } = await ownMachine(folder);
  return cloud.authority.certify({ role: 'machine', name: machine }, tlsKey, systemClock.now() + 86_400_000);
};

async function ownMachine(folder: string) {
  const tokenFile = await readFile(join(folder, 'token.json'), 'utf8').catch(() => undefined);
  if (tokenFile !== undefined) return { machine: keyName(fromHex(JSON.parse(tokenFile).publicKey)) };
  const key = p256Key(new Uint8Array(await readFile(join(folder, 'identity.key'))));
  return { machine: keyName(key.publicKey) };
}

describe('an agent that knows only an address', () => {
  it('is paired by an operator, admitted by the administrator, and then has a machine’s folder', async () => {
    const bureau = await people.organisation('Bureau', 'bureau');
    const operator = await people.person(bureau, 'Bea', ['operator']);
    const agent = startAgent();
    const shown = await shownBy(agent);
    expect(await isPaired(folder)).toBe(false);
    await answerAs(shown, operator.key, operator.credential);
    await control.until(() => agent.steps.find(({ step }) => step === 'admission'));
    expect(agent.steps.at(-1)).toEqual({ step: 'admission', name: 'mini', by: 'Bea (Bureau)' });
    // A restart of the agent and of control forgets nothing that matters.
    await agent.close();
    control.carried.clear();
    const restarted = startAgent();
    const carried = await control.until(() => control.carried.get(shown.keys.id));
    expect(carried.answer).toEqual(shown.carried.answer);
    expect(restarted.code()).toBeUndefined();
    carried.certificate = await admitted(folder);
    await restarted.done;
    const config = await loadMachineConfig(folder);
    expect(config).toMatchObject({ serial: 'S-7', kind: 'virtual', profile: { factor: 9 }, material: 'PLA' });
    expect(config.directory.adminKey).toBe(trust.adminKey);
    expect(await readdir(folder)).not.toContain('pairing.cbor');
  });

  it('shows another code when one has expired, and the old one opens nothing', async () => {
    let now = systemClock.now();
    const agent = startAgent(() => now);
    const first = await shownBy(agent);
    now += PAIRING_CODE_MS + 1;
    const next = await control.until(() =>
      agent.steps.filter(({ step }) => step === 'code').length > 1 ? agent.code() : undefined,
    );
    const { id } = await pairingKeys(next);
    expect(id).not.toBe(first.keys.id);
    await answerAs(first, admin);
    await control.until(() => control.carried.get(id));
    expect(agent.steps.every(({ step }) => step === 'code')).toBe(true);
  });
});

describe('a hostile control', () => {
  it('cannot give the operator keys of its own', async () => {
    const agent = startAgent();
    const { keys } = await shownBy(agent);
    const identity = generateP256Key();
    const tlsKey = tlsPublicKey(createTlsKey());
    const guessed = await pairingKeys('0000-0000-0000-0000');
    const forged = await makeOffer(guessed, identity, { tlsKey, expires: systemClock.now() + 1_000 });
    expect(() => openOffer(keys, forged, systemClock.now())).toThrow(expect.objectContaining({ code: 'E_AUTH' }));
  });

  it('cannot make the agent trust another cloud, nor an operator who did not see the code', async () => {
    const agent = startAgent();
    const shown = await shownBy(agent);
    const mallory = generateUserKey();
    const key = await readFile(join(folder, 'tls.key.pem'));
    const { publicKey } = openOffer(shown.keys, shown.carried.offer, systemClock.now());
    const document = await signedBy(mallory, { publicKey, tlsKey: tlsPublicKey(new Uint8Array(key)) });
    const guessed = await pairingKeys('0000-0000-0000-0000');
    const own = { ...trust, adminKey: toHex(mallory.publicKey), document, credential: new Uint8Array() };
    shown.carried.answer = makeAnswer(guessed, shown.carried.offer, own);
    // The agent replaces the code, so that control gets one attempt with each.
    await control.until(() => (control.newest === shown.keys.id ? undefined : control.newest));
    expect(agent.steps.map(({ step }) => step)).toEqual(['code', 'code']);
    expect(await isPaired(folder)).toBe(false);
  });

  it('cannot use the operator’s answer to another agent', async () => {
    const agent = startAgent();
    const shown = await shownBy(agent);
    const other = generateP256Key();
    const keys = await pairingKeys('1111-1111-1111-1111');
    const tlsKey = tlsPublicKey(createTlsKey());
    const offer = await makeOffer(keys, other, { tlsKey, expires: systemClock.now() + 60_000 });
    const document = await signedBy(admin, { publicKey: other.publicKey, tlsKey });
    shown.carried.answer = makeAnswer(keys, offer, { ...trust, document, credential: new Uint8Array() });
    await control.until(() => (control.newest === shown.keys.id ? undefined : control.newest));
    expect(agent.steps.every(({ step }) => step === 'code')).toBe(true);
  });

  it('cannot give the agent a certificate of another authority, machine or key, nor another cloud’s directory', async () => {
    const agent = startAgent();
    const shown = await shownBy(agent);
    await answerAs(shown, admin);
    await control.until(() => agent.steps.find(({ step }) => step === 'admission'));
    const { machine } = await ownMachine(folder);
    const name = { role: 'machine', name: machine } as const;
    const tlsKey = tlsPublicKey(new Uint8Array(await readFile(join(folder, 'tls.key.pem'))));
    const mallory = generateUserKey();
    const fake = await createCloud(mallory, installation);
    const until = systemClock.now() + 86_400_000;
    const wrong = [
      await fake.authority.certify(name, tlsKey, until),
      await cloud.authority.certify({ role: 'machine', name: 'ab'.repeat(16) }, tlsKey, until),
      await cloud.authority.certify(name, tlsPublicKey(createTlsKey()), until),
      'not a certificate',
    ];
    for (const certificate of wrong) {
      shown.carried.certificate = certificate;
      let calls = 0;
      await control.until(() => (++calls > 4 ? true : undefined));
      expect(await isPaired(folder)).toBe(false);
    }
    control.directory = fake.signed;
    shown.carried.certificate = await admitted(folder);
    let calls = 0;
    await control.until(() => (++calls > 4 ? true : undefined));
    expect(await isPaired(folder)).toBe(false);
    control.directory = cloud.signed;
    await agent.done;
    expect(await isPaired(folder)).toBe(true);
  });
});

describe('people who enter the code', () => {
  it('are refused by the agent unless they are operators of the cloud that they name', async () => {
    const brand = await people.organisation('Brand', 'brand');
    const designer = await people.person(brand, 'Dora', ['designer']);
    const agent = startAgent();
    const shown = await shownBy(agent);
    await answerAs(shown, designer.key, designer.credential);
    await control.until(() => (control.newest === shown.keys.id ? undefined : control.newest));
    expect(agent.steps.every(({ step }) => step === 'code')).toBe(true);
  });
});

describe.skipIf(typeof found === 'string')('an agent with a token of SoftHSM2', () => {
  const hsm = found as SoftHsm;
  let token: NewToken;
  let serial: string;
  beforeAll(async () => {
    ({ serial } = await hsm.addToken('site', PIN));
    token = { module: hsm.module, label: 'site', pinFile: await hsm.pinFile('pin', PIN) };
  });
  afterAll(() => hsm.close());
  const withToken = () => startAgent(systemClock.now, token);

  it('makes each machine’s key in the token, keeps it, and states the token in offer and registration', async () => {
    const first = withToken();
    const shown = await shownBy(first);
    const offered = openOffer(shown.keys, shown.carried.offer, systemClock.now());
    const softHsm = { manufacturer: 'SoftHSM project', model: 'SoftHSM v2', serial, hardware: false };
    expect(offered.token).toEqual(softHsm);
    await first.close();
    // The key was made; the agent uses it without being told of a token again.
    const agent = startAgent();
    const again = await shownBy(agent);
    expect(openOffer(again.keys, again.carried.offer, systemClock.now()).publicKey).toEqual(offered.publicKey);
    await answerAs(again, admin);
    again.carried.certificate = await control.until(() => again.carried.answer && admitted(folder));
    await agent.done;
    expect(await readdir(folder)).not.toContain('identity.key');
    const { machineKey } = await loadMachineConfig(folder);
    expect(machineKey).toMatchObject({ storage: 'pkcs11', publicKey: offered.publicKey, token: { identity: softHsm } });
    await machineKey.token?.check();
    machineKey.close();

    folder = join(folder, 'second');
    const other = withToken();
    const theirs = await shownBy(other);
    const { publicKey, token: same } = openOffer(theirs.keys, theirs.carried.offer, systemClock.now());
    expect(same).toEqual(softHsm);
    expect(publicKey).not.toEqual(offered.publicKey);
  });

  it('refuses an operator who states another grade of its key', async () => {
    const agent = withToken();
    const better = { manufacturer: 'ACME', model: 'HSM', serial, hardware: true };
    for (const stated of [undefined, better]) {
      const shown = await shownBy(agent);
      await answerAs(shown, admin, new Uint8Array(), { token: stated });
      await control.until(() => (control.newest === shown.keys.id ? undefined : control.newest));
    }
    expect(agent.steps.every(({ step }) => step === 'code')).toBe(true);
    await agent.close();
    folder = join(folder, 'in a file');
    const inFile = startAgent();
    const shown = await shownBy(inFile);
    await answerAs(shown, admin, new Uint8Array(), { token: better });
    await control.until(() => (control.newest === shown.keys.id ? undefined : control.newest));
    expect(inFile.steps.every(({ step }) => step === 'code')).toBe(true);
  });

  it('makes no key in a file while the token is missing, and says so after a while', async () => {
    const missing = { ...token, label: 'elsewhere' };
    const modules = { logger: silentLogger, clock: systemClock, random: systemRandom };
    const site = await startSite({ folder, cloud: control.address, token: missing, stuckMs: 1 }, modules);
    closing.push(() => site.close());
    await new Promise((resolve) => site.stuck.addEventListener('abort', resolve, { once: true }));
    expect(site.stuck.reason).toMatchObject({ code: 'E_HSM', message: expect.stringContaining('missing') });
    expect(site.machines).toMatchObject([{ slot: '1', state: { step: 'failed', error: { code: 'E_HSM' } } }]);
    expect(await readdir(join(folder, 'machines', '1'))).toEqual(['data']);
  });
});

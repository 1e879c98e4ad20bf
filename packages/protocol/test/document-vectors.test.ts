import { readFileSync } from 'node:fs';
import { decodeCbor, fromHex, toHex } from '@millrace/base';
import { keyName, p256Key, parseSign1, seal, userKey } from '@millrace/identity';
import { codeOf } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  type Admission,
  type Directory,
  encodePublished,
  holderParty,
  isLifeDocument,
  lifeName,
  linkName,
  type Machine,
  makeAnswer,
  makeOffer,
  openAnswer,
  openEvidence,
  openOffer,
  type PersonRole,
  pairingKeys,
  partyName,
  Revocations,
  readMachineDocument,
  readTransaction,
  recognisedCloud,
  requireApproved,
  requireNewest,
  signMachineDocument,
  signPairing,
  signRevocationList,
  signTransaction,
  signVisa,
  type TransactionOf,
  verifyAdmission,
  verifyAmendments,
  verifyCredit,
  verifyFor,
  verifyPairing,
  withList,
} from '../src/index.ts';

// Made by another implementation, vectors/protocol/make.py: these bytes do not come from the code that they test.

interface Documents {
  readonly anchor: { readonly installation: string; readonly adminKey: string };
  /** `body` holds the inputs; absent for a document of which one bit was changed. */
  readonly documents: Record<
    string,
    { secret: string; label: string; installation: string; body?: unknown; bytes: string; sha256: string }
  >;
  readonly credentials?: Record<string, string>;
}

/** Vectors, and the bytes of what they name. */
function load<T>(name: string) {
  const url = new URL(`../../../vectors/protocol/${name}.json`, import.meta.url);
  const vectors = JSON.parse(readFileSync(url, 'utf8')) as Documents & T;
  const bytes = (of: string) => fromHex(vectors.credentials?.[of] ?? vectors.documents[of]?.bytes ?? of);
  return { vectors, bytes };
}

/** `{"hex": …}` in a vector encodes bytes. */
function withBytes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withBytes);
  if (typeof value !== 'object' || value === null) return value;
  if ('hex' in value && typeof value.hex === 'string') return fromHex(value.hex);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withBytes(item)]));
}

const signers = {
  transaction: [userKey, signTransaction],
  revocations: [userKey, signRevocationList],
  'machine-pairing': [userKey, signPairing],
  'machine document': [p256Key, signMachineDocument],
  visa: [p256Key, signVisa],
} as const;

describe.each(['amendments', 'cases', 'acting', 'life', 'pairing', 'federation'])('documents of %s', (name) => {
  const { documents } = load(name).vectors;

  it('have the bytes of the other implementation', async () => {
    for (const [what, { secret, label, installation, body, bytes, sha256 }] of Object.entries(documents)) {
      if (body === undefined) continue;
      const [key, sign] = signers[label as keyof typeof signers];
      const input = withBytes(body);
      const own = await sign(key(fromHex(secret)), installation, input as never);
      // Node draws the nonces of P-256 signatures at random: all before the signature is the same.
      const end = key === p256Key ? -64 : undefined;
      expect(toHex(own.slice(0, end)), what).toBe(toHex(fromHex(bytes).slice(0, end)));
      expect(toHex(lifeName(fromHex(bytes))), what).toBe(sha256);
      expect(decodeCbor(parseSign1(own).payload, what), what).toEqual(input);
    }
  });
});

interface Attested {
  readonly transaction: string;
  readonly credential: string;
}

describe('vectors of amendments', () => {
  const { vectors, bytes } = load<{
    owner: string;
    approvals: { needed: number; approvers: string[] };
    grant: string;
    accepted: {
      what: string;
      amendments: Attested[];
      approvedBy: string[];
      approved: boolean;
      machines: string[];
      holders: string[];
      transfers: string[];
      pending: string[];
    }[];
    refused: { what: string; code: string; grant: string; amendments: Attested[] }[];
  }>('amendments');
  const approvals = { ...vectors.approvals, approvers: vectors.approvals.approvers.map(fromHex) };
  const verify = (grant: string, amendments: readonly Attested[]) =>
    verifyAmendments(
      bytes(grant),
      amendments.map((of) => ({ transaction: bytes(of.transaction), credential: bytes(of.credential) })),
      { owner: { key: fromHex(vectors.owner) }, approvals, directory: vectors.anchor },
    );

  it.each(vectors.accepted)('accepted: $what', async ({ amendments, approved, ...expected }) => {
    const amended = await verify(vectors.grant, amendments);
    expect([...amended.approvedBy].sort()).toEqual([...expected.approvedBy].sort());
    expect(amended.terms.machines.map(({ machine }) => machine)).toEqual(expected.machines);
    expect(amended.holders.map((holder) => partyName(holderParty(holder)))).toEqual(
      expected.holders.map((key) => keyName(fromHex(key))),
    );
    expect(amended.transfers).toEqual(expected.transfers);
    expect(amended.pending.map((document) => toHex(lifeName(document)))).toEqual(expected.pending);
    expect(await codeOf(() => requireApproved(amended))).toBe(approved ? 'nothing thrown' : 'E_LICENCE_PENDING');
  });

  it.each(vectors.refused)('refused: $what', async ({ code, grant, amendments }) => {
    expect(await codeOf(() => verify(grant, amendments))).toBe(code);
  });
});

describe('vectors of cases and credits', () => {
  type Credit = Attested & { what: string; licence: string; licenceSigner: string };
  const { vectors, bytes } = load<{
    owner: string;
    object: string;
    report: string;
    reportHash: string;
    evidenceInfo: string;
    evidence: string;
    accepted: Credit[];
    refused: (Credit & { code: string })[];
  }>('cases');
  const verify = ({ transaction, credential, licence, licenceSigner }: Credit) =>
    verifyCredit(
      {
        ...{ transaction: bytes(transaction), credential: bytes(credential) },
        ...{ licence: bytes(licence), licenceSigner: bytes(licenceSigner) },
      },
      { directory: vectors.anchor as Directory, ownerOf: () => ({ owner: fromHex(vectors.owner) }) },
    );

  it('evidence is bound to the installation and the object', async () => {
    const owner = p256Key(new Uint8Array(32).fill(0x41));
    const { telemetryKey } = readTransaction(bytes('grant')) as TransactionOf<'licence.grant'>;
    expect(telemetryKey).toEqual(owner.publicKey);
    const sealed = await seal(owner.publicKey, fromHex(vectors.evidenceInfo), fromHex(vectors.evidence));
    const binding = { installation: vectors.anchor.installation, object: vectors.object };
    expect(await openEvidence(owner, binding, sealed)).toEqual({
      ...{ text: 'warped', photo: { type: 'image/png', bytes: fromHex('89504e47') } },
    });
    expect(await codeOf(() => openEvidence(owner, { ...binding, object: `${vectors.object}0` }, sealed))).toBe(
      'E_SEAL',
    );
  });

  it('the decision names the report', () => {
    const decision = readTransaction(bytes('case.decide')) as TransactionOf<'case.decide'>;
    expect(toHex(decision.report)).toBe(vectors.reportHash);
    expect(toHex(lifeName(bytes(vectors.report)))).toBe(vectors.reportHash);
  });

  it.each(vectors.accepted)('accepted: $what', async (credit) => {
    expect((await verify(credit)).object).toBe(vectors.object);
  });

  it.each(vectors.refused)('refused: $what', async ({ code, ...credit }) => {
    expect(await codeOf(() => verify(credit))).toBe(code);
  });
});

describe('vectors of who signs for a party', () => {
  type Check = Attested & {
    what: string;
    party: { organisation: string } | { key: string };
    role: PersonRole;
    now?: number;
    revocations?: string;
  };
  const { vectors, bytes } = load<{ accepted: Check[]; refused: (Check & { code: string })[] }>('acting');
  const { anchor } = vectors;
  const verify = async ({ party, role, transaction, credential, now, revocations: list }: Check) => {
    const revocations = list && (await withList(new Revocations(), encodePublished(bytes(list)), anchor));
    const attested = { transaction: bytes(transaction), credential: bytes(credential) };
    const named = 'key' in party ? { key: fromHex(party.key) } : party;
    return verifyFor(named, role, attested, { ...anchor, ...(revocations && { revocations }) }, now);
  };

  it.each(vectors.accepted)('accepted: $what', async (check) => {
    const { signatory, signer } = await verify(check);
    expect(signatory.publicKey).toEqual(signer);
  });

  it.each(vectors.refused)('refused: $what', async ({ code, ...check }) => {
    expect(await codeOf(() => verify(check))).toBe(code);
  });
});

describe('vectors of the life of a part', () => {
  const { vectors, bytes } = load<{
    chain: { document: string; name: string }[];
    refused: { what: string; document: string; newest?: string; code: string }[];
  }>('life');

  it('accepted: each document follows the one before it', () => {
    let newest: Uint8Array | undefined;
    for (const { document, name } of vectors.chain) {
      const body = readTransaction(bytes(document));
      if (isLifeDocument(body)) requireNewest(body, newest);
      else expect(body).toMatchObject({ type: 'object.accept', transfer: newest });
      newest = lifeName(bytes(document));
      expect(toHex(newest)).toBe(name);
    }
  });

  it.each(vectors.refused)('refused: $what', async ({ document, newest, code }) => {
    const body = readTransaction(bytes(document)) as TransactionOf<'object.retire'>;
    expect(await codeOf(() => requireNewest(body, newest === undefined ? undefined : fromHex(newest)))).toBe(code);
  });
});

describe('vectors of pairing', () => {
  interface Message {
    readonly what: string;
    readonly code: string;
    readonly message: string;
    readonly now?: number;
  }
  interface Shown {
    readonly what: string;
    readonly document: string;
    readonly credential: string;
  }
  const { vectors, bytes } = load<{
    now: number;
    code: Record<'shown' | 'scrypt' | 'id' | 'agent' | 'operator', string> & { entered: string[]; refused: string[] };
    offer: Record<'machineSecret' | 'publicKey' | 'tlsKey' | 'message', string> & { expires: number };
    offerInToken: { token: Machine['token']; message: string };
    answer: Shown & {
      directory: number;
      adminKey: string;
      distribution: { host: string; port: number };
      message: string;
    };
    accepted: (Shown & { by: string })[];
    refusedOffers: Message[];
    refusedAnswers: Message[];
    refusedPairings: (Shown & { code: string })[];
  }>('pairing');
  const { anchor, now, code, offer, answer } = vectors;
  const keys = { id: code.id, agent: fromHex(code.agent), operator: fromHex(code.operator) };
  const shown = ({ document, credential }: Shown) => ({ document: bytes(document), credential: bytes(credential) });

  it('a code, however it is entered', async () => {
    for (const text of [code.shown, ...code.entered]) expect(await pairingKeys(text)).toEqual(keys);
    expect(code.id + code.agent + code.operator).toBe(code.scrypt);
    for (const text of code.refused) expect(await codeOf(() => pairingKeys(text))).toBe('E_INPUT');
  });

  it('accepted: an offer', async () => {
    const message = fromHex(offer.message);
    const opened = openOffer(keys, message, now);
    const [publicKey, tlsKey] = [fromHex(offer.publicKey), fromHex(offer.tlsKey)];
    expect(opened).toEqual({ version: 1, publicKey, tlsKey, expires: offer.expires });
    // Signature and tag differ, because the nonce is random.
    const own = await makeOffer(keys, p256Key(fromHex(offer.machineSecret)), { tlsKey, expires: offer.expires });
    expect(own).toHaveLength(message.length);
    expect(openOffer(keys, own, now)).toEqual(opened);
  });

  it('accepted: an offer whose identity key is in a token', () => {
    const { token, message } = vectors.offerInToken;
    expect(openOffer(keys, fromHex(message), now).token).toEqual(token);
  });

  it('accepted: an answer', () => {
    const { directory, distribution } = answer;
    const own = { ...anchor, directory, distribution, ...shown(answer) };
    expect(toHex(makeAnswer(keys, fromHex(offer.message), own))).toBe(answer.message);
    expect(openAnswer(keys, fromHex(offer.message), fromHex(answer.message))).toEqual({ version: 1, ...own });
  });

  it.each(vectors.accepted)('accepted: a pairing $what', async ({ by, ...signed }) => {
    expect((await verifyPairing(shown(signed), anchor, now)).by.key).toBe(by);
  });

  it.each(vectors.refusedOffers)('refused: an offer with $what', async ({ message, now: at = now, ...expected }) => {
    expect(await codeOf(() => openOffer(keys, fromHex(message), at))).toBe(expected.code);
  });

  it.each(vectors.refusedAnswers)('refused: an answer with $what', async ({ message, ...expected }) => {
    expect(await codeOf(() => openAnswer(keys, fromHex(offer.message), fromHex(message)))).toBe(expected.code);
  });

  it.each(vectors.refusedPairings)('refused: a pairing $what', async ({ code: expected, ...signed }) => {
    expect(await codeOf(() => verifyPairing(shown(signed), anchor, now))).toBe(expected);
  });
});

describe('vectors of two clouds', () => {
  interface Visit {
    readonly what: string;
    readonly licence: string;
    readonly now: number | 'any time';
    readonly admission?: Record<keyof Admission, string>;
  }
  const { vectors, bytes } = load<{
    recognised: { installation: string; adminKey: string; recognition: string; permitKey: string };
    machine: unknown;
    print: string;
    holder: string;
    run: string;
    linkName: string;
    accepted: Visit[];
    refused: (Visit & { code: string })[];
  }>('federation');
  const { anchor, recognised, print } = vectors;
  const machine = withBytes(vectors.machine) as Machine;
  const directory = { ...anchor, recognised: [{ ...recognised, directory: recognised }] } as unknown as Directory;
  const verify = ({ licence, admission, now }: Visit) =>
    verifyAdmission(
      directory,
      {
        licence: readTransaction(bytes(licence)) as TransactionOf<'licence.grant'>,
        ...{ print, holder: fromHex(vectors.holder), machine, request: { run: fromHex(vectors.run) } },
      },
      admission && {
        visa: bytes(admission.visa),
        request: bytes(admission.request),
        registration: bytes(admission.registration),
      },
      now,
    );

  it('the recognition, the machine that a user introduces, its name on links, and its documents', () => {
    const recognition = readTransaction(bytes(recognised.recognition));
    expect(recognition).toMatchObject({ type: 'cloud.recognise', cloud: recognised.installation });
    expect(recognisedCloud(directory, recognised.installation).adminKey).toBe(recognised.adminKey);
    const introduced = readTransaction(bytes('machine.introduce')) as TransactionOf<'machine.introduce'>;
    expect(readTransaction(introduced.registration)).toMatchObject({ type: 'machine.register', machine });
    expect(linkName(machine.machine, recognised.installation)).toBe(vectors.linkName);
    for (const type of ['visa.request', 'visit.report'])
      expect(readMachineDocument(bytes(type))).toMatchObject({ type, run: fromHex(vectors.run) });
  });

  it.each(vectors.accepted)('accepted: $what', async (visit) => {
    await verify(visit);
  });

  it.each(vectors.refused)('refused: $what', async ({ code, ...visit }) => {
    expect(await codeOf(() => verify(visit))).toBe(code);
  });
});

import { systemRandom } from '@millrace/base';
import { auditLedger, createMemoryStorage, followLog, type Session } from '@millrace/client';
import { loadNodeConfig } from '@millrace/cloud/parts';
import {
  cosign,
  decodeCertificate,
  type EventRequest,
  ed25519NoteSigner,
  exportCertificate,
  formatNote,
  formatVerifierKey,
  type Ledger,
  noteTypes,
  openCheckpoint,
  parseNote,
  parseVerifierKey,
  verifyCertificate,
  verifyConsistency,
} from '@millrace/ledger';
import { rewritten } from '@millrace/testkit/adversary/certificates';
import { licensed, outcomeOf, printed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { override } from '@millrace/testkit/adversary/override';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 20: a control node shows different people different logs, rewrites the log, or shows an old one. It has the log's
// key, so every head is correctly signed.

let system: HostileInstallation;
let ledger: Ledger;
let object: string;
beforeAll(async () => {
  system = await openHostileInstallation();
  ({ ledger } = system.nodes.control.context);
  // It works on when its nodes have seen another log.
  const { quarantine } = system.nodes.control.context;
  override(quarantine, 'set', () => quarantine);
  const job = await licensed(system, 2);
  const agent = await system.agent();
  object = (await printed(system, job.licence)).object ?? '';
  await agent.close();
});
afterAll(() => system?.close());

const audit = (session: Session) => outcomeOf(auditLedger(session, () => undefined));

/**
 * Makes control answer from another log under the same key.
 * @param mapped whether that log has a map of its own accounts
 */
async function show(change: (event: EventRequest) => EventRequest | undefined, mapped = false): Promise<() => void> {
  const config = await loadNodeConfig(system.installation.layout.node('control'));
  const log = await rewritten(ledger, ed25519NoteSigner(ledger.origin, await config.secret('logKey')), change);
  if (mapped) await log.logMap();
  const { size } = log;
  const undo = [
    override(ledger, 'checkpoint', () => log.checkpoint()),
    override(ledger, 'tile', (path) => log.tile(path)),
    override(ledger, 'events', (from) => log.events(from)),
    ...(mapped
      ? [
          override(ledger, 'size', size),
          override(ledger, 'head', (account) => log.head(account)),
          override(ledger, 'mapProofs', (accounts) => log.mapProofs(accounts)),
        ]
      : []),
  ];
  return () => {
    for (const step of undo) step();
  };
}

/** Removes the machine's completion. */
const withoutCompletion = (event: EventRequest) => (event.type === 'completed' ? undefined : event);
const otherTerms = (event: EventRequest): EventRequest =>
  event.type === 'machine' ? { ...event, body: { ...event.body, kind: 'sink ' } } : event;

describe('a user with an earlier checkpoint', () => {
  it('detects a second, a rewritten and a stale history', async () => {
    expect(await audit(system.owner)).toBe('accepted');
    const rewrite = await show(otherTerms);
    expect(await audit(system.owner)).toBe('E_LEDGER_PROOF');
    rewrite();
    const stale = await show(withoutCompletion);
    expect(await audit(system.owner)).toBe('E_LEDGER_TRUNCATED');
    stale();
    expect(await audit(system.owner)).toBe('accepted');
  });
});

describe('baseline: a user without a checkpoint', () => {
  it('accepts any signed history, which is why witnesses exist', async () => {
    const undo = await show(otherTerms, true);
    expect(await audit(system.tenant)).toBe('accepted');
    undo();
    await licensed(system, 1); // longer than what the tenant has seen
    expect(await audit(system.tenant)).toBe('E_LEDGER_PROOF');
  });
});

describe('a monitor without an account', () => {
  const follow = (storage: ReturnType<typeof createMemoryStorage>, others: readonly Uint8Array[] = []) =>
    outcomeOf(
      followLog({
        source: { checkpoint: async () => ledger.checkpoint(), tile: (path) => ledger.tile(path) },
        logKeys: [parseVerifierKey(ledger.logKey)],
        ...{ storage, others },
      }),
    );

  it('detects a second history and a stale one', async () => {
    const storage = createMemoryStorage();
    expect(await follow(storage)).toBe('accepted');
    for (const [change, code] of [
      [otherTerms, 'E_LEDGER_PROOF'],
      [withoutCompletion, 'E_LEDGER_TRUNCATED'],
    ] as const) {
      const undo = await show(change);
      expect(await follow(storage)).toBe(code);
      undo();
    }
    expect(await follow(storage)).toBe('accepted');
  });

  it('detects at the first look that a certificate came from another history', async () => {
    const { checkpoint } = decodeCertificate(await exportCertificate(ledger, object));
    const undo = await show(otherTerms);
    expect(await follow(createMemoryStorage())).toBe('accepted');
    expect(await follow(createMemoryStorage(), [checkpoint])).toBe('E_LEDGER_PROOF');
    undo();
    expect(await follow(createMemoryStorage(), [checkpoint])).toBe('accepted');
  });
});

describe('a witness', () => {
  /** Signs a head only if it extends the last head that it signed. */
  class Witness {
    readonly signer = ed25519NoteSigner('witness.example', systemRandom(32));
    #size = 0;
    #root: Uint8Array = new Uint8Array();

    async sign(note: Uint8Array, prove: (old: number, size: number) => Promise<readonly Uint8Array[]>) {
      const { size, root } = openCheckpoint(note, { logKey: parseVerifierKey(system.installation.directory.logKey) });
      if (this.#size > 0 && size >= this.#size) {
        const proof = await prove(this.#size, size);
        if (!verifyConsistency(this.#size, size, proof, this.#root, root)) throw new Error('not consistent');
      } else if (size < this.#size) throw new Error('older');
      [this.#size, this.#root] = [size, root];
      const { text, signatures } = parseNote(note);
      return formatNote({ text, signatures: [...signatures, await cosign(text, 1_700_000_000, this.signer)] });
    }
  }

  it('signs heads that extend the log, and no other head, old or new', async () => {
    const witness = new Witness();
    const prove = (old: number, size: number) => ledger.proveConsistency(old, size);
    await witness.sign(ledger.checkpoint(), prove);
    await licensed(system, 1);
    const signed = await witness.sign(ledger.checkpoint(), prove);
    expect(Buffer.from(signed).toString()).toContain('witness.example');
    const config = await loadNodeConfig(system.installation.layout.node('control'));
    const signer = () => config.secret('logKey').then((secret) => ed25519NoteSigner(ledger.origin, secret));
    const fork = await rewritten(ledger, await signer(), otherTerms);
    const short = await rewritten(ledger, await signer(), withoutCompletion);
    // A fork can only prove consistency with itself.
    const forked = witness.sign(fork.checkpoint(), (old, size) => fork.proveConsistency(old, size));
    await expect(forked).rejects.toThrow('not consistent');
    await expect(witness.sign(short.checkpoint(), prove)).rejects.toThrow('older');
    // A certificate that requires the witness's signature can exist for one log only.
    const { name, publicKey } = witness.signer;
    const witnesses = [formatVerifierKey(name, publicKey, noteTypes.cosignature)];
    const certificateOf = (log: Ledger) => exportCertificate(log, object, { checkpoint: signed, witnesses });
    const { logKey } = system.installation.directory;
    const verify = async (log: Ledger) => verifyCertificate(await certificateOf(log), { logKey, witnesses, quorum: 1 });
    expect(await outcomeOf(verify(ledger))).toBe('accepted');
    expect(await outcomeOf(verify(fork))).toBe('E_LEDGER_PROOF');
    await Promise.all([fork.close(), short.close()]);
  });
});

import { auditLedger } from '@millrace/client';
import { loadNodeConfig } from '@millrace/cloud/parts';
import {
  decodeCertificate,
  decodeOpening,
  ed25519NoteSigner,
  encodeCertificate,
  exportCertificate,
  type Ledger,
  type LoggedEvent,
  type MapProofs,
  readMapRoot,
  verifyCertificate,
} from '@millrace/ledger';
import { rewritten } from '@millrace/testkit/adversary/certificates';
import { licensed, outcomeOf, printed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { override } from '@millrace/testkit/adversary/override';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 33: whoever exports a certificate leaves out the last event of the object, so that a part whose print raised an
// alarm afterwards looks sound. The exporter is control, with the log's key. Control hides the same event, or the whole
// object, from the owner's audit.

let system: HostileInstallation;
let ledger: Ledger;
let object: string;
let logKey: string;
/** The map as it was before the alarm. */
let early: MapProofs | undefined;
let accounts: string[];
beforeAll(async () => {
  system = await openHostileInstallation();
  ({ ledger } = system.nodes.control.context);
  ({ logKey } = system.installation.directory);
  const job = await licensed(system, 1);
  const agent = await system.agent();
  object = (await printed(system, job.licence)).object ?? '';
  await agent.close();
  accounts = (await ledger.accounts()).map(({ account }) => account);
  await ledger.logMap();
  early = await ledger.mapProofs(accounts);
  await ledger.append({
    account: object,
    type: 'alarmed',
    actor: 'segments',
    body: { by: 'segments', acked: 1, permit: 'none', code: 'E_ALARM' },
    eventId: `late/${object}`,
  });
});
afterAll(() => system?.close());

/** The certificate without the object's last event. */
async function shortened(log: Ledger, withMap: boolean): Promise<Uint8Array> {
  const { map, ...parts } = decodeCertificate(await exportCertificate(log, object));
  const own = parts.entries.filter(({ index, opening }) => decodeOpening(opening, index).event.account === object);
  const entries = parts.entries.filter(({ index }) => index !== own.at(-1)?.index);
  return encodeCertificate({ ...parts, entries, ...(withMap && map !== undefined ? { map } : {}) });
}

/** The log as it would be without the alarm, under the log's key. */
async function withoutAlarm(): Promise<Ledger> {
  const config = await loadNodeConfig(system.installation.layout.node('control'));
  const signer = ed25519NoteSigner(ledger.origin, await config.secret('logKey'));
  return rewritten(ledger, signer, (event) => (event.type === 'alarmed' ? undefined : event));
}

const verify = async (certificate: Uint8Array | Promise<Uint8Array>) =>
  verifyCertificate(await certificate, { logKey }).completeTo;

describe('a certificate that hides the alarm', () => {
  it('verifies without a map, and does not claim to be complete', async () => {
    expect(await verify(shortened(ledger, false))).toBeUndefined();
  });

  it('is refused with the proofs of the map', async () => {
    const { index } = await ledger.logMap();
    expect(await verify(exportCertificate(ledger, object))).toBe(index);
    expect(await outcomeOf(verify(shortened(ledger, true)))).toBe('E_LEDGER_PROOF');
  });

  it('cannot take the proofs into a history without the alarm', async () => {
    await ledger.logMap();
    const hostile = await withoutAlarm();
    const { map } = decodeCertificate(await exportCertificate(ledger, object));
    if (map === undefined) throw new Error('no map');
    const other = { ...decodeCertificate(await exportCertificate(hostile, object)), map };
    expect(await outcomeOf(verify(encodeCertificate(other)))).toBe('E_LEDGER_PROOF');
    await hostile.close();
  });
});

describe('the owner’s audit', () => {
  const audit = () => auditLedger(system.owner, () => undefined);
  const alarm = ({ event }: LoggedEvent) => event.type === 'alarmed';
  const ofObject = ({ event }: LoggedEvent) => event.account === object;

  /** Runs the audit while control answers with replaced parts, and restores them. */
  async function auditWith(replaced: Partial<Pick<Ledger, 'events' | 'head' | 'logMap' | 'mapProofs'>>) {
    const undo = Object.entries(replaced).map(([name, value]) => override(ledger, name as 'events', value as never));
    try {
      return await outcomeOf(audit());
    } finally {
      for (const step of undo) step();
    }
  }

  /** Control does not open these events. */
  const hiding = (hidden: (logged: LoggedEvent) => boolean): Pick<Ledger, 'events'> => {
    const events = ledger.events.bind(ledger);
    return {
      events: async function* (from) {
        for await (const logged of events(from)) if (!hidden(logged)) yield logged;
      },
    };
  };
  /** Control answers with these proofs, by account, and logs no other root. */
  const proving = ({ logged, proofs }: MapProofs, of = (account: string) => accounts.indexOf(account)) => ({
    mapProofs: async (asked: readonly string[]) => ({
      logged,
      proofs: asked.map((account) => proofs[of(account)] ?? { newest: undefined, siblings: [] }),
    }),
    logMap: async () => logged,
  });

  it('proves the newest events, and that no other object exists', async () => {
    const { newest, accounts: opened, absent } = await audit();
    expect([newest, absent]).toEqual([opened, 10]); // the licence is for one object
  });

  it('detects an event, and an object, that control does not open', async () => {
    expect(await auditWith(hiding(alarm))).toBe('E_LEDGER_TRUNCATED');
    expect(await auditWith(hiding(ofObject))).toBe('E_LEDGER_TRUNCATED');
  });

  it('refuses the map from before the event', async () => {
    if (early === undefined) throw new Error('no map');
    expect(await auditWith({ ...hiding(alarm), ...proving(early) })).toBe('E_LEDGER_PROOF');
  });

  it('refuses an old map that claims the place of the newest', async () => {
    const newest = await ledger.logMap();
    if (early === undefined) throw new Error('no map');
    const claimed = proving({ ...early, logged: newest });
    expect(await auditWith({ ...hiding(alarm), ...claimed })).toBe('E_LEDGER_PROOF');
    const entry = await ledger.entry(newest.index - 1);
    expect(await auditWith({ ...hiding(alarm), ...proving({ ...early, logged: entry }) })).toBe('E_LEDGER_PROOF');
  });

  it('refuses a proof of absence for an object that control hides', async () => {
    const logged = await ledger.logMap();
    const licence = object.slice(0, -2);
    const proven = await ledger.mapProofs([...accounts, `${licence}-2`]);
    if (proven === undefined) throw new Error('no map');
    const of = (account: string) => (account === object ? accounts.length : accounts.indexOf(account));
    expect(await auditWith({ ...hiding(ofObject), ...proving({ ...proven, logged }, of) })).toBe('E_LEDGER_PROOF');
  });

  it('refuses a logged map in which an event was replaced, once control opens the event', async () => {
    const hostile = await withoutAlarm();
    const { root, salt } = readMapRoot(await hostile.logMap());
    await ledger.append({
      ...{ account: 'map', type: 'mapped', actor: ledger.origin, body: { root, salt } },
      eventId: 'lie',
    });
    const logged = await ledger.entry(ledger.size - 1);
    const lie: Partial<Ledger> = {
      mapProofs: async (asked) => ({ proofs: [], ...(await hostile.mapProofs(asked)), logged }),
      logMap: async () => logged,
    };
    expect(await auditWith(lie)).toBe('E_LEDGER_PROOF');
    await hostile.close();
  });
});

import { type Bytes, fromHex, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import type { EventRequest } from '@millrace/ledger';
import { type Amendment, amendmentFact, documentName, registrationHash, signTransaction } from '@millrace/protocol';
import { type Changes, certify, INSTALLATION, logKeyOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { codeOf } from '@millrace/testkit/client/helpers';
import { registerKey } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import { checkCertificate } from '../src/certificates.ts';

const keys = makeKeys();
const [approver, former, stranger] = [generateUserKey(), generateUserKey(), generateUserKey()];
const id = systemRandom(16);
const licence = toHex(id);
const trust = { logKey: logKeyOf(keys), owner: keys.owner.publicKey, authority: keys.admin.publicKey };

type Body<T = Amendment> = T extends Amendment ? Omit<T, 'id' | 'issued' | 'expires' | 'licence'> : never;
async function amendment(body: Body, signer: MemorySigner) {
  const document = { ...body, licence, id: systemRandom(16), issued: 1, expires: 2 } as Amendment;
  const bytes = await signTransaction(signer, INSTALLATION, document);
  const event = {
    ...amendmentFact(document, keyName(signer.publicKey)),
    evidence: [bytes, await registerKey(keys.admin, INSTALLATION, signer.publicKey)],
    eventId: toHex(systemRandom(8)),
  };
  return { bytes, event };
}

const approvals = { needed: 2, approvers: [keys.owner.publicKey, approver.publicKey] };
const story = (changes: Changes) => makeStory(keys, { ...changes, licence: { ...changes.licence, id } });
type Story = Awaited<ReturnType<typeof story>>;

/** The verdict on a story with these events after the grant, or before the last events. */
async function verdict({ events, object }: Story, added: readonly EventRequest[], at = 2) {
  const all = [...events.slice(0, at), ...added, ...events.slice(at)];
  return checkCertificate(await certify(keys, all, object), trust);
}
const refusal = (...told: Parameters<typeof verdict>) => codeOf(verdict(...told));

const grantOf = ({ events }: Story): Bytes => new Uint8Array(events[1]?.evidence?.[0] ?? []);
const approve = async (document: Uint8Array, signer = approver) =>
  (await amendment({ type: 'licence.approve', document: documentName(document) }, signer)).event;

describe('a certificate', () => {
  it('needs the approvals that the design asks for, before the order', async () => {
    const told = await story({ core: { approvals } });
    expect(await refusal(told, [])).toBe('E_EVIDENCE');
    const { checked } = await verdict(told, [await approve(grantOf(told))]);
    expect(checked.join('\n')).toContain(keyName(approver.publicKey));
    expect(await refusal(told, [await approve(grantOf(told))], 3)).toBe('E_EVIDENCE');
    for (const signer of [stranger, keys.holder, keys.admin])
      expect(await refusal(told, [await approve(grantOf(told), signer)])).toBe('E_EVIDENCE');
    expect(await refusal(told, [await approve(systemRandom(40))])).toBe('E_EVIDENCE');
  });

  it('shows the chain of holders, each of whom signed the transfer', async () => {
    const told = await story({ licence: { holder: former.publicKey, transfer: 'alone' } });
    expect(await refusal(told, [])).toBe('E_EVIDENCE');
    const body = { type: 'licence.transfer' as const, number: 1, to: keys.holder.publicKey };
    const { event } = await amendment(body, former);
    const { checked } = await verdict(told, [event]);
    expect(checked.join('\n')).toContain(`${keyName(former.publicKey)}, then ${keyName(keys.holder.publicKey)}`);
    expect(checked.join('\n')).toContain(`signed for the holder (${keyName(keys.holder.publicKey)})`);
    expect(await refusal(told, [event], 3)).toBe('E_EVIDENCE');
    for (const signer of [stranger, keys.holder, keys.owner])
      expect(await refusal(told, [(await amendment(body, signer)).event])).toBe('E_EVIDENCE');
    expect(await refusal(told, [{ ...event, body: { ...event.body, holder: keyName(stranger.publicKey) } }])).toBe(
      'E_EVIDENCE',
    );
  });

  it('of a transfer that the owner has to approve needs that approval', async () => {
    const told = await story({ licence: { holder: former.publicKey, transfer: 'with-approval' } });
    const given = await amendment({ type: 'licence.transfer', number: 1, to: keys.holder.publicKey }, former);
    expect(await refusal(told, [given.event])).toBe('E_EVIDENCE');
    await verdict(told, [given.event, await approve(given.bytes, keys.owner)]);
  });

  it('covers a machine that an extension of the owner has added', async () => {
    const machine = { publicKey: keys.machine.publicKey, serial: 'SN-1', kind: 'virtual', profile: { factor: 1 } };
    const named = { ...machine, machine: keyName(machine.publicKey) };
    const entry = { machine: named.machine, registration: registrationHash(named) };
    const told = await story({ licence: { machines: [{ ...entry, machine: toHex(fromHex('07'.repeat(16))) }] } });
    expect(await refusal(told, [])).toBe('E_EVIDENCE');
    const extend = async (signer: MemorySigner) =>
      (await amendment({ type: 'licence.extend', machines: [entry] }, signer)).event;
    await verdict(told, [await extend(keys.owner)]);
    expect(await refusal(told, [await extend(keys.holder)])).toBe('E_EVIDENCE');
  });
});

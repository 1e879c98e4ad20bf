import { systemRandom } from '@millrace/base';
import { boxOf, codeOf, createProtocolFixture } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  type BoxRole,
  encodeMail,
  type Message,
  type MessageOf,
  mayWrite,
  type NodeRole,
  openMessage,
  type StreamParameters,
  sealMail,
} from '../src/index.ts';

const fixture = createProtocolFixture();
const { keys, directory, design, machine } = fixture;
const bytes = systemRandom(32);
const point = systemRandom(65);
const id = '00'.repeat(16);

const parameters: StreamParameters = {
  object: `${id}-1`,
  design,
  designNonce: systemRandom(16),
  segments: 9,
  from: 0,
  size: 9,
  window: 4,
  order: 24,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 5_000,
};

const attested = { transaction: bytes, credential: bytes };
const onLicence = { licence: bytes, licenceSigner: bytes, ...attested };
const samples: { readonly [T in Message['type']]: MessageOf<T> } = {
  'design.add': { type: 'design.add', ...attested, manifest: bytes },
  'design.uploaded': { type: 'design.uploaded', design },
  'design.delete': { type: 'design.delete', design, ...attested },
  'design.maintenance': { type: 'design.maintenance', design, ...attested },
  'alarm.clear': { type: 'alarm.clear', object: `${id}-1`, ...attested },
  'design.repair': { type: 'design.repair', design, repair: id, segments: [1] },
  'licence.grant': { type: 'licence.grant', ...attested, secret: bytes },
  'licence.resume': { type: 'licence.resume', ...onLicence },
  'licence.status': { type: 'licence.status', ...onLicence },
  'case.credit': { type: 'case.credit', ...onLicence },
  'licence.amend': { type: 'licence.amend', licence: bytes, licenceSigner: bytes, amendments: [attested] },
  'licence.refused': { type: 'licence.refused', licence: id, code: 'E_BOX_KEY', reason: 'erased' },
  'box.drained': { type: 'box.drained', use: 'mail', below: 1 },
  'group.set': { type: 'group.set', ...attested },
  'machine.assign': { type: 'machine.assign', transaction: bytes },
  'stream.open': {
    type: 'stream.open',
    opening: {
      permit: bytes,
      request: bytes,
      print: bytes,
      licence: bytes,
      licenceSigner: bytes,
      printSigner: bytes,
      amendments: [attested],
      machine,
    },
  },
  'vault.check': { type: 'vault.check', check: id, deep: true },
  'design.deleted': { type: 'design.deleted', design },
  'design.maintained': { type: 'design.maintained', design, transaction: id, mode: 'delta' },
  'design.stored': { type: 'design.stored', design },
  'design.refused': { type: 'design.refused', design, code: 'E_UPLOAD', reason: 'missing' },
  'design.repaired': { type: 'design.repaired', design, repair: id, segments: [1] },
  'stream.alarm': { type: 'stream.alarm', object: `${id}-1`, permitId: id, acked: 0, by: 'keys', reason: 'too fast' },
  'stream.refused': {
    ...{ type: 'stream.refused', object: `${id}-1`, permitId: id },
    ...{ code: 'E_LICENCE_EXHAUSTED', reason: 'made already' },
  },
  'slice.missing': { type: 'slice.missing', session: id, segments: [1] },
  'stream.session': { type: 'stream.session', session: new Uint8Array(16), permitId: id, seed: bytes, parameters },
  'stream.slices': { type: 'stream.slices', slices: [] },
  'stream.mix': { type: 'stream.mix', session: id, revision: 64, secret: bytes },
  'stream.close': { type: 'stream.close', session: id },
  vault: { type: 'vault', message: bytes },
  'vault.key': { type: 'vault.key', point, started: true },
  'vault.working': { type: 'vault.working' },
  'vault.sealed': { type: 'vault.sealed', point, sealed: bytes },
  'vault.renew': { type: 'vault.renew' },
  'vault.renewed': { type: 'vault.renewed', point },
  'check.result': { type: 'check.result', check: id, report: bytes },
};

/** The messages that each pair may exchange, written independently of the code's table, which is by message. */
const allowed: Readonly<Record<string, readonly Message['type'][]>> = {
  'control>keys': [
    'design.add',
    'design.delete',
    'design.maintenance',
    'alarm.clear',
    'licence.grant',
    'licence.resume',
    'licence.status',
    'case.credit',
    'licence.amend',
    'box.drained',
    'group.set',
    'machine.assign',
    'stream.open',
    'vault.check',
  ],
  'control>segments': [
    'design.add',
    'design.uploaded',
    'design.delete',
    'alarm.clear',
    'design.repair',
    'licence.resume',
    'licence.status',
    'case.credit',
    'licence.amend',
    'box.drained',
    'group.set',
    'machine.assign',
    'stream.open',
  ],
  'control>control': ['box.drained'],
  'keys>control': [
    'design.refused',
    'licence.refused',
    'design.deleted',
    'design.maintained',
    'stream.alarm',
    'stream.refused',
    'check.result',
  ],
  'keys>segments': [
    'stream.session',
    'stream.slices',
    'stream.mix',
    'stream.close',
    'vault.sealed',
    'vault.renew',
    'vault.renewed',
  ],
  'segments>control': ['design.stored', 'design.refused', 'design.repaired', 'stream.alarm', 'stream.refused'],
  'segments>keys': ['stream.alarm', 'slice.missing', 'vault', 'vault.key', 'vault.working'],
};

/** Distribution has no mailbox: no node can write to it. */
const recipients: readonly BoxRole[] = ['control', 'segments', 'keys'];
const senders: readonly NodeRole[] = [...recipients, 'distribution'];
const cells = senders.flatMap((sender) => recipients.map((recipient) => ({ sender, recipient })));

describe('correctly sealed mail', () => {
  it.each(cells)('from $sender opens at $recipient only when the sender may send it', async ({ sender, recipient }) => {
    const may = allowed[`${sender}>${recipient}`] ?? [];
    const box = boxOf(recipient);
    for (const message of Object.values(samples)) {
      const sealed = await sealMail(
        directory,
        { id: `${sender}-1`, identity: keys[sender] },
        box.body,
        encodeMail(message),
      );
      const code = await codeOf(() =>
        openMessage(directory, { id: `${recipient}-1`, boxes: box.secrets }, `${sender}-1`, sealed),
      );
      expect(`${message.type}: ${code}`).toBe(
        `${message.type}: ${may.includes(message.type) ? 'nothing thrown' : 'E_FORBIDDEN'}`,
      );
    }
    expect(mayWrite(sender, recipient)).toBe(may.length > 0);
  });
});

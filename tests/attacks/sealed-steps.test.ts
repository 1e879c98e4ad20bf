import { join } from 'node:path';
import { type Bytes, copyBytes } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { type P256Key, p256Key } from '@millrace/identity';
import { type Message, openMessage, openVaultMessage, sealVaultMessage } from '@millrace/protocol';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { secretsOf } from '@millrace/testkit/secrets';
import { httpMessages } from '@millrace/testkit/streams';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { decodeMessage, encodeMessage, MAINTAIN, openSlots, Packed, type VaultMessage } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The attacker has copied control's mailbox (or the log of another transport) at some time, and two epochs later takes
// every disk with every long-term key. The keys to which mail is sealed are then still on the disks: they last longer
// than an epoch. Messages of the vault carry outer keys, and which cell of one epoch is which in the next.

const SEGMENTS = 20;
const EPOCHS = 3;

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation({ record: true, maintenance: { periodMs: 500, density: 50 } });
  await store(system, await system.session('owner'), randomDesign(SEGMENTS * 16_370), {
    kind: 'binary',
    bytesPerSecond: 1_000_000,
  });
});
afterAll(() => system?.close());

/** The keys node's mail to the segments node, as control received it. */
function recordedMail(): Bytes[] {
  return system.recordings().flatMap(({ node, role, up }) => {
    if (node !== 'control' || role !== 'keys') return [];
    const posts = httpMessages(up).messages.filter(({ start }) => start.startsWith('POST /v1/mailbox/segments-1?'));
    return posts.map(({ body }) => copyBytes(body));
  });
}

/** Every secret on the disks: long-term keys, and the keys to which mail is sealed. */
async function secretsOnDisks(): Promise<P256Key[]> {
  const found = (await secretsOf(system)).map(({ bytes }) => copyBytes(bytes));
  for (const role of ['control', 'segments', 'keys']) {
    const slots = await openSlots(join(system.home, 'nodes', role, nodeFiles.data, nodeFiles.boxes.mail));
    for (let slot = 0; slot < (await slots.count()); slot++) {
      const content = await slots.read(slot);
      if (content !== undefined) found.push(content.subarray(16));
    }
    await slots.close();
  }
  return found.flatMap((secret) => {
    try {
      return [p256Key(secret)];
    } catch {
      return []; // a key of another kind
    }
  });
}

async function opened<T>(tries: readonly Promise<T>[]): Promise<T | undefined> {
  for (const result of await Promise.allSettled(tries)) if (result.status === 'fulfilled') return result.value;
  return undefined;
}

function openMail(mail: Bytes, secrets: readonly P256Key[]): Promise<Message | undefined> {
  const { directory } = system.installation;
  const recipient = (key: P256Key) => ({ id: 'segments-1', boxes: { keyOf: () => key } });
  return opened(secrets.map((key) => openMessage(directory, recipient(key), 'keys-1', mail)));
}

async function openSealed(sealed: Uint8Array, secrets: readonly P256Key[]): Promise<VaultMessage | undefined> {
  const { directory } = system.installation;
  const ends = { directory, keys: 'keys-1', segments: 'segments-1' };
  const plain = await opened(secrets.map((key) => openVaultMessage(ends, key, sealed)));
  return plain && decodeMessage(plain);
}

describe('messages of the vault, recorded with the rest of the mail', () => {
  const renewals = (mail: readonly (Message | undefined)[]) => mail.filter((each) => each?.type === 'vault.renew');

  it('cannot be opened two epochs later with everything on the disks; the mail around them still can', async () => {
    const epochs = async () =>
      renewals(await Promise.all(recordedMail().map(async (mail) => openMail(mail, all)))).length;
    const all = await secretsOnDisks();
    await expect.poll(epochs, { timeout: 60_000, interval: 500 }).toBeGreaterThan(EPOCHS);
    const copied = recordedMail();
    const before = await epochs();
    await expect.poll(epochs, { timeout: 60_000, interval: 500 }).toBeGreaterThan(before + 2);

    const secrets = await secretsOnDisks();
    const mail = await Promise.all(copied.map((each) => openMail(each, secrets)));
    const steps = mail.filter((each) => each?.type === 'vault.sealed');
    expect(steps.length).toBeGreaterThan(EPOCHS); // the position of the attacker: all of the mail opens
    expect(mail.filter((each) => each === undefined)).toEqual([]);
    const read = await Promise.all(steps.map(({ sealed }) => openSealed(sealed, secrets)));
    expect(read.filter((each) => each !== undefined)).toEqual([]);
  });

  it('baseline: a step sealed to a key that is on a disk opens, with its keys', async () => {
    const secrets = await secretsOnDisks();
    const point = secrets.at(-1)?.publicKey ?? new Uint8Array();
    const items = Packed.blank(MAINTAIN.items, 1);
    items.set(0, 'oldKey', new Uint8Array(32).fill(7));
    const none = { masked: Packed.blank(MAINTAIN.masked, 0), points: Packed.blank(MAINTAIN.points, 0) };
    const forget = Packed.blank(MAINTAIN.forget, 0);
    const step = encodeMessage({ type: 'maintain', to: 2, lane: 0, number: 1, fence: 0, items, ...none, forget });
    const ends = { directory: system.installation.directory, keys: 'keys-1', segments: 'segments-1' };
    const read = await openSealed(await sealVaultMessage(ends, point, step), secrets);
    if (read?.type !== 'maintain') throw new Error('the step was not opened');
    expect(read.items.view(0, 'oldKey')).toEqual(new Uint8Array(32).fill(7));
  });
});

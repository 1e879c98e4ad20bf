import { silentLogger } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { type Message, type MessageOf, sealVaultMessage } from '@millrace/protocol';
import { createProtocolFixture } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import { VaultKeys } from '../src/keys/vault-keys.ts';
import type { MailClient } from '../src/node/mail-client.ts';
import { stateKey, stateKeyAgain } from '../src/segments/state-key.ts';
import { VaultKeyRing } from '../src/segments/vault-key-ring.ts';

const { directory } = createProtocolFixture();
const message = new Uint8Array([1, 2, 3]);
const ends = { directory, keys: 'keys-1', segments: 'segments-1' };

/** The keys node's side. Its mail is kept until the test delivers it. */
function keysNode() {
  const sent: Message[] = [];
  const mail: Pick<MailClient, 'send'> = { send: async (_, message) => void sent.push(message) };
  const keys = new VaultKeys({ mail: mail as MailClient, directory, id: 'keys-1', logger: silentLogger });
  const take = <T extends Message['type']>(type: T): MessageOf<T> => {
    const at = sent.findIndex((each) => each.type === type);
    if (at < 0) throw new Error(`no ${type} was sent`);
    return sent.splice(at, 1)[0] as MessageOf<T>;
  };
  return { keys, sent, take };
}

const opened = (ring: VaultKeyRing, { point, sealed }: MessageOf<'vault.sealed'>, from = 'keys-1') =>
  ring.open(from, point, sealed);

describe('keys of the vault', () => {
  it('open what was sealed to them until the keys node names a newer one', async () => {
    const { keys, take } = keysNode();
    const ring = new VaultKeyRing(directory, 'segments-1');
    await expect(keys.send('segments-1', message)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    await keys.stated('segments-1', ring.renew());
    ring.renewed(take('vault.renewed').point);
    await keys.send('segments-1', message);
    const first = take('vault.sealed');

    keys.renew();
    take('vault.renew');
    const second = ring.renew();
    await keys.send('segments-1', message); // under way while the new key is stated
    const between = take('vault.sealed');
    expect(between.point).toEqual(first.point);
    expect(await opened(ring, between)).toEqual(message);
    await keys.stated('segments-1', second);
    expect(await opened(ring, first)).toEqual(message);
    ring.renewed(take('vault.renewed').point);
    expect(await opened(ring, first)).toBeUndefined();
    await keys.send('segments-1', message);
    expect(await opened(ring, take('vault.sealed'))).toEqual(message);
    await ring.close();
  });

  it('name the newest key only after every message that is sealed to an earlier one', async () => {
    const { keys, sent } = keysNode();
    const ring = new VaultKeyRing(directory, 'segments-1');
    await keys.stated('segments-1', ring.renew());
    sent.length = 0;
    await Promise.all([
      keys.send('segments-1', message),
      keys.send('segments-1', message),
      keys.stated('segments-1', ring.renew()),
      keys.send('segments-1', message),
    ]);
    expect(sent.map(({ type }) => type)).toEqual(['vault.sealed', 'vault.sealed', 'vault.renewed', 'vault.sealed']);
    const points = sent.map((each) => ('point' in each ? Buffer.from(each.point).toString('hex') : ''));
    expect(points[0]).toBe(points[1]);
    expect(points[2]).toBe(points[3]);
    expect(points[0]).not.toBe(points[2]);
  });

  it('of another node, process or sender open nothing', async () => {
    const ring = new VaultKeyRing(directory, 'segments-1');
    const point = ring.renew();
    const sealed = await sealVaultMessage(ends, point, message);
    expect(await new VaultKeyRing(directory, 'segments-1').open('keys-1', point, sealed)).toBeUndefined();
    await expect(ring.open('keys-2', point, sealed)).rejects.toMatchObject({ code: 'E_SEAL' });
    const altered = sealed.slice();
    altered[70] = (altered[70] ?? 0) ^ 1;
    await expect(ring.open('keys-1', point, altered)).rejects.toMatchObject({ code: 'E_SEAL' });
    const other = generateP256Key();
    const elsewhere = await sealVaultMessage(ends, other.publicKey, message);
    await expect(ring.open('keys-1', point, elsewhere)).rejects.toMatchObject({ code: 'E_SEAL' });
    expect(await ring.open('keys-1', other.publicKey, elsewhere)).toBeUndefined();
  });

  it('are bounded in number; a name of an unknown key erases none', async () => {
    const ring = new VaultKeyRing(directory, 'segments-1');
    const points = Array.from({ length: 6 }, () => ring.renew());
    ring.renewed(generateP256Key().publicKey);
    const opens = await Promise.all(
      points.map(async (point) => ring.open('keys-1', point, await sealVaultMessage(ends, point, message))),
    );
    expect(opens.map((each) => each !== undefined)).toEqual([false, false, true, true, true, true]);
  });

  it('are stated in the order in which they are made, however long each statement takes', async () => {
    const ring = new VaultKeyRing(directory, 'segments-1');
    const stated: string[] = [];
    let slow = true;
    const mail: Pick<MailClient, 'send'> = {
      send: async (_, message) => {
        // The first one waits until the keys node has a mailbox.
        for (const wait = slow; wait && slow; ) await new Promise((resolve) => setImmediate(resolve));
        if (message.type === 'vault.key') stated.push(Buffer.from(message.point).toString('hex'));
      },
    };
    const first = stateKey(ring, mail, 'keys-1', true);
    const second = stateKey(ring, mail, 'keys-1', false);
    slow = false;
    await Promise.all([first, second]);
    expect(stated).toHaveLength(2);
    const newest = Buffer.from(stated[1] ?? '', 'hex');
    ring.renewed(newest);
    const old = Buffer.from(stated[0] ?? '', 'hex');
    expect(await ring.open('keys-1', old, await sealVaultMessage(ends, old, message))).toBeUndefined();
    expect(await ring.open('keys-1', newest, await sealVaultMessage(ends, newest, message))).toEqual(message);
    // After a message that it cannot open, the node states the same key again.
    await stateKeyAgain(ring, mail, 'keys-1');
    expect(stated[2]).toBe(stated[1]);
  });

  it('are awaited, and no longer when the node closes', async () => {
    const { keys } = keysNode();
    const ready = keys.ready(() => 'segments-1');
    await keys.stated('segments-1', new VaultKeyRing(directory, 'segments-1').renew());
    await ready;
    const never = keys.ready(() => 'segments-2');
    await keys.close();
    await expect(never).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });
});

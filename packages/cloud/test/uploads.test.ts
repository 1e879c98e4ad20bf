import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom, toBase64, toHex } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { type Directory, signUploadTicket } from '@millrace/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Tickets } from '../src/distribution/tickets.ts';
import { Uploads } from '../src/distribution/uploads.ts';

const SEALED = 16_386;
let folder: string;
let uploads: Uploads;
const design = toHex(systemRandom(16));
const [owner, stranger] = [toHex(systemRandom(16)), toHex(systemRandom(16))];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace uploads '));
  uploads = new Uploads(folder);
});
afterEach(async () => {
  await uploads.close();
  await rm(folder, { recursive: true, force: true });
});

async function putSome(count: number): Promise<void> {
  for (let number = 0; number < count; number += 1)
    await uploads.put(design, String(number), systemRandom(SEALED), owner);
}

async function untilEmpty(): Promise<void> {
  await expect.poll(() => readdir(folder), { timeout: 10_000 }).toEqual([]);
}

describe('staged uploads', () => {
  it('are returned unchanged, counted, and removed by a wipe', async () => {
    const sealed = systemRandom(SEALED);
    await uploads.put(design, '3', sealed, owner);
    await uploads.put(design, '3', sealed, owner);
    expect(await uploads.get(design, '3')).toEqual(sealed);
    expect([...(await uploads.have(design))]).toEqual([3]);
    await uploads.wipe(design);
    await uploads.wipe(design);
    await expect(uploads.get(design, '3')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect((await uploads.have(design)).size).toBe(0);
    await untilEmpty();
  });

  it('are kept when they arrive during a wipe of the design’s earlier ones', async () => {
    await putSome(100);
    const wiping = uploads.wipe(design);
    await expect.poll(async () => (await uploads.have(design)).size).toBe(0);
    await uploads.put(design, '7', systemRandom(SEALED), owner);
    await wiping;
    expect([...(await uploads.have(design))]).toEqual([7]);
  });

  it('are wiped by the next process when one was killed during a wipe', async () => {
    await putSome(20);
    await rename(join(folder, design), join(folder, `.wiping-${design}-0011`));
    const next = new Uploads(folder);
    await next.start();
    await untilEmpty();
    await next.close();
  });

  it('do not delay the close of the node, and are wiped at the next start', async () => {
    await putSome(300);
    const wiping = uploads.wipe(design);
    await expect.poll(async () => (await uploads.have(design)).size).toBe(0);
    await uploads.close();
    await wiping;
    const next = new Uploads(folder);
    await next.start();
    await untilEmpty();
    await next.close();
  });
});

describe('staging', () => {
  const other = toHex(systemRandom(16));
  const settings = { designsPerOwner: 1, bytesPerOwner: 3 * SEALED, bytes: 5 * SEALED };
  const put = (of: Uploads, into: string, number: number, who = owner) =>
    of.put(into, String(number), systemRandom(SEALED), who);

  it('is limited per owner and in total; also after a restart, until it is wiped', async () => {
    const limited = new Uploads(folder, settings);
    for (const number of [0, 1, 2, 2, 1]) await put(limited, design, number); // repeated segments count once
    await expect(put(limited, design, 3)).rejects.toMatchObject({ code: 'E_QUOTA' });
    await limited.close();
    const next = new Uploads(folder, settings);
    await next.start();
    await expect(put(next, design, 3)).rejects.toMatchObject({ code: 'E_QUOTA' });
    await expect(put(next, other, 0)).rejects.toMatchObject({ code: 'E_QUOTA' }); // a second design
    await put(next, other, 0, stranger);
    await put(next, other, 1, stranger);
    await expect(put(next, other, 2, stranger)).rejects.toMatchObject({ code: 'E_QUOTA' }); // five in total
    await next.wipe(design);
    await put(next, other, 2, stranger);
    await next.close();
  });

  it('counts concurrent writes, and no rejected ones', async () => {
    const limited = new Uploads(folder, settings);
    const results = await Promise.allSettled([0, 1, 2, 3, 4, 5].map((number) => put(limited, design, number)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    expect((await limited.have(design)).size).toBe(3);
    await limited.wipe(design);
    await expect(limited.put(design, '0', systemRandom(5), owner)).rejects.toMatchObject({ code: 'E_INPUT' });
    await Promise.all([0, 0, 0, 0, 0].map((number) => put(limited, design, number).catch(() => undefined)));
    for (const number of [1, 2]) await put(limited, design, number);
    await expect(put(limited, design, 3)).rejects.toMatchObject({ code: 'E_QUOTA' });
    await limited.close();
  });

  it('of one owner cannot be overwritten by another', async () => {
    await uploads.put(design, '0', systemRandom(SEALED), owner);
    await expect(uploads.put(design, '0', systemRandom(SEALED), stranger)).rejects.toMatchObject({
      code: 'E_FORBIDDEN',
    });
  });
});

describe('tickets', () => {
  const permit = generateP256Key();
  const directory = { installation: toHex(systemRandom(16)), permitKey: toHex(permit.publicKey) } as Directory;
  let now = 1_800_000_000_000;
  const tickets = new Tickets(directory, { now: () => now, monotonic: () => now });
  const sign = async (changes: object = {}, key = permit, installation = directory.installation) => {
    const ticket = { type: 'upload.ticket', id: systemRandom(16), issued: now, expires: now + 86_400_000 } as const;
    return toBase64(
      await signUploadTicket(key, installation, { ...ticket, design, user: owner, owner, segments: 9, ...changes }),
    );
  };

  it('let their owner stage the design until they expire', async () => {
    const ticket = await sign();
    for (let time = 0; time < 2; time++)
      expect(await tickets.require(ticket, owner, design)).toMatchObject({ design, owner, segments: 9 });
    now += 86_400_000 + 66 * 60_000;
    await expect(tickets.require(ticket, owner, design)).rejects.toMatchObject({ code: 'E_EXPIRED' });
    await expect(tickets.require(ticket, owner, design)).rejects.toMatchObject({ code: 'E_EXPIRED' });
  });

  it('are rejected for another user or design, when altered, of another key or installation, or missing', async () => {
    const ticket = await sign();
    const code = (header: unknown, who = owner, what = design) =>
      tickets.require(header, who, what).then(
        () => 'taken',
        (error: { code: string }) => error.code,
      );
    expect(await code(ticket, stranger)).toBe('E_FORBIDDEN');
    expect(await code(ticket, owner, toHex(systemRandom(16)))).toBe('E_FORBIDDEN');
    expect(await code(undefined)).toBe('E_FORBIDDEN');
    expect(await code(`${ticket.slice(0, -8)}AAAAAAA=`)).toMatch(/^E_(SIGNATURE|INPUT)$/);
    expect(await code('?')).toBe('E_INPUT');
    expect(await code(await sign({}, generateP256Key()))).toBe('E_AUTH');
    expect(await code(await sign({}, permit, toHex(systemRandom(16))))).toBe('E_SIGNATURE');
    expect(await code(await sign({ type: 'permit' }))).toBe('E_INPUT');
    expect(await code(ticket)).toBe('taken');
  });
});

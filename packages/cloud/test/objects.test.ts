import { systemRandom, toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { type Directory, signTransaction, type VerifiedOpening } from '@millrace/protocol';
import { MemoryStore } from '@millrace/stores';
import { beforeEach, describe, expect, it } from 'vitest';
import { ObjectBook } from '../src/streaming/objects.ts';

const hex = () => toHex(systemRandom(16));
const installation = hex();
const licence = hex();
const machine = hex();
const design = hex();

/** What the book reads of a verified opening. */
function opening(number: number, change: { machine?: string; licence?: string } = {}): VerifiedOpening {
  const permit = {
    object: `${change.licence ?? licence}-${number}`,
    print: hex(),
    machine,
    licence,
    design,
    ...change,
  };
  return { permit, request: { run: systemRandom(16) } } as unknown as VerifiedOpening;
}

let book: ObjectBook;
let owner: ReturnType<typeof generateUserKey>;
beforeEach(async () => {
  book = new ObjectBook(new MemoryStore());
  owner = generateUserKey();
});

const clearance = (object: string, signer = owner) =>
  signTransaction(signer, installation, {
    type: 'alarm.clear',
    object,
    id: systemRandom(16),
    issued: Date.now(),
    expires: Date.now() + 60_000,
  });
const options = () => ({
  directory: { installation } as unknown as Directory,
  ownerOf: (asked: string) => {
    expect(asked).toBe(design);
    return owner.publicKey;
  },
});

describe('an alarm', () => {
  const object = `${licence}-1`;

  it('stops the object, and others of its licence on that machine; not other machines and licences', async () => {
    const first = opening(1);
    expect(await book.use(first, hex())).toBe(true);
    expect(await book.use(opening(2), hex())).toBe(true);
    await book.alarm(object);
    await expect(book.use(first, hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    expect(await book.use(opening(3, { machine: hex() }), hex())).toBe(true);
    expect(await book.use(opening(3, { licence: hex() }), hex())).toBe(true);
  });

  it('is cleared by the owner’s signature alone, for the object that it names', async () => {
    await book.use(opening(1), hex());
    await book.use(opening(2), hex());
    await book.alarm(object);
    const other = generateUserKey();
    await expect(book.clear(object, await clearance(object, other), options())).rejects.toMatchObject({
      code: 'E_AUTH',
    });
    const misplaced = await clearance(`${licence}-2`);
    await expect(book.clear(object, misplaced, options())).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    const flipped = await clearance(object);
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    await expect(book.clear(object, flipped, options())).rejects.toMatchObject({ code: 'E_SIGNATURE' });
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });

    await book.clear(object, await clearance(object), options());
    await book.clear(object, await clearance(object), options()); // delivered twice
    expect(await book.use(opening(3), hex())).toBe(true);
    await expect(book.use(opening(1), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await expect(book.clear(`${licence}-9`, await clearance(`${licence}-9`), options())).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  it('of two objects is cleared when both are', async () => {
    await book.use(opening(1), hex());
    await book.use(opening(2), hex());
    await book.alarm(`${licence}-1`);
    await book.alarm(`${licence}-2`);
    await book.clear(`${licence}-1`, await clearance(`${licence}-1`), options());
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await book.clear(`${licence}-2`, await clearance(`${licence}-2`), options());
    expect(await book.use(opening(3), hex())).toBe(true);
  });
});

import { join } from 'node:path';
import { addCounter, openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTokenKey, openTokenKey } from '../src/pkcs11/index.ts';

const found = await openSoftHsm({ compiler: true });
if (typeof found === 'string') console.warn(`skipped: ${found}`);
const PIN = '161803';

describe.skipIf(typeof found === 'string')('the monotonic counter of a token', () => {
  const hsm = found as SoftHsm;
  let steady: string;
  const placeOf = async (module: string, label: string) => ({
    module,
    label,
    pin: { file: await hsm.pinFile('pin', PIN), refusal: join(hsm.folder, 'refused') },
  });
  beforeAll(async () => {
    for (const label of ['counting', 'skipping', 'plain']) await hsm.addToken(label, PIN);
    steady = await addCounter(hsm);
  });
  afterAll(() => hsm.close());

  it('is used by the first machine in the token, and goes up by one with each read', async () => {
    const place = await placeOf(steady, 'counting');
    const { id, publicKey, counter } = await createTokenKey(place, 'one', { attended: true });
    expect(counter).toBe(3);
    const key = await openTokenKey({ ...place, id, publicKey, counter });
    const { since, read } = key.token?.counter ?? {};
    expect([since, await read?.(), await read?.(), await read?.()]).toEqual([3, 4, 5, 6]);
    key.close();

    const second = await createTokenKey(place, 'two', { attended: true });
    expect(second.counter).toBeUndefined();
    const other = await openTokenKey({ ...place, ...second });
    expect(other.token?.counter).toBeUndefined();
    other.close();
  });

  it('is not used if it skips numbers, and missed by no machine that has none', async () => {
    const skipping = await placeOf(await addCounter(hsm, 2), 'skipping');
    expect((await createTokenKey(skipping, 'one', { attended: true })).counter).toBeUndefined();
    const plain = await placeOf(hsm.module, 'plain');
    const made = await createTokenKey(plain, 'one', { attended: true });
    expect(made.counter).toBeUndefined();

    // A machine that had one is not given another token without one.
    const key = await openTokenKey({ ...plain, ...made, counter: 3 });
    await expect(key.token?.counter?.read()).rejects.toMatchObject({ code: 'E_HSM' });
    expect(key.token?.lost.aborted).toBe(true);
    key.close();
  });
});

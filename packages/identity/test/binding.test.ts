import { expect, it } from 'vitest';
import { type Cryptoki, loadingOnce } from '../src/pkcs11/binding.ts';

it('a PKCS #11 module is loaded once by machines that start together, and again after it could not be loaded', async () => {
  const loaded: string[] = [];
  let isThere = true;
  const load = loadingOnce(async () => {
    const fake: Pick<Cryptoki, 'load' | 'C_Initialize'> = {
      load: (path) => {
        if (!isThere) throw new Error('no such file');
        loaded.push(path);
      },
      C_Initialize: () => undefined,
    };
    return fake as Cryptoki;
  });
  const [one, two] = await Promise.all([load('/a.so'), load('/a.so')]);
  expect(two).toBe(one);
  expect(loaded).toEqual(['/a.so']);
  isThere = false;
  await expect(load('/b.so')).rejects.toMatchObject({ code: 'E_CONFIG' });
  isThere = true;
  await load('/b.so');
  expect(loaded).toEqual(['/a.so', '/b.so']);
});

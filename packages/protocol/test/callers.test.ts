import { MillraceError } from '@millrace/base';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Callers } from '../src/callers.ts';
import type { Address } from '../src/index.ts';

const at = (port: number): Address => ({ host: 'c.example', port });
const list = () => [at(1), at(2)];
const nameOf = ({ port }: Address) => Promise.resolve(port);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A call that is answered only when it is given up. */
const waiting = (_: Address, give?: AbortSignal) =>
  new Promise<never>((_resolve, reject) => give?.addEventListener('abort', () => reject(give.reason)));

it('gives up a call that waits at a frozen node when another is active; further calls go there', async () => {
  const callers = new Callers(list, async ({ port }) => port === 2);
  const call = callers.call(waiting);
  const refused = expect(call).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  await vi.advanceTimersByTimeAsync(10_000);
  await refused;
  expect(await callers.call(nameOf)).toBe(2);
});

it.each([
  ['says that it is active, at another of its addresses, too', async () => true],
  ['is the only one to answer', async ({ port }: Address) => port === 1],
  ['answers no more than the others', async () => false],
])('keeps a call that waits long at a node that %s', async (_, isActive) => {
  const callers = new Callers(list, isActive);
  let ended = false;
  const end = () => {
    ended = true;
  };
  void callers.call(waiting).then(end, end);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(ended).toBe(false);
  expect(await callers.call(nameOf)).toBe(1);
  callers.close();
});

it('tries the next node if nothing was done, and only for the next call if that is not known', async () => {
  const callers = new Callers(list, async () => false);
  const tried: number[] = [];
  const standby = async ({ port }: Address) => {
    tried.push(port);
    if (port === 1) throw new MillraceError('E_STANDBY', 'on standby');
    return port;
  };
  expect(await callers.call(standby)).toBe(2);
  expect(tried).toEqual([1, 2]);
  await expect(callers.call(async () => Promise.reject(new MillraceError('E_TIMEOUT', 'late')))).rejects.toThrow(
    'late',
  );
  expect(await callers.call(nameOf)).toBe(1);
});

it('gives up a call that waits at a frozen node while further calls already go to another one', async () => {
  const callers = new Callers(list, async ({ port }) => port === 2);
  const refused = expect(callers.call(waiting)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  const late = () => Promise.reject(new MillraceError('E_TIMEOUT', 'late'));
  await expect(callers.call(late)).rejects.toThrow('late');
  expect(await callers.call(nameOf)).toBe(2);
  await vi.advanceTimersByTimeAsync(10_000);
  await refused;
});

it('finds the node that becomes active while another is frozen within a second', async () => {
  let isActive = false;
  // The question to the frozen node ends with the time limit of that question.
  const callers = new Callers(list, ({ port }) =>
    port === 2 ? Promise.resolve(isActive) : Promise.reject(new Error()),
  );
  const given = vi.fn();
  void callers.call(waiting).catch(given);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(given).not.toHaveBeenCalled();
  isActive = true;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(given).toHaveBeenCalledOnce();
  callers.close();
});

it.each([
  [() => true, false, ['E_UNAVAILABLE']],
  [() => true, true, []],
  [() => false, false, []],
])(
  'leaves the only node it knows if it is told to and the node answers nothing (%s, answers: %s)',
  async (leaves, answers, codes) => {
    const callers = new Callers(
      () => [at(1)],
      async () => answers,
      leaves,
    );
    const ended: unknown[] = [];
    void callers.call(waiting).catch((error: MillraceError) => ended.push(error.code));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(ended).toEqual(codes);
    callers.close();
  },
);

it('asks a node twice before it leaves it', async () => {
  let asked = 0;
  const callers = new Callers(
    () => [at(1)],
    async () => ++asked % 2 === 0,
    () => true,
  );
  const given = vi.fn();
  void callers.call(waiting).catch(given);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(asked).toBeGreaterThan(4);
  expect(given).not.toHaveBeenCalled();
  callers.close();
});

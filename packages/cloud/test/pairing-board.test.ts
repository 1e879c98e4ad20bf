import { systemClock } from '@millrace/base';
import { expect, it } from 'vitest';
import { PairingBoard } from '../src/control/pairings.ts';

const [id, offer, answer] = ['aa'.repeat(16), new Uint8Array([1]), new Uint8Array([2])] as const;

function board() {
  let now = 0;
  const pairings = new PairingBoard({ ...systemClock, monotonic: () => now });
  const code = (work: () => unknown) => {
    try {
      work();
      return 'ok';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  return { pairings, code, wait: (ms: number) => (now += ms) };
}

it('carries one offer and one answer of a pairing, and the certificate', () => {
  const { pairings, code } = board();
  expect(pairings.offer(id, { offer }, 'a')).toEqual({ answer: undefined, certificate: undefined });
  expect(pairings.get(id, 'user')).toEqual({ offer, certified: false });
  expect(pairings.list()).toEqual([]);
  pairings.answer(id, answer, 'user');
  // A lost reply is repeated; another answer is refused, and so is another agent's offer.
  pairings.answer(id, answer, 'user');
  expect(code(() => pairings.answer(id, offer, 'other'))).toBe('E_CONFLICT');
  expect(code(() => pairings.offer(id, { offer: answer }, 'b'))).toBe('E_CONFLICT');
  expect(code(() => pairings.offer(id, { offer, answer: offer }, 'a'))).toBe('E_CONFLICT');
  expect(pairings.list()).toEqual([{ pairing: id, answer: 'Ag==' }]);
  pairings.admit(id, 'PEM');
  expect(pairings.offer(id, { offer, answer }, 'a').certificate).toBe('PEM');
  expect(pairings.list()).toEqual([]);
});

it('takes up an accepted answer again after a restart, and forgets agents that are gone', () => {
  const { pairings, code, wait } = board();
  pairings.offer(id, { offer, answer }, 'a');
  expect(pairings.list()).toHaveLength(1);
  wait(59_000);
  pairings.offer(id, { offer, answer }, 'a');
  wait(59_000);
  expect(pairings.list()).toHaveLength(1);
  wait(2_000);
  expect(code(() => pairings.admit(id, 'PEM'))).toBe('E_NOT_FOUND');
  expect(code(() => pairings.get(id, 'user'))).toBe('E_NOT_FOUND');
});

it('limits wrong codes of each user, and offers of each address', () => {
  const { pairings, code, wait } = board();
  pairings.offer(id, { offer }, 'a');
  const guess = () => code(() => pairings.get('bb'.repeat(16), 'thief'));
  for (let i = 0; i < 20; i++) expect(guess()).toBe('E_NOT_FOUND');
  expect(guess()).toBe('E_RATE');
  expect(code(() => pairings.get(id, 'thief'))).toBe('E_RATE');
  expect(code(() => pairings.get(id, 'operator'))).toBe('ok');
  wait(30_000);
  expect(guess()).toBe('E_NOT_FOUND');
  const flood = (address: string, of: string) => code(() => pairings.offer(of.repeat(16), { offer }, address));
  const hex = (n: number) => n.toString(16).padStart(2, '0');
  const outcomes = Array.from({ length: 40 }, (_, n) => flood('b', hex(n)));
  expect(outcomes.filter((outcome) => outcome === 'ok')).toHaveLength(25);
  expect(outcomes.at(-1)).toBe('E_QUOTA');
  expect(flood('c', 'f0')).toBe('ok');
});

import { systemClock } from '@millrace/base';
import { expect, it } from 'vitest';
import { CheckBoard } from '../src/control/checks.ts';

it('runs one check of the vault at a time; a request meanwhile gets the running check', () => {
  let now = 0;
  const board = new CheckBoard({ ...systemClock, monotonic: () => now });
  const first = board.begin(false);
  expect(first.fresh).toBe(true);
  expect(board.begin(false)).toEqual({ check: first.check, fresh: false });
  expect(() => board.begin(true)).toThrow(expect.objectContaining({ code: 'E_CONFLICT' }));
  expect(board.show(first.check)).toMatchObject({ state: 'running' });
  board.report(first.check, { clean: true });
  expect(board.show(first.check)).toMatchObject({ state: 'done', clean: true });
  const deep = board.begin(true);
  expect(board.begin(false)).toEqual({ check: deep.check, fresh: false });
  now = 3_600_001; // its node never answered
  expect(board.begin(true).fresh).toBe(true);
});

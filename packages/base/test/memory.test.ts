import { freemem, totalmem } from 'node:os';
import { expect, it } from 'vitest';
import { availableMemory } from '../src/index.ts';

it('is what a container leaves, where Node knows it, and what is free otherwise', () => {
  expect(availableMemory({ availableMemory: () => 5 })).toBe(5);
  expect(availableMemory()).toBeLessThanOrEqual(totalmem());
  expect(availableMemory({})).toBeGreaterThan(freemem() / 2);
});

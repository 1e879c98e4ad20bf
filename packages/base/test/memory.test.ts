import { freemem, totalmem } from 'node:os';
import { expect, it } from 'vitest';
import { availableMemory } from '../src/index.ts';

it('is the memory left to the container if Node reports it, otherwise the free memory', () => {
  expect(availableMemory({ availableMemory: () => 5 })).toBe(5);
  expect(availableMemory()).toBeLessThanOrEqual(totalmem());
  expect(availableMemory({})).toBeGreaterThan(freemem() / 2);
});

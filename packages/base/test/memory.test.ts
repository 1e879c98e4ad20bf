import { freemem, totalmem } from 'node:os';
import { expect, it } from 'vitest';
import { availableMemory } from '../src/index.ts';

it('is the container’s limit less its use where Node knows it, and the free memory otherwise', () => {
  expect(availableMemory({ availableMemory: () => 5 })).toBe(5);
  expect(availableMemory()).toBeLessThanOrEqual(totalmem());
  expect(availableMemory({})).toBeGreaterThan(freemem() / 2);
});

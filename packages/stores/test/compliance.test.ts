import { describe, it } from 'vitest';
import { queueCases, storeCases } from '../src/compliance/index.ts';
import { engines, openQueueOn } from './harness.ts';

for (const [name, open] of Object.entries(engines)) {
  describe(`the ${name} store`, () => {
    for (const { name: promise, run } of storeCases) it(promise, () => run(open));
  });
  describe(`the queue on the ${name} store`, () => {
    for (const { name: promise, run } of queueCases) it(promise, () => run(openQueueOn(open)));
  });
}

import { describe, it } from 'vitest';
import { queueCases, recordsCases, storeCases } from '../src/compliance/index.ts';
import { engines, openQueueOn, recordEngines } from './harness.ts';

for (const [name, open] of Object.entries(engines)) {
  describe(`the ${name} store`, () => {
    for (const { name: promise, run } of storeCases) it(promise, () => run(open));
  });
  describe(`the queue on the ${name} store`, () => {
    for (const { name: promise, run } of queueCases) it(promise, () => run(openQueueOn(open)));
  });
}

for (const [name, open] of Object.entries(recordEngines)) {
  describe(`records in ${name}`, () => {
    for (const { name: promise, run } of recordsCases) it(promise, () => run(open));
  });
}

import { describe, it } from 'vitest';
import { cellsCases, logCases, queueCases, recordsCases } from '../src/compliance/index.ts';
import { cellsEngines, engines, logEngines, openQueueIn, openQueueOn, recordEngines } from './harness.ts';
import { storeCases } from './store-cases.ts';

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

for (const [name, open] of Object.entries(logEngines)) {
  describe(`a log in ${name}`, () => {
    for (const { name: promise, run } of logCases) it(promise, () => run(open));
  });
  describe(`the queue on a log in ${name}`, () => {
    for (const { name: promise, run } of queueCases) it(promise, () => run(openQueueIn(open)));
  });
}

for (const [name, open] of Object.entries(cellsEngines)) {
  describe(`cells in ${name}`, () => {
    for (const { name: promise, run } of cellsCases) it(promise, () => run(open));
  });
}

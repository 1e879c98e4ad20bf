import { utf8 } from '@millrace/base';
import { describe, it } from 'vitest';
import { type DriverFixture, driverCases } from '../src/compliance/index.ts';
import { sinkDriver } from '../src/drivers/sink/registration.ts';
import { virtualDriver } from '../src/drivers/virtual/registration.ts';

const drivers: readonly DriverFixture[] = [
  {
    registration: virtualDriver,
    serial: 'VM-0001',
    fast: { factor: 'unlimited' },
    slow: { factor: 1 },
    // Each line dwells for a second. The rest is a comment.
    content: (bytes) => utf8(`${'G4 S1\n'.repeat(bytes / 6)}${';'.repeat(bytes % 6)}`),
  },
  {
    registration: sinkDriver,
    serial: 'SINK-1',
    fast: { factor: 'unlimited' },
    slow: { bytesPerSecond: 10 },
    content: (bytes) => Uint8Array.from({ length: bytes }, (_, n) => n * 31),
  },
];

for (const fixture of drivers) {
  describe(`the ${fixture.registration.kind} driver`, () => {
    for (const { name, run } of driverCases) it(name, () => run(fixture));
  });
}

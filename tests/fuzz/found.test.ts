import { concatBytes, copyBytes, encodeCbor, fromHex, toHex } from '@millrace/base';
import { judge } from '@millrace/testkit/fuzz/run';
import { afterAll, describe, expect, it } from 'vitest';
import { allTargets } from './targets/all.ts';

// Inputs that once exposed a fault, by target.

const found: readonly (readonly [target: string, fault: string, hex: string])[] = [
  [
    'cbor with maps',
    'a map whose keys are lists was read, and could not be written: an error without a code',
    'a2032682a04300000000',
  ],
  ['COSE_Sign1', 'the same in the header of a signed document', `d2844aa2032682a04300000000a0405840${'00'.repeat(64)}`],
  [
    'telemetry of a machine that says what it likes, at the keys node',
    'a point that is on no curve, in the telemetry of a machine with a session, ended the keys node: every stream of the installation',
    toHex(encodeCbor({ acked: 0, ready: 40, mix: concatBytes(Uint8Array.of(4), new Uint8Array(64).fill(9)) })),
  ],
];

const { targets, close } = await allTargets();
afterAll(close);

describe('inputs that once exposed a fault are rejected with a code, or change nothing', () => {
  it.each(found)('%s: %s', async (name, _, hex) => {
    const target = targets.find((one) => one.name === name);
    if (target === undefined) throw new Error(`no target ${name}`);
    const { code, fault } = await judge(target, copyBytes(fromHex(hex)));
    expect(fault).toBeUndefined();
    if (target.codes.length > 0) expect(target.codes).toContain(code);
  });
});

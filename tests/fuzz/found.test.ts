import { copyBytes, fromHex } from '@millrace/base';
import { afterAll, describe, expect, it } from 'vitest';
import { judge } from './support/run.ts';
import { allTargets } from './targets/all.ts';

// Inputs that once found a fault, by target.

const found: readonly (readonly [target: string, fault: string, hex: string])[] = [
  [
    'cbor with maps',
    'a map whose keys are lists was read, and could not be written: an error without a code',
    'a2032682a04300000000',
  ],
  ['COSE_Sign1', 'the same in the header of a signed document', `d2844aa2032682a04300000000a0405840${'00'.repeat(64)}`],
];

const { targets, close } = await allTargets();
afterAll(close);

describe('inputs that found a fault are refused with a code', () => {
  it.each(found)('%s: %s', async (name, _, hex) => {
    const target = targets.find((one) => one.name === name);
    if (target === undefined) throw new Error(`no target ${name}`);
    const { code, fault } = await judge(target, copyBytes(fromHex(hex)));
    expect(fault).toBeUndefined();
    expect(target.codes).toContain(code);
  });
});

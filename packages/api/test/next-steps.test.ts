import { errorCodes } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { endingCodes, nextStep } from '../src/next-steps.ts';

const step = /^The (owner|holder|operator|administrator) [a-z].+\.$/s;

describe('the next step after a print that ended', () => {
  it.each(Object.keys(errorCodes))('of %s names who must act', (code) => {
    expect(nextStep(code)).toMatch(step);
    // Codes with which prints usually end have a specific step instead of the general remedy.
    expect(nextStep(code).includes('follows the remedy')).toBe(!(endingCodes as readonly string[]).includes(code));
  });

  it('exists for an unknown code too', () => {
    expect(nextStep('E_FUTURE')).toMatch(step);
    expect(nextStep('toString')).toMatch(step);
  });
});

import { errorCodes } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { endingCodes, nextStep } from '../src/next-steps.ts';

const step = /^The (owner|holder|operator|administrator) [a-z].+\.$/s;

describe('what follows a print that ended', () => {
  it.each(Object.keys(errorCodes))('%s says who must do what', (code) => {
    expect(nextStep(code)).toMatch(step);
    // Codes with which prints usually end have a step of their own, not the general remedy.
    expect(nextStep(code).includes('follows the remedy')).toBe(!(endingCodes as readonly string[]).includes(code));
  });

  it('a code that this version does not know, too', () => {
    expect(nextStep('E_FUTURE')).toMatch(step);
    expect(nextStep('toString')).toMatch(step);
  });
});

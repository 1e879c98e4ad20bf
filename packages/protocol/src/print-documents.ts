import { z } from 'zod';
import { common, identifier } from './document-fields.ts';

// Signed documents of a holder about prints.

/** The object must begin before `expires`. To resume it, no newer request is needed. */
export const requestPrint = z.strictObject({
  type: z.literal('print.request'),
  ...common,
  licence: identifier,
  machine: identifier,
});

/** The holder cancels a print that waits in the queue. */
export const cancelPrint = z.strictObject({ type: z.literal('print.cancel'), ...common, print: identifier });

/** The holder moves a waiting print before its other prints on the same machine. */
export const movePrintFirst = z.strictObject({ type: z.literal('print.first'), ...common, print: identifier });

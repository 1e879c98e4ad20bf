import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { haltText } from './halt.ts';
import { printCommands } from './shapes.ts';

// Signed documents about prints: of the holder, and of the owner for `print.command`.

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

/** The holder or the owner commands the machine that makes this print, and no other print of that machine. */
export const commandPrint = z.strictObject({
  type: z.literal('print.command'),
  ...common,
  print: identifier,
  command: z.enum(printCommands),
  /** Goes to the ledger. */
  cause: haltText.max(120).optional(),
});

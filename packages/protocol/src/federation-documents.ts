import { bytesOf, bytesUpTo } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { odometerSchema, usedSchema } from './material-documents.ts';
import { displayName } from './shapes.ts';

// Signed documents between two clouds that recognise each other (federation.ts, spec/protocol.md, section 9). A cloud
// is named by the identifier of its installation.

/** Maximum bytes of a document that another document contains. */
const MAX_DOCUMENT = 8_192;

/** The administrator recognises another cloud and its administrator's key. */
export const recogniseCloud = z.strictObject({
  type: z.literal('cloud.recognise'),
  ...common,
  cloud: identifier,
  name: displayName,
  adminKey: bytesOf(33),
});

/** A user makes a machine of a recognised cloud known here, so that licences may name it. */
export const introduceMachine = z.strictObject({
  type: z.literal('machine.introduce'),
  ...common,
  cloud: identifier,
  /** `machine.register`, signed by the administrator of that cloud. */
  registration: bytesUpTo(MAX_DOCUMENT),
});

/**
 * The holder of a licence asks the machine's cloud to let the machine make one object for another cloud. The object
 * must begin before `expires`. The same key has signed `print.request` at the other cloud.
 */
export const requestVisit = z.strictObject({
  type: z.literal('visit.request'),
  ...common,
  /** The cloud that has the design. */
  cloud: identifier,
  /** The print and the licence there. */
  print: identifier,
  licence: identifier,
  machine: identifier,
});

/** The signer of a visit cancels it before its machine has got a visa. */
export const cancelVisit = z.strictObject({ type: z.literal('visit.cancel'), ...common, visit: identifier });

/** A machine asks its own cloud for the visa of a visit. */
export const requestVisa = z.strictObject({
  type: z.literal('visa.request'),
  ...common,
  visit: identifier,
  /** As in the permit requests of the same object. */
  run: bytesOf(16),
});

/** A machine tells its own cloud how a visit goes. It says nothing about the design. */
export const visitReport = z.strictObject({
  type: z.literal('visit.report'),
  ...common,
  visit: identifier,
  run: bytesOf(16),
  event: z.enum(['started', 'completed', 'failed']),
  code: z.string().max(40).optional(),
  /** At the end of the visit: the machine's odometer, and what it used of the spool that the visa names. */
  odometer: odometerSchema.optional(),
  used: usedSchema.optional(),
});

/** The machine's cloud states that this run of its machine may make this print of the other cloud. */
export const visaSchema = z.strictObject({
  type: z.literal('visa'),
  ...common,
  cloud: identifier,
  print: identifier,
  licence: identifier,
  machine: identifier,
  run: bytesOf(16),
  /** Id and SHA-256 of the holder's `visit.request`. */
  visit: identifier,
  request: bytesOf(32),
  /** SHA-256 of the newest `spool.load` of this machine, if the spool has a certificate. */
  load: bytesOf(32).optional(),
});

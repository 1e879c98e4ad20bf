import { hexOf } from '@millrace/base';
import { z } from 'zod';
import { id } from '../fields.ts';
import { json, optional, route } from '../route.ts';

const signedDirectory = z
  .object({ directory: z.looseObject({}), signature: z.string() })
  .describe('spec/protocol.md, section 1.1');

/** Largest directory, bytes: 256 nodes, each with eight certificates and identities. */
const MAX_DIRECTORY = 2 * 1024 * 1024;

export const directoryRoutes = {
  newest: route('GET', '/v1/directory', {
    summary: 'the newest directory that the node has taken, if it is newer than the caller’s or another one',
    callers: ['guest', 'user', 'machine', 'control', 'segments', 'keys', 'distribution'],
    action: 'directory.read',
    query: z.strictObject({
      after: z.coerce
        .number<number>()
        .int()
        .nonnegative()
        .default(0)
        .describe('sequence number of the caller’s directory'),
      held: hexOf(32).optional().describe('hash of the caller’s directory: another one with its number is answered'),
    }),
    answer: optional(signedDirectory),
    errors: ['E_NOT_FOUND'],
  }),
  publish: route('POST', '/v1/directory', {
    summary: 'a newer directory; the administrator’s signature and its number decide',
    callers: ['user'],
    action: 'directory.publish',
    body: json(signedDirectory),
    maxBody: MAX_DIRECTORY,
    errors: ['E_DIRECTORY', 'E_FORBIDDEN', 'E_STATE'],
  }),
};

export const installationAnswer = z.object({
  installation: id,
  adminKey: z.string().describe('key of the administrator, secp256k1, 66 hexadecimal digits'),
  logKeys: z.array(z.string()).describe('verifier keys of the log, the present one first'),
  witnesses: z.array(z.string()).describe('verifier keys of the witnesses that this node asks'),
});
export type InstallationView = z.output<typeof installationAnswer>;

export const installationRoutes = {
  get: route('GET', '/v1/installation', {
    summary: 'the public keys with which certificates and the ledger are verified',
    callers: ['guest', 'user'],
    action: 'directory.read',
    answer: json(installationAnswer),
  }),
};

import { objectName } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { bytesField, id, nodeId, uint } from '../fields.ts';
import { bytes, cbor, json, route } from '../route.ts';
import { progressBody } from './prints.ts';
import { rehearsalWork } from './rehearsals.ts';
import { settingsWork } from './settings.ts';
import { maintenanceReport } from './vault.ts';

// Routes between nodes: mail, reports, and the calls of machines that the distribution node forwards.

const proactive = ['segments', 'keys'] as const;
const ids = json(z.strictObject({ ids: z.array(z.string().max(300)).max(1_000) }));
const wait = uint.max(30_000);

/** W3C Trace Context, version 00: the work to which a message belongs. */
export const traceparent = z.string().regex(/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/);

export const deliveries = z.array(
  z.strictObject({
    id: z.string(),
    from: nodeId,
    sealed: bytesField,
    attempts: uint,
    trace: traceparent.optional(),
  }),
);

export const mailRoutes = {
  send: route('POST', '/v1/mailbox/{recipient}', {
    summary: 'leave sealed mail for a node',
    callers: ['segments', 'keys', 'distribution'],
    action: 'mail.send',
    params: z.strictObject({ recipient: nodeId }),
    query: z.strictObject({ id: z.string().min(1).max(200) }),
    body: bytes,
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN', 'E_SEAL', 'E_BOX_KEY'],
  }),
  poll: route('GET', '/v1/mailbox', {
    summary: 'own mail, as soon as there is some',
    callers: proactive,
    action: 'mail.receive',
    query: z.strictObject({ wait: z.coerce.number<number>().int().min(0).max(30_000), consumer: z.string().max(64) }),
    answer: cbor(deliveries),
    waits: true,
  }),
  acknowledge: route('POST', '/v1/mailbox/acknowledge', {
    summary: 'mail was handled, and need not be kept',
    callers: proactive,
    action: 'mail.receive',
    body: ids,
  }),
  release: route('POST', '/v1/mailbox/release', {
    summary: 'mail could not be handled, and is to be given again',
    callers: proactive,
    action: 'mail.receive',
    body: ids,
  }),
};

export const ledgerHead = z.strictObject({ size: uint, root: z.string().max(64) });
export type LedgerHead = z.output<typeof ledgerHead>;

export const nodeStateBody = z.strictObject({
  /** Newest epoch that the node has seen. */
  epoch: uint,
  /** Newest checkpoint of the ledger that the node has seen. */
  ledger: ledgerHead.optional(),
  /** Why the node suspects that it was restored to an older state. */
  suspicion: z.string().max(300).optional(),
});

/** A user's transaction, and the credential of the key that signed it. */
const attested = { transaction: bytesField, credential: bytesField };

export const nodeRoutes = {
  head: route('POST', '/v1/head', {
    summary: 'where a node stands; answered with where the ledger stands',
    callers: proactive,
    action: 'node.report',
    body: json(nodeStateBody),
    answer: json(ledgerHead),
    errors: ['E_QUARANTINE'],
  }),
  deletions: route('GET', '/v1/deletions', {
    summary: 'every deletion that an owner has signed',
    callers: proactive,
    action: 'deletion.list',
    answer: cbor(z.array(z.strictObject({ design: id, ...attested }))),
  }),
  progress: route('POST', '/v1/progress/{object}', {
    summary: 'live figures of a running print',
    callers: ['segments'],
    action: 'progress.report',
    params: z.strictObject({ object: objectName }),
    body: json(progressBody),
    errors: ['E_NOT_FOUND'],
  }),
  maintenance: route('POST', '/v1/maintenance', {
    summary: 'how the maintenance of the vault goes',
    callers: ['keys'],
    action: 'maintenance.report',
    body: json(maintenanceReport),
  }),
};

/** Why a machine does not do what it was asked for. */
const refusal = z.strictObject({ code: z.string().max(40), message: z.string().max(500) });

/** Of control nodes, of which one is active and answers. */
export const activeRoutes = {
  health: route('GET', '/healthz', {
    summary: 'answered by the active control node; one on standby refuses it with E_STANDBY',
    callers: ['guest', 'user', 'control', 'segments', 'keys', 'distribution'],
    action: 'directory.read',
    answer: json(z.strictObject({ active: z.literal(true), node: nodeId })),
  }),
  sharedKeys: route('POST', '/v1/control-keys', {
    summary: 'the keys that control nodes share, sealed to the identity of the one that asks',
    callers: ['control'],
    action: 'control.join',
    answer: bytes,
    errors: ['E_STATE'],
  }),
};

const callers = ['distribution'] as const;
const action = 'machine.relay';
const params = z.strictObject({ machine: id });

export const machineCallRoutes = {
  next: route('POST', '/v1/machines/{machine}/next', {
    summary: 'a machine waits for work',
    callers,
    action,
    params,
    body: cbor(
      z.strictObject({
        wait,
        package: id.optional().describe('licence: only prints that are made from its job package'),
        rehearsals: z
          .literal(true)
          .optional()
          .describe('only rehearsals: asked by a driver that waits for a job package'),
      }),
    ),
    answer: cbor(
      z.strictObject({
        print: id.optional(),
        spool: z.record(z.string(), bytesField).optional(),
        visit: z.strictObject({ visit: id, cloud: id, print: id }).optional(),
        rehearsal: rehearsalWork.optional(),
        settings: settingsWork.optional(),
      }),
    ),
    waits: true,
    errors: ['E_NOT_FOUND'],
  }),
  callHome: route('POST', '/v1/machines/{machine}/call-home', {
    summary: 'a machine asks for the permit of one object',
    callers,
    action,
    params,
    body: cbor(z.strictObject({ request: bytesField })),
    answer: cbor(
      z.strictObject({
        permit: bytesField,
        print: bytesField,
        licence: bytesField,
        licenceSigner: bytesField,
        printSigner: bytesField,
        credits: z.array(z.strictObject(attested)).max(1_000),
        amendments: z.array(z.strictObject(attested)),
        core: bytesField,
        machine: z.record(z.string(), z.unknown()),
        membership: z
          .strictObject({
            statement: z.strictObject({ transaction: bytesField, credential: bytesField }),
            assignment: bytesField,
          })
          .optional(),
        signers: z.strictObject({ operator: bytesField, supplier: bytesField }).optional(),
      }),
    ),
    errors: [
      'E_NOT_FOUND',
      'E_FORBIDDEN',
      'E_SIGNATURE',
      'E_EXPIRED',
      'E_CLOCK',
      'E_REPLAY',
      'E_STATE',
      'E_ALARM',
      'E_MATERIAL',
      'E_MACHINE_UNKNOWN',
      'E_LICENCE_INVALID',
      'E_LICENCE_EXHAUSTED',
      'E_LICENCE_QUOTA',
      'E_LICENCE_SUSPENDED',
      'E_DESIGN_DELETED',
      'E_CELL_MISSING',
      'E_CELL_DAMAGED',
      'E_QUARANTINE',
    ],
  }),
  command: route('POST', '/v1/machines/{machine}/command', {
    summary: 'a machine waits for commands about the print that it makes',
    callers,
    action,
    params,
    body: cbor(z.strictObject({ wait, print: id })),
    answer: cbor(z.strictObject({ command: z.strictObject(attested).optional() })),
    waits: true,
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
  commanded: route('POST', '/v1/machines/{machine}/commanded', {
    summary: 'what became of a command that a machine has taken',
    callers,
    action,
    params,
    body: cbor(
      z.strictObject({
        command: id,
        refusal: refusal.optional(),
      }),
    ),
    answer: cbor(z.strictObject({})),
  }),
  look: route('POST', '/v1/machines/{machine}/look', {
    summary: 'a machine with a camera waits until somebody looks at it',
    callers,
    action,
    params,
    body: cbor(z.strictObject({ wait })),
    answer: cbor(
      z.strictObject({
        look: z
          .strictObject({
            look: id,
            watch: z.strictObject(attested),
            assignment: bytesField,
            machine: z.record(z.string(), z.unknown()),
            nonce: id,
          })
          .optional(),
      }),
    ),
    waits: true,
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
  looked: route('POST', '/v1/machines/{machine}/looked', {
    summary: 'a picture that a machine was asked for, or why it gives none',
    callers,
    action,
    params,
    body: cbor(z.union([z.strictObject({ look: id, picture: bytesField }), z.strictObject({ look: id, refusal })])),
    answer: cbor(z.strictObject({})),
  }),
  report: route('POST', '/v1/machines/{machine}/report', {
    summary: 'a machine’s signed report',
    callers,
    action,
    params,
    body: cbor(z.strictObject({ report: bytesField })),
    answer: cbor(z.strictObject({})),
    errors: [
      'E_NOT_FOUND',
      'E_FORBIDDEN',
      'E_SIGNATURE',
      'E_EXPIRED',
      'E_CLOCK',
      'E_MACHINE_UNKNOWN',
      'E_CONFLICT',
      'E_STATE',
      'E_QUARANTINE',
    ],
  }),
};

import { z } from 'zod';
import { byId, bytesField, nodeId, time, uint } from '../fields.ts';
import { bytes, cbor, json, route } from '../route.ts';

/** The keys node's report to control during and after every sweep, for `millrace status`. */
export const maintenanceReport = z.strictObject({
  epoch: uint,
  cells: uint,
  decoys: uint,
  designs: uint,
  /**
   * Configured interval at which every cell is renewed, and the interval achieved by the last sweep (or the current one
   * so far).
   */
  periodMs: uint,
  reachedPeriodMs: uint,
  /** Duration of the last sweep, or of the current one so far. */
  lastSweepMs: uint,
  /** Progress of the current sweep; 1 if none runs. */
  progress: z.number().min(0).max(1),
  /** Why the period is not met: a budget's name, or `speed`; `no` if it is met. */
  heldBackBy: z.enum(['bytesPerSecond', 'coreShare', 'moneyPerMonth', 'speed', 'no']),
  /** Cost per month, in the currency of the prices. */
  moneyPerMonth: z.number().nonnegative(),
  problems: uint,
  /** If the keys node has several replicas: up to which epoch keys are destroyed on all, and which may hold others. */
  replicas: z.strictObject({ destroyedThrough: uint, owing: z.array(nodeId).max(7) }).optional(),
});
export type MaintenanceReport = z.output<typeof maintenanceReport>;

export const checkAnswer = z.looseObject({ check: z.string(), state: z.enum(['running', 'done']) });
export type CheckView = z.output<typeof checkAnswer>;

export const statusAnswer = z.object({
  nodes: z.array(z.object({ id: nodeId, role: z.string(), seen: time })),
  maintenance: maintenanceReport.nullable(),
  quarantine: z
    .array(z.object({ id: nodeId, role: z.string(), reason: z.string() }))
    .describe('nodes that are older than others remember of them'),
  damagedRecords: z
    .array(z.object({ table: z.string(), id: z.string(), code: z.string(), reason: z.string() }))
    .describe('records that control leaves aside; the administrator sees them'),
});
export type StatusView = z.output<typeof statusAnswer>;

export const checkRoutes = {
  begin: route('POST', '/v1/vault/checks', {
    summary: 'begin a check of the vault: it reads every cell there is, of all owners',
    callers: ['user'],
    action: 'vault.check',
    body: json(z.strictObject({ deep: z.boolean() })),
    answer: json(z.object({ check: z.string() })),
    errors: ['E_FORBIDDEN', 'E_CONFLICT'],
  }),
  get: route('GET', '/v1/vault/checks/{id}', {
    summary: 'state and findings of a check',
    callers: ['user'],
    action: 'vault.check',
    params: byId,
    answer: json(checkAnswer),
    errors: ['E_FORBIDDEN', 'E_NOT_FOUND'],
  }),
};

export const statusRoutes = {
  get: route('GET', '/v1/status', {
    summary: 'nodes and maintenance',
    callers: ['user'],
    action: 'status.read',
    answer: json(statusAnswer),
  }),
};

export const boxUse = z.enum(['mail', 'attachments']);

export const boxRoutes = {
  newest: route('GET', '/v1/boxes/{node}/{use}', {
    summary: 'newest key of a node to seal to, signed by it',
    callers: ['user', 'segments', 'keys'],
    action: 'box.read',
    params: z.strictObject({ node: nodeId, use: boxUse }),
    answer: bytes,
    errors: ['E_NOT_FOUND', 'E_BOX_KEY'],
  }),
  announce: route('POST', '/v1/boxes/{use}', {
    summary: 'a node announces its newest key, and the lowest number that may still be sealed to',
    callers: ['segments', 'keys'],
    action: 'box.announce',
    params: z.strictObject({ use: boxUse }),
    body: cbor(z.strictObject({ document: bytesField, floor: uint })),
    errors: ['E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK', 'E_BOX_KEY'],
  }),
};

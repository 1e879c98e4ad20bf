import { z } from 'zod';
import type { ApiClient } from './client.ts';
import { json, route } from './route.ts';
import { designRoutes } from './routes/designs.ts';
import { directoryRoutes } from './routes/directory.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { licenceRoutes } from './routes/licences.ts';
import { machineRoutes } from './routes/machines.ts';
import { machineCallRoutes, mailRoutes, nodeRoutes } from './routes/nodes.ts';
import { enrolmentRoutes, keyRoutes, organisationRoutes, revocationRoutes } from './routes/people.ts';
import { objectRoutes, printRoutes } from './routes/prints.ts';
import { transactionRoutes } from './routes/transactions.ts';
import { uploadRoutes } from './routes/uploads.ts';
import { boxRoutes, checkRoutes, statusRoutes } from './routes/vault.ts';

const openapi = {
  get: route('GET', '/v1/openapi.json', {
    summary: 'this document',
    callers: ['user'],
    action: 'api.read',
    answer: json(z.looseObject({ openapi: z.string() })),
  }),
};

/** Routes of the control node. */
export const controlRoutes = {
  openapi,
  directory: directoryRoutes,
  transactions: transactionRoutes,
  organisations: organisationRoutes,
  keys: keyRoutes,
  enrolments: enrolmentRoutes,
  revocations: revocationRoutes,
  designs: designRoutes,
  licences: licenceRoutes,
  machines: machineRoutes,
  prints: printRoutes,
  objects: objectRoutes,
  ledger: ledgerRoutes,
  checks: checkRoutes,
  status: statusRoutes,
  boxes: boxRoutes,
  mail: mailRoutes,
  nodes: nodeRoutes,
  machineCalls: machineCallRoutes,
};

/** Routes of the distribution node. */
export const distributionRoutes = {
  openapi,
  directory: directoryRoutes,
  revocations: revocationRoutes,
  uploads: uploadRoutes,
};

/** Typed clients of the two passive nodes. */
export type ControlClient = ApiClient<typeof controlRoutes>;
export type DistributionClient = ApiClient<typeof distributionRoutes>;

import { z } from 'zod';
import type { ApiClient } from './client.ts';
import { json, route } from './route.ts';
import { caseRoutes } from './routes/cases.ts';
import { designRoutes, uploadedByBrowser } from './routes/designs.ts';
import { directoryRoutes, installationRoutes } from './routes/directory.ts';
import { eventRoutes } from './routes/events.ts';
import { groupRoutes } from './routes/groups.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { licenceRoutes } from './routes/licences.ts';
import { machineRoutes } from './routes/machines.ts';
import { materialRoutes, spoolRoutes, spoolStatementRoutes } from './routes/materials.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { activeRoutes, machineCallRoutes, mailRoutes, nodeRoutes } from './routes/nodes.ts';
import { pairingRoutes } from './routes/pairings.ts';
import { enrolmentRoutes, keyRoutes, organisationRoutes, revocationRoutes } from './routes/people.ts';
import { objectRoutes, printRoutes } from './routes/prints.ts';
import { rehearsalRoutes } from './routes/rehearsals.ts';
import { companySignInRoutes, sessionRoutes, signInLogRoutes } from './routes/sessions.ts';
import { settingsRoutes } from './routes/settings.ts';
import { organisationTokenRoutes, tokenRoutes } from './routes/tokens.ts';
import { transactionRoutes } from './routes/transactions.ts';
import { openUploadRoute, uploadRoutes } from './routes/uploads.ts';
import { usageRoutes } from './routes/usage.ts';
import { boxRoutes, checkRoutes, statusRoutes } from './routes/vault.ts';
import { visaRoutes, visitorCallRoutes, visitRoutes } from './routes/visits.ts';
import { organisationWebhookRoutes, webhookRoutes } from './routes/webhooks.ts';

const openapi = {
  get: route('GET', '/v1/openapi.json', {
    summary: 'this document',
    callers: ['guest', 'user'],
    action: 'api.read',
    answer: json(z.looseObject({ openapi: z.string() })),
  }),
};

/** Routes of the control node. */
export const controlRoutes = {
  openapi,
  directory: directoryRoutes,
  installation: installationRoutes,
  transactions: transactionRoutes,
  organisations: {
    ...organisationRoutes,
    ...organisationTokenRoutes,
    ...organisationWebhookRoutes,
    ...signInLogRoutes,
  },
  keys: keyRoutes,
  enrolments: enrolmentRoutes,
  tokens: tokenRoutes,
  webhooks: webhookRoutes,
  revocations: revocationRoutes,
  designs: designRoutes,
  licences: licenceRoutes,
  usage: usageRoutes,
  machines: machineRoutes,
  groups: groupRoutes,
  pairings: pairingRoutes,
  materials: materialRoutes,
  spools: { ...spoolRoutes, ...spoolStatementRoutes },
  prints: printRoutes,
  events: eventRoutes,
  visits: visitRoutes,
  rehearsals: rehearsalRoutes,
  settings: settingsRoutes,
  cases: caseRoutes,
  objects: objectRoutes,
  ledger: ledgerRoutes,
  checks: checkRoutes,
  status: statusRoutes,
  metrics: metricsRoutes,
  boxes: boxRoutes,
  mail: mailRoutes,
  nodes: nodeRoutes,
  active: activeRoutes,
  machineCalls: machineCallRoutes,
  visas: visaRoutes,
  visitorCalls: visitorCallRoutes,
};

const { list, get, private: privatePart, share, ticket } = designRoutes;

/** Routes of the console, for browsers. Only signatures change something. */
export const consoleRoutes = {
  openapi,
  sessions: sessionRoutes,
  companySignIns: companySignInRoutes,
  installation: installationRoutes,
  directory: { newest: directoryRoutes.newest },
  transactions: transactionRoutes,
  revocations: revocationRoutes,
  organisations: {
    ...organisationRoutes,
    ...organisationTokenRoutes,
    ...organisationWebhookRoutes,
    ...signInLogRoutes,
  },
  tokens: { list: tokenRoutes.list },
  webhooks: webhookRoutes,
  usage: usageRoutes,
  cases: caseRoutes,
  metrics: { read: metricsRoutes.read },
  rehearsals: rehearsalRoutes,
  keys: keyRoutes,
  enrolments: {
    invitation: enrolmentRoutes.invitation,
    enrol: enrolmentRoutes.enrol,
    signIn: enrolmentRoutes.signIn,
  },
  designs: { list, get, private: privatePart, share, ticket, uploaded: uploadedByBrowser },
  licences: licenceRoutes,
  machines: machineRoutes,
  groups: groupRoutes,
  spools: spoolRoutes,
  prints: printRoutes,
  events: eventRoutes,
  objects: objectRoutes,
  ledger: { openings: ledgerRoutes.openings, map: ledgerRoutes.map },
  boxes: { newest: boxRoutes.newest },
};

/** Routes of the distribution node. */
export const distributionRoutes = {
  openapi,
  directory: directoryRoutes,
  revocations: revocationRoutes,
  uploads: uploadRoutes,
};

/** Routes of the distribution node for browsers. */
export const uploadListenerRoutes = {
  uploads: { open: openUploadRoute, put: uploadRoutes.put, list: uploadRoutes.list },
};

/** Typed clients of the two passive nodes. */
export type ControlClient = ApiClient<typeof controlRoutes>;
export type DistributionClient = ApiClient<typeof distributionRoutes>;

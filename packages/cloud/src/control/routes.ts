import {
  type Bytes,
  decodeCbor,
  encodeCbor,
  fromBase64,
  fromHex,
  MillraceError,
  parse,
  toBase64,
} from '@millrace/base';
import { keyName } from '@millrace/identity';
import { exportCertificate } from '@millrace/ledger';
import { machineSchema, mayWrite, objectName } from '@millrace/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { maintenanceReport } from '../node/maintenance-report.ts';
import { nodeStateBody } from '../node/rollback-guard.ts';
import { requireRole, type TlsServer } from '../node/server.ts';
import type { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { beginRepair, deletionsOf, uploadTicket } from './designs.ts';
import { mailNode } from './mailbox.ts';
import { checkNodeState } from './node-states.ts';
import { openApi } from './openapi.ts';
import { callHome } from './permits.ts';
import { takeProgress } from './progress.ts';
import { printOf, takeReport } from './reports.ts';
import { checkpointText, pageQuery, progressBody, repairBody, transactionBody, vaultCheckBody } from './schemas.ts';
import { designUploaded, handleTransaction } from './transactions.ts';
import {
  designsPage,
  designView,
  isOwner,
  licencesPage,
  licenceView,
  machinesPage,
  objectsPage,
  objectView,
  ownsObject,
  type PageQuery,
  printsPage,
  printView,
} from './views.ts';

type Params = { Params: Record<string, string> };

const idsBody = z.strictObject({ ids: z.array(z.string().max(300)).max(1_000) });
const pollQuery = z.object({ wait: z.coerce.number().int().min(0).max(30_000), consumer: z.string().max(64) });
const nextBody = z.strictObject({ wait: z.number().int().min(0).max(30_000) });
const callBody = z.strictObject({ request: z.instanceof(Uint8Array) });
const boxBody = z.strictObject({ document: z.instanceof(Uint8Array), floor: z.number().int().nonnegative() });
const boxUse = z.enum(['mail', 'attachments']);
const reportBody = z.strictObject({ report: z.instanceof(Uint8Array) });

export function addRoutes(server: TlsServer, context: ControlContext, checks: CheckBoard): void {
  addUserRoutes(server, context, checks);
  addLedgerRoutes(server, context);
  addNodeRoutes(server, context);
}

/** For users: owners see what is theirs, holders what they may print, the administrator everything. */
function addUserRoutes(server: TlsServer, context: ControlContext, checks: CheckBoard): void {
  const { directory, records } = context;
  const user = (request: FastifyRequest) => requireRole(directory, request, 'user').name;
  const isAdmin = (name: string) => name === keyName(fromHex(directory.adminKey));
  const requireAdmin = (name: string) => {
    if (!isAdmin(name)) throw new MillraceError('E_FORBIDDEN', 'only the administrator has the vault checked');
  };

  server.get('/v1/openapi.json', async (request) => {
    user(request);
    return openApi;
  });
  server.post('/v1/transactions', async (request) => {
    const submitter = user(request);
    const { transaction, attachments } = parse(transactionBody, request.body, 'body');
    const decode = (text: string | undefined) => (text === undefined ? undefined : base64(text));
    const { manifest, keys, secret } = attachments ?? {};
    return handleTransaction(
      context,
      base64(transaction),
      { manifest: decode(manifest), keys: decode(keys), secret: decode(secret) },
      submitter,
    );
  });
  server.get('/v1/designs', async (request) => designsPage(context, user(request), pageQueryOf(request)));
  server.get<Params>('/v1/designs/:id', async (request) => {
    const design = await records.designs.require(request.params.id ?? '');
    if (design.owner !== user(request)) throw new MillraceError('E_FORBIDDEN', 'the design is somebody else’s');
    return designView(design);
  });
  server.get<Params>('/v1/designs/:id/private', async (request, reply) => {
    const design = await records.designs.require(request.params.id ?? '');
    if (design.owner !== user(request)) throw new MillraceError('E_FORBIDDEN', 'the design is somebody else’s');
    const { sealed } = await records.privates.require(design.design);
    return reply.type('application/octet-stream').send(Buffer.from(sealed));
  });
  server.get<Params>('/v1/designs/:id/ticket', async (request) => {
    const design = await records.designs.require(request.params.id ?? '');
    if (design.owner !== user(request)) throw new MillraceError('E_FORBIDDEN', 'the design is somebody else’s');
    return { ticket: toBase64(await uploadTicket(context, design)) };
  });
  server.post<Params>('/v1/designs/:id/uploaded', async (request) => {
    const design = await records.designs.require(request.params.id ?? '');
    if (design.owner !== user(request)) throw new MillraceError('E_FORBIDDEN', 'the design is somebody else’s');
    await designUploaded(context, design.design);
    return designView(await records.designs.require(design.design));
  });
  server.post<Params>('/v1/designs/:id/repair', async (request) => {
    const design = await records.designs.require(request.params.id ?? '');
    if (design.owner !== user(request)) throw new MillraceError('E_FORBIDDEN', 'the design is somebody else’s');
    return { repair: await beginRepair(context, design.design, parse(repairBody, request.body, 'body').segments) };
  });
  server.get('/v1/licences', async (request) => licencesPage(context, user(request), pageQueryOf(request)));
  server.get<Params>('/v1/licences/:id', async (request) => {
    const licence = await records.licences.require(request.params.id ?? '');
    const name = user(request);
    if (licence.owner !== name && licence.holder !== name)
      throw new MillraceError('E_FORBIDDEN', 'the licence is somebody else’s');
    return licenceView(context, licence);
  });
  server.get('/v1/machines', async (request) => {
    user(request);
    return machinesPage(context, pageQueryOf(request));
  });
  server.get('/v1/prints', async (request) => printsPage(context, user(request), pageQueryOf(request)));
  server.get<Params>('/v1/prints/:id', async (request) => {
    const print = await records.prints.require(request.params.id ?? '');
    const name = user(request);
    if (!(await ownsObject(context, print, name)))
      throw new MillraceError('E_FORBIDDEN', 'the print is somebody else’s');
    return printView(context, print, name);
  });
  // A check reads every cell there is, of all owners.
  server.post('/v1/vault/checks', async (request) => {
    requireAdmin(user(request));
    const { deep } = parse(vaultCheckBody, request.body, 'body');
    const { check, fresh } = checks.begin(deep);
    if (fresh)
      await context.mailbox.send({ role: 'keys', partition: check }, `check/${check}`, {
        type: 'vault.check',
        check,
        deep,
      });
    return { check };
  });
  server.get<Params>('/v1/vault/checks/:id', async (request) => {
    requireAdmin(user(request));
    return checks.show(request.params.id ?? '');
  });
  server.get('/v1/status', async (request) => {
    const name = user(request);
    return {
      // What is left aside may name designs of all owners.
      damagedRecords: isAdmin(name) ? context.damaged.list() : [],
      nodes: [...context.seen].map(([role, seen]) => ({ role, seen })),
      maintenance: context.maintenance.current ?? null,
      quarantine: [...context.quarantine].map(([role, reason]) => ({ role, reason })),
    };
  });
}

/** The ledger is for everybody who holds a certificate of the installation. */
function addLedgerRoutes(server: TlsServer, context: ControlContext): void {
  const { directory, ledger } = context;
  const user = (request: FastifyRequest) => requireRole(directory, request, 'user').name;

  server.get('/v1/objects', async (request) => objectsPage(context, user(request), pageQueryOf(request)));
  /** Owner and holder see an object; others verify its certificate. */
  const requireOwn = async (request: FastifyRequest<Params>): Promise<string> => {
    const object = request.params.id ?? '';
    if (!(await ownsObject(context, await printOf(context, object), user(request)))) {
      throw new MillraceError('E_FORBIDDEN', 'the object is somebody else’s');
    }
    return object;
  };
  server.get<Params>('/v1/objects/:id', async (request) => {
    const object = await requireOwn(request);
    return objectView(context, object, await isOwner(context, await printOf(context, object), user(request)));
  });
  server.get<Params>('/v1/objects/:id/certificate', async (request, reply) => {
    const object = await requireOwn(request);
    return reply.type('application/octet-stream').send(Buffer.from(await exportCertificate(ledger, object)));
  });
  server.get('/v1/ledger/checkpoint', async (request, reply) => {
    user(request);
    return reply.type(checkpointText).send(Buffer.from(ledger.checkpoint()));
  });
  server.get<Params>('/v1/ledger/tile/*', async (request, reply) => {
    user(request);
    return reply
      .type('application/octet-stream')
      .send(Buffer.from(await ledger.tile(`tile/${request.params['*'] ?? ''}`)));
  });
  // It reads the whole ledger: who asks meanwhile gets the same answer.
  let verifying: ReturnType<typeof ledger.check> | undefined;
  server.get('/v1/ledger/verify', async (request) => {
    user(request);
    verifying ??= ledger.check().finally(() => {
      verifying = undefined;
    });
    const { root, ...report } = await verifying;
    return { ...report, root: root === undefined ? null : toBase64(root) };
  });
}

/** For the other nodes: mail, telemetry, and the calls of machines that the distribution node passes on. */
function addNodeRoutes(server: TlsServer, context: ControlContext): void {
  const { directory, mailbox } = context;
  const node = (request: FastifyRequest) => {
    const party = requireRole(directory, request, 'segments', 'keys', 'distribution');
    context.seen.set(party.role, context.clock.now());
    return party;
  };
  const binary = (request: FastifyRequest): Uint8Array => {
    if (!(request.body instanceof Uint8Array)) throw new MillraceError('E_INPUT', 'the body has to be bytes');
    return request.body;
  };

  server.post<Params & { Querystring: { id?: string } }>('/v1/mailbox/:recipient', async (request) => {
    const from = node(request);
    const id = parse(z.string().min(1).max(200), request.query.id, 'id');
    const recipient = mailNode(directory, request.params.recipient ?? '');
    if (!mayWrite(from.role, recipient.role))
      throw new MillraceError('E_FORBIDDEN', `the ${from.role} node has no mail for the ${recipient.role} node`);
    await mailbox.put(recipient.id, from.id, id, binary(request));
    return {};
  });
  server.get('/v1/mailbox', async (request, reply) => {
    const { id } = mailNode(directory, node(request).id);
    const { wait, consumer } = parse(pollQuery, request.query, 'query');
    const mail = await mailbox.poll(id, consumer, wait, gone(reply));
    return reply.type('application/octet-stream').send(Buffer.from(encodeCbor(mail as never)));
  });
  server.post('/v1/mailbox/acknowledge', async (request) => {
    await mailbox.acknowledge(mailNode(directory, node(request).id).id, parse(idsBody, request.body, 'body').ids);
    return {};
  });
  server.post('/v1/mailbox/release', async (request) => {
    await mailbox.release(mailNode(directory, node(request).id).id, parse(idsBody, request.body, 'body').ids);
    return {};
  });
  server.post<Params>('/v1/boxes/:use', async (request) => {
    const { id } = requireRole(directory, request, 'segments', 'keys');
    const { document, floor } = parse(boxBody, decodeCbor(binary(request), 'box key'), 'box key');
    await mailbox.announce(id, parse(boxUse, request.params.use, 'use'), document, floor);
    return {};
  });
  server.get<Params>('/v1/boxes/:node/:use', async (request, reply) => {
    requireRole(directory, request, 'user', 'segments', 'keys');
    const { use } = request.params;
    const { id } = mailNode(directory, request.params.node ?? '');
    const { document } = await context.boxes.newest(id, parse(boxUse, use, 'use'));
    return reply.type('application/octet-stream').send(Buffer.from(document));
  });
  server.post<Params>('/v1/progress/:object', async (request) => {
    requireRole(directory, request, 'segments');
    context.seen.set('segments', context.clock.now());
    const object = parse(objectName, request.params.object, 'object');
    await takeProgress(context, object, parse(progressBody, request.body, 'progress'));
    return {};
  });
  server.post('/v1/head', async (request) => {
    const { role } = requireRole(directory, request, 'segments', 'keys');
    context.seen.set(role, context.clock.now());
    return checkNodeState(context, role, parse(nodeStateBody, request.body, 'head'));
  });
  server.get('/v1/deletions', async (request, reply) => {
    requireRole(directory, request, 'segments', 'keys');
    return reply.type('application/octet-stream').send(Buffer.from(encodeCbor(await deletionsOf(context))));
  });
  server.post('/v1/maintenance', async (request) => {
    requireRole(directory, request, 'keys');
    context.maintenance.current = parse(maintenanceReport, request.body, 'report');
    return {};
  });
  server.post<Params>('/v1/machines/:machine/:method', async (request, reply) => {
    requireRole(directory, request, 'distribution');
    context.seen.set('distribution', context.clock.now());
    const { machine = '', method } = request.params;
    const body = decodeCbor(binary(request), 'call');
    const send = (value: unknown) =>
      reply.type('application/octet-stream').send(Buffer.from(encodeCbor(value as never)));
    context.machinesSeen.set(machine, context.clock.now());
    switch (method) {
      case 'next': {
        const print = await context.printQueue.next(context, machine, parse(nextBody, body, 'next').wait, gone(reply));
        return send(print === undefined ? {} : { print: print.print });
      }
      case 'call-home': {
        const answer = await callHome(context, machine, parse(callBody, body, 'call-home').request);
        return send({ ...answer, machine: machineSchema.parse(answer.machine) });
      }
      case 'report':
        await takeReport(context, machine, parse(reportBody, body, 'report').report);
        return send({});
      default:
        throw new MillraceError('E_NOT_FOUND', `no call ${method}`);
    }
  });
}

function pageQueryOf(request: FastifyRequest): PageQuery {
  return parse(pageQuery, request.query, 'query');
}

/** Aborts when the caller's connection closes before it is answered, so that a long poll does not outlive it. */
function gone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}

function base64(text: string): Bytes {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'body: not base64', { cause });
  }
}

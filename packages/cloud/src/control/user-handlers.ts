import { type controlRoutes, LAST_EVENT_HEADER } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, toBase64, utf8 } from '@millrace/base';
import { exportCertificate } from '@millrace/ledger';
import { isSignIn, logKeysOf, type PrintCommand } from '@millrace/protocol';
import type { Handler, Handlers } from '../node/mount.ts';
import { type Actor, authorize, permits } from '../node/policy.ts';
import { logMap } from './account-map.ts';
import { lookAt } from './camera.ts';
import { caseView } from './cases.ts';
import type { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { shareOf } from './design-shares.ts';
import { beginRepair, uploadTicket } from './designs.ts';
import { EventFeeds } from './event-feeds.ts';
import { openingsPage, ReadableLists } from './ledger-openings.ts';
import { approverIn } from './licence-records.ts';
import { objectResource } from './life-records.ts';
import { mapProofs } from './map-proofs.ts';
import { materialsPage, spoolStatementsPage, spoolsPage } from './materials.ts';
import { metricsText } from './metrics.ts';
import { printOf } from './object-prints.ts';
import type { PairingBoard } from './pairings.ts';
import { enrolKey, issueCertificate, signingActor } from './people.ts';
import { keyView, signedDocuments } from './people-views.ts';
import { commandPrint } from './print-commands.ts';
import { settingsView } from './settings.ts';
import { enrolBySignIn } from './sign-in.ts';
import { signInsPage } from './sign-in-log.ts';
import { currentToken, organisationTokensPage, tokensPage } from './tokens.ts';
import { designUploaded, handleTransaction } from './transactions.ts';
import { UsageReader } from './usage.ts';
import {
  casesPage,
  designsPage,
  designView,
  groupsPage,
  groupView,
  invitationsPage,
  keysPage,
  licenceDocuments,
  licencesPage,
  licenceView,
  machinesPage,
  objectsPage,
  objectView,
  organisationsPage,
  printOn,
  printsPage,
  printView,
  rehearsalsPage,
  rehearsalView,
  visitsPage,
  visitView,
} from './views.ts';
import { webhookMessagesPage, webhooksPage } from './webhooks/transactions.ts';

type UserRoutes = Omit<
  typeof controlRoutes,
  | 'openapi'
  | 'directory'
  | 'mail'
  | 'nodes'
  | 'active'
  | 'machineCalls'
  | 'visas'
  | 'visitorCalls'
  | 'boxes'
  | 'revocations'
>;

/**
 * Routes for users: designs for owners, licences and prints for owners and holders, the nodes' state for the
 * administrator.
 */
export function userHandlers(
  context: ControlContext,
  checks: CheckBoard,
  pairings: PairingBoard,
): Handlers<UserRoutes> {
  const { records, ledger, publisher } = context;
  const designOf = (id: string) => records.designs.require(id);
  /** The licence, with the actor as its approver if it is one. */
  const readableBy = async (actor: Actor, id: string) => {
    const licence = await records.licences.require(id);
    return { ...licence, approver: approverIn(licence, nameOf(actor)) };
  };
  const command =
    (name: PrintCommand): Handler<typeof controlRoutes.prints.pause> =>
    async ({ params, body, actor, allow }) => {
      const found = allow(await records.prints.require(params.id));
      return commandPrint(context, found, name, base64(body.transaction), (signer) =>
        authorize(actor, 'transaction.submit', { signer }),
      );
    };
  const usage = new UsageReader(context);
  const feeds = new EventFeeds(context);
  const readable = new ReadableLists();
  // The check reads the whole ledger, so concurrent requests share one answer.
  let verifying: ReturnType<typeof ledger.check> | undefined;

  return {
    installation: {
      get: ({ allow }) => {
        allow();
        const { installation, adminKey } = context.directory;
        return {
          ...{ installation, adminKey, logKeys: [...logKeysOf(context.directory)] },
          witnesses: [...publisher.witnesses],
        };
      },
    },
    transactions: {
      submit: async ({ body: { transaction, attachments = {} }, allow }) => {
        const decode = (text: string | undefined) => (text === undefined ? undefined : base64(text));
        const { manifest, keys, secret, evidence } = attachments;
        return handleTransaction(
          context,
          base64(transaction),
          { manifest: decode(manifest), keys: decode(keys), secret: decode(secret), evidence: decode(evidence) },
          (signer) => allow({ signer }),
        );
      },
    },
    organisations: {
      list: ({ query, allow }) => {
        allow();
        return organisationsPage(context, query);
      },
      keys: async ({ params, query, allow }) => {
        const { organisation } = allow(await records.organisations.require(params.id));
        return keysPage(context, organisation, query);
      },
      invitations: async ({ params, query, allow }) => {
        const { organisation } = allow(await records.organisations.require(params.id));
        return invitationsPage(context, organisation, query);
      },
      tokens: async ({ params, query, allow }) => {
        const { organisation } = allow(await records.organisations.require(params.id));
        return organisationTokensPage(context, organisation, query);
      },
      webhooks: async ({ params, query, allow }) => {
        const { organisation } = allow(await records.organisations.require(params.id));
        return webhooksPage(context, 'organisation', organisation, query);
      },
      signIns: async ({ params, query, allow }) => {
        const { organisation } = allow(await records.organisations.require(params.id));
        return signInsPage(context, organisation, query);
      },
    },
    tokens: {
      list: ({ query, actor, allow }) => {
        allow();
        return tokensPage(context, nameOf(actor), query);
      },
      current: ({ actor, allow }) => {
        allow();
        if (actor.role !== 'user') throw new MillraceError('E_NOT_FOUND', 'no API token identifies the caller');
        return currentToken(context, actor);
      },
    },
    webhooks: {
      list: ({ query, actor, allow }) => {
        allow();
        return webhooksPage(context, 'key', nameOf(actor), query);
      },
      messages: async ({ params, query, actor, allow }) => {
        const { key, organisation } = await records.webhooks.require(params.id);
        allow({ signer: key, organisation });
        return webhookMessagesPage(context, params.id, actor, query);
      },
    },
    keys: {
      get: async ({ params, allow }) => {
        allow();
        return keyView(context, await records.users.require(params.id));
      },
      documents: async ({ params, allow }) => {
        const { user, member } = await records.users.require(params.id);
        allow({ organisation: member?.organisation });
        return { documents: await signedDocuments(context, user) };
      },
    },
    enrolments: {
      signIn: async ({ params, allow }) => {
        allow();
        const { document, signer } = await records.signIns.require(params.id);
        return { document: toBase64(document), signer: toBase64(signer) };
      },
      invitation: async ({ params, allow }) => {
        allow();
        const { document, signer } = await records.invitations.require(params.id);
        return { document: toBase64(document), signer: toBase64(signer) };
      },
      enrol: async ({ body, allow }) => {
        allow();
        const enrolment = base64(body.enrolment);
        const enrolled = isSignIn(enrolment) ? enrolBySignIn(context, enrolment) : enrolKey(context, enrolment);
        const { key, credential } = await enrolled;
        return { key, credential: toBase64(credential) };
      },
      certificate: async ({ body, allow }) => {
        allow();
        return { certificate: await issueCertificate(context, base64(body.request)) };
      },
    },
    pairings: {
      offer: ({ params, body, address, allow }) => {
        allow();
        const given = {
          offer: base64(body.offer),
          answer: body.answer === undefined ? undefined : base64(body.answer),
        };
        const { answer, certificate } = pairings.offer(params.id, given, address);
        return { answer: answer && toBase64(answer), certificate };
      },
      get: ({ params, actor, allow }) => {
        allow();
        const { offer, certified } = pairings.get(params.id, nameOf(actor));
        return { offer: toBase64(offer), certified };
      },
      answer: async ({ params, body, actor, allow }) => {
        allow();
        pairings.answer(params.id, base64(body.answer), nameOf(actor));
      },
      list: ({ allow }) => {
        allow();
        return { pairings: pairings.list() };
      },
      admit: async ({ params, body, allow }) => {
        allow();
        pairings.admit(params.id, body.certificate);
      },
    },
    designs: {
      list: ({ query, actor, allow }) => {
        allow();
        return designsPage(context, actor, query);
      },
      get: async ({ params, allow }) => designView(context, allow(await designOf(params.id))),
      private: async ({ params, allow }) => {
        const { design } = allow(await designOf(params.id));
        return (await records.privates.require(design)).sealed;
      },
      share: async ({ params, actor, allow }) => {
        const { design } = allow(await designOf(params.id));
        const { transaction, credential } = await shareOf(context, design, nameOf(actor));
        return { transaction: toBase64(transaction), credential: toBase64(credential) };
      },
      ticket: async ({ params, actor, allow }) => ({
        ticket: toBase64(await uploadTicket(context, allow(await designOf(params.id)), nameOf(actor))),
      }),
      uploaded: async ({ params, allow }) => {
        const { design } = allow(await designOf(params.id));
        await designUploaded(context, design);
        return designView(context, await designOf(design));
      },
      repair: async ({ params, body, allow }) => {
        const { design } = allow(await designOf(params.id));
        return { repair: await beginRepair(context, design, body.segments) };
      },
    },
    licences: {
      list: ({ query, actor, allow }) => {
        allow();
        return licencesPage(context, actor, query);
      },
      get: async ({ params, actor, allow }) => licenceView(context, allow(await readableBy(actor, params.id))),
      documents: async ({ params, actor, allow }) =>
        licenceDocuments(context, allow(await readableBy(actor, params.id))),
    },
    usage: {
      list: ({ query, actor, allow }) => {
        allow();
        return usage.page(actor, query);
      },
      totals: async ({ query, allow }) => {
        allow();
        return { totals: await usage.totals(query) };
      },
    },
    machines: {
      odometer: async ({ params, actor, allow }) => {
        allow(await printOn(context, actor, params.id));
        return records.odometers.require(params.id);
      },
      picture: async ({ params, body, actor, allow }) => {
        const machine = await records.machines.require(params.id);
        allow({ organisation: machine.organisation });
        const watch = { bytes: base64(body.watch), nonce: body.nonce };
        return { picture: toBase64(await lookAt(context, machine, watch, nameOf(actor))) };
      },
      list: ({ query, allow }) => {
        allow();
        return machinesPage(context, query);
      },
    },
    groups: {
      list: ({ query, allow }) => {
        allow();
        return groupsPage(context, query);
      },
      get: async ({ params, allow }) => {
        allow();
        return groupView(context, await records.groups.require(params.id));
      },
    },
    materials: {
      list: async ({ query, actor, allow }) => {
        allow();
        return materialsPage(context, await signingActor(context, nameOf(actor)), query);
      },
    },
    spools: {
      list: async ({ query, actor, allow }) => {
        allow();
        return spoolsPage(context, await signingActor(context, nameOf(actor)), query);
      },
      statements: async ({ params, query, actor, allow }) => {
        allow();
        return spoolStatementsPage(context, await signingActor(context, nameOf(actor)), params.id, query);
      },
    },
    prints: {
      list: ({ query, actor, allow }) => {
        allow();
        return printsPage(context, actor, query);
      },
      get: async ({ params, actor, allow }) =>
        printView(context, allow(await records.prints.require(params.id)), actor),
      pause: command('pause'),
      resume: command('resume'),
      cancel: command('cancel'),
      stop: command('stop'),
    },
    events: {
      stream: ({ query: { seconds }, headers, actor, renewed, allow }) => {
        allow();
        return feeds.feed({ actor, renewed, lastEvent: headers[LAST_EVENT_HEADER], seconds });
      },
    },
    visits: {
      list: ({ query, actor, allow }) => {
        allow();
        return visitsPage(context, nameOf(actor), query);
      },
      get: async ({ params, allow }) => {
        const visit = await records.visits.require(params.id);
        allow({ holder: visit.visitor });
        return visitView(visit);
      },
    },
    settings: {
      get: async ({ params, allow }) => {
        const { organisation } = await records.machines.require(params.id);
        allow({ organisation });
        return settingsView(context, await records.settings.require(params.id));
      },
    },
    rehearsals: {
      list: ({ query, actor, allow }) => {
        allow();
        return rehearsalsPage(context, actor, query);
      },
      get: async ({ params, allow }) => rehearsalView(context, allow(await records.rehearsals.require(params.id))),
    },
    cases: {
      list: ({ query, actor, allow }) => {
        allow();
        return casesPage(context, actor, query);
      },
      get: async ({ params, allow }) => caseView(allow(await records.cases.require(params.id))),
      evidence: async ({ params, allow }) => {
        const { object } = allow(await records.cases.require(params.id));
        return (await records.evidence.require(object)).sealed;
      },
    },
    objects: {
      list: ({ query, actor, allow }) => {
        allow();
        return objectsPage(context, actor, query);
      },
      get: async ({ params, actor, allow }) => {
        const print = allow(objectResource(await printOf(context, params.id)));
        return objectView(context, print, permits(actor, 'print.readInFull', print));
      },
      certificate: async ({ params, allow }) => {
        allow(objectResource(await printOf(context, params.id)));
        const { witnesses } = publisher;
        await logMap(ledger, context.logger);
        return exportCertificate(ledger, params.id, { checkpoint: await publisher.newest(), witnesses });
      },
    },
    ledger: {
      checkpoint: ({ allow }) => {
        allow();
        return ledger.checkpoint();
      },
      tile: async ({ params, allow }) => {
        allow();
        return ledger.tile(`tile/${params.path}`);
      },
      openings: ({ query, actor, allow }) => {
        allow();
        return openingsPage(context, actor, query, readable);
      },
      map: ({ body, actor, allow }) => {
        allow();
        return mapProofs(context, actor, body);
      },
      verify: async ({ actor, allow }) => {
        allow();
        verifying ??= ledger.check().finally(() => {
          verifying = undefined;
        });
        const { root, problems, accounts, ...report } = await verifying;
        // Messages name accounts of all owners.
        const inFull = permits(actor, 'status.readDamaged');
        const listed = problems.map(({ message, account, ...where }) =>
          inFull ? { ...where, message, account } : where,
        );
        return {
          ...report,
          ...(inFull && { accounts }),
          problems: listed,
          root: root === undefined ? null : toBase64(root),
        };
      },
    },
    checks: {
      begin: async ({ body: { deep }, allow }) => {
        allow();
        const { check, fresh } = checks.begin(deep);
        if (fresh)
          await context.mailbox.send({ role: 'keys', partition: check }, `check/${check}`, {
            type: 'vault.check',
            check,
            deep,
          });
        return { check };
      },
      get: ({ params, allow }) => {
        allow();
        return checks.show(params.id);
      },
    },
    status: {
      get: ({ actor, allow }) => {
        allow();
        return {
          // Skipped records may name designs of all owners.
          damagedRecords: permits(actor, 'status.readDamaged') ? context.damaged.list() : [],
          nodes: [...context.seen].map(([id, { role, at }]) => ({ id, role, seen: at })),
          maintenance: context.maintenance.current ?? null,
          quarantine: [...context.quarantine].map(([id, { role, reason }]) => ({ id, role, reason })),
        };
      },
    },
    metrics: {
      read: ({ allow }) => {
        allow();
        return utf8(metricsText(context));
      },
      report: ({ body: { samples }, actor, allow }) => {
        allow();
        if (actor.role !== 'guest' && 'id' in actor)
          context.nodeMetrics.take(actor.id, actor.role, samples, context.clock.now());
      },
    },
  };
}

function base64(text: string): Bytes {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'body: not base64', { cause });
  }
}

const nameOf = (actor: Actor): string => ('name' in actor ? actor.name : actor.id);

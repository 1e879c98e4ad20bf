import type { controlRoutes } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, toBase64 } from '@millrace/base';
import { exportCertificate } from '@millrace/ledger';
import type { Handlers } from '../node/mount.ts';
import { type Actor, permits } from '../node/policy.ts';
import type { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { beginRepair, uploadTicket } from './designs.ts';
import { openingsPage } from './openings.ts';
import { enrolKey, issueCertificate } from './people.ts';
import { keyView, signedDocuments } from './people-views.ts';
import { printOf } from './reports.ts';
import { designUploaded, handleTransaction } from './transactions.ts';
import {
  designsPage,
  designView,
  invitationsPage,
  keysPage,
  licencesPage,
  licenceView,
  machinesPage,
  objectsPage,
  objectView,
  organisationsPage,
  printsPage,
  printView,
} from './views.ts';

type UserRoutes = Omit<
  typeof controlRoutes,
  'openapi' | 'directory' | 'mail' | 'nodes' | 'machineCalls' | 'boxes' | 'revocations'
>;

/**
 * Routes for users: designs for owners, licences and prints for owners and holders, the nodes' state for the
 * administrator.
 */
export function userHandlers(context: ControlContext, checks: CheckBoard): Handlers<UserRoutes> {
  const { records, ledger, publisher } = context;
  const designOf = (id: string) => records.designs.require(id);
  // The check reads the whole ledger, so concurrent requests share one answer.
  let verifying: ReturnType<typeof ledger.check> | undefined;

  return {
    transactions: {
      submit: async ({ body: { transaction, attachments = {} }, allow }) => {
        const decode = (text: string | undefined) => (text === undefined ? undefined : base64(text));
        const { manifest, keys, secret } = attachments;
        return handleTransaction(
          context,
          base64(transaction),
          { manifest: decode(manifest), keys: decode(keys), secret: decode(secret) },
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
      invitation: async ({ params, allow }) => {
        allow();
        const { document, signer } = await records.invitations.require(params.id);
        return { document: toBase64(document), signer: toBase64(signer) };
      },
      enrol: async ({ body, allow }) => {
        allow();
        const { key, credential } = await enrolKey(context, base64(body.enrolment));
        return { key, credential: toBase64(credential) };
      },
      certificate: async ({ body, allow }) => {
        allow();
        return { certificate: await issueCertificate(context, base64(body.request)) };
      },
    },
    designs: {
      list: ({ query, actor, allow }) => {
        allow();
        return designsPage(context, nameOf(actor), query);
      },
      get: async ({ params, allow }) => designView(allow(await designOf(params.id))),
      private: async ({ params, allow }) => {
        const { design } = allow(await designOf(params.id));
        return (await records.privates.require(design)).sealed;
      },
      ticket: async ({ params, allow }) => ({
        ticket: toBase64(await uploadTicket(context, allow(await designOf(params.id)))),
      }),
      uploaded: async ({ params, allow }) => {
        const { design } = allow(await designOf(params.id));
        await designUploaded(context, design);
        return designView(await designOf(design));
      },
      repair: async ({ params, body, allow }) => {
        const { design } = allow(await designOf(params.id));
        return { repair: await beginRepair(context, design, body.segments) };
      },
    },
    licences: {
      list: ({ query, actor, allow }) => {
        allow();
        return licencesPage(context, nameOf(actor), query);
      },
      get: async ({ params, allow }) => licenceView(context, allow(await records.licences.require(params.id))),
    },
    machines: {
      list: ({ query, allow }) => {
        allow();
        return machinesPage(context, query);
      },
    },
    prints: {
      list: ({ query, actor, allow }) => {
        allow();
        return printsPage(context, nameOf(actor), query);
      },
      get: async ({ params, actor, allow }) =>
        printView(context, allow(await records.prints.require(params.id)), actor),
    },
    objects: {
      list: ({ query, actor, allow }) => {
        allow();
        return objectsPage(context, nameOf(actor), query);
      },
      get: async ({ params, actor, allow }) => {
        const print = allow(await printOf(context, params.id));
        return objectView(context, params.id, permits(actor, 'print.readInFull', print));
      },
      certificate: async ({ params, allow }) => {
        allow(await printOf(context, params.id));
        const { witnesses } = publisher;
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
        return openingsPage(context, actor, query);
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

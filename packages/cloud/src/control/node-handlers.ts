import type { controlRoutes } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import { machineSchema } from '@millrace/protocol';
import type { Handlers } from '../node/mount.ts';
import type { Actor } from '../node/policy.ts';
import { nextLook } from './camera.ts';
import type { ControlContext } from './context.ts';
import { deletionsOf } from './designs.ts';
import { mailNode } from './mailbox.ts';
import { checkNodeState } from './node-states.ts';
import { callHome } from './permits.ts';
import { nextCommand } from './print-commands.ts';
import { takeProgress } from './progress.ts';
import { rehearsalFor } from './rehearsals.ts';
import { takeReport } from './reports.ts';
import { settingsFor } from './settings.ts';
import type { SharedKeys } from './shared-keys.ts';
import { loadedOn } from './spools.ts';
import { giveVisa } from './visits.ts';

type MailRoutes = Pick<typeof controlRoutes, 'boxes' | 'mail'>;
type NodeRoutes = Pick<typeof controlRoutes, 'nodes' | 'active' | 'machineCalls' | 'visas' | 'visitorCalls'>;

type MailContext = Pick<ControlContext, 'directory' | 'mailbox' | 'ownMail' | 'boxes'>;

/** Routes for box keys and mail. */
export function mailHandlers({ directory, mailbox, ownMail, boxes }: MailContext): Handlers<MailRoutes> {
  return {
    boxes: {
      newest: async ({ params: { node, use }, allow }) => {
        allow();
        const { id, role } = mailNode(directory, node);
        if (role === 'control') ownMail.requireActive(id);
        return (await boxes.newest(id, use)).document;
      },
      announce: async ({ params, body, actor, allow }) => {
        allow();
        await mailbox.announce(proactive(actor).id, params.use, body.document, body.floor);
      },
    },
    mail: {
      send: async ({ params, query, body, actor, allow }) => {
        const recipient = mailNode(directory, params.recipient);
        allow({ recipient: recipient.role });
        if (!('id' in actor)) throw new MillraceError('E_AUTH', `not for the role ${actor.role}`);
        if (recipient.role === 'control') return ownMail.receive(recipient.id, actor.id, query.id, body);
        await mailbox.put(recipient.id, actor.id, query.id, body);
      },
      poll: async ({ query: { wait, consumer }, actor, allow, gone }) => {
        allow();
        return [...(await mailbox.poll(proactive(actor).id, consumer, wait, gone))];
      },
      acknowledge: async ({ body, actor, allow }) => {
        allow();
        await mailbox.acknowledge(proactive(actor).id, body.ids);
      },
      release: async ({ body, actor, allow }) => {
        allow();
        await mailbox.release(proactive(actor).id, body.ids);
      },
    },
  };
}

/** Routes for telemetry and for the calls of machines, which the distribution node passes on. */
export function nodeHandlers(context: ControlContext, sharedKeys: SharedKeys | undefined): Handlers<NodeRoutes> {
  const { machinesSeen, clock } = context;
  return {
    active: {
      health: ({ allow }) => {
        allow();
        return { active: true as const, node: context.id };
      },
      sharedKeys: async ({ actor, allow }) => {
        allow();
        if (sharedKeys === undefined || actor.role !== 'control')
          throw new MillraceError('E_STATE', 'the state of this control node is in its folder: it shares no keys');
        return sharedKeys(actor.id);
      },
    },
    nodes: {
      head: async ({ body, actor, allow }) => {
        allow();
        return checkNodeState(context, proactive(actor), body);
      },
      deletions: async ({ allow }) => {
        allow();
        return deletionsOf(context);
      },
      progress: async ({ params, body, allow }) => {
        allow();
        await takeProgress(context, params.object, body);
      },
      maintenance: async ({ body, allow }) => {
        allow();
        context.maintenance.current = body;
      },
    },
    machineCalls: {
      next: async ({ params: { machine }, body, allow, gone }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        const work = await context.printQueue.next(context, machine, body.wait, gone, body);
        if (work === undefined) return {};
        if ('organisation' in work) {
          const settings = await settingsFor(context, work);
          return settings === undefined ? {} : { settings, ...(await loadedOn(context, machine)) };
        }
        if ('rehearsal' in work) {
          const rehearsal = await rehearsalFor(context, work);
          return rehearsal === undefined ? {} : { rehearsal, ...(await loadedOn(context, machine)) };
        }
        const { print } = work;
        const loaded = await loadedOn(context, machine);
        if (!('visit' in work)) return { print, ...loaded };
        return { visit: { visit: work.visit, cloud: work.cloud, print }, ...loaded };
      },
      callHome: async ({ params: { machine }, body, actor, allow }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        const answer = await callHome(context, machine, body.request, { distribution: idOf(actor) });
        return { ...answer, machine: machineSchema.parse(answer.machine) };
      },
      command: async ({ params: { machine }, body, allow, gone }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        const { command } = await nextCommand(context, machine, body, gone);
        return command === undefined ? {} : { command: { ...command } };
      },
      commanded: ({ params: { machine }, body, allow }) => {
        allow();
        context.commands.answered(machine, body.command, body.refusal);
        return {};
      },
      look: async ({ params: { machine }, body, allow, gone }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        const look = await nextLook(context, machine, body.wait, gone);
        return look === undefined ? {} : { look };
      },
      looked: ({ params: { machine }, body, allow }) => {
        allow();
        if ('refusal' in body) context.looks.answered(machine, body.look, body.refusal);
        else context.looks.answered(machine, body.look, undefined, body.picture);
        return {};
      },
      report: async ({ params: { machine }, body, allow }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        await takeReport(context, machine, body.report);
        return {};
      },
    },
    visas: {
      give: async ({ params: { machine }, body, allow }) => {
        allow();
        return { ...(await giveVisa(context, machine, body.request)) };
      },
    },
    visitorCalls: {
      callHome: async ({ params: { machine, cloud }, body, actor, allow }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        const answer = await callHome(context, machine, body.request, {
          distribution: idOf(actor),
          visiting: { cloud, ...body.visit },
        });
        return { ...answer, machine: machineSchema.parse(answer.machine) };
      },
      report: async ({ params: { machine, cloud }, body, allow }) => {
        allow();
        machinesSeen.set(machine, clock.now());
        await takeReport(context, machine, body.report, cloud);
        return {};
      },
    },
  };
}

const idOf = (actor: Actor): string | undefined => ('id' in actor ? actor.id : undefined);

/** @throws {MillraceError} E_AUTH */
function proactive(actor: Actor): Extract<Actor, { role: 'segments' | 'keys' }> {
  if (actor.role === 'segments' || actor.role === 'keys') return actor;
  throw new MillraceError('E_AUTH', `not for the role ${actor.role}`);
}

import { MillraceError, wipe } from '@millrace/base';
import { parseInvitation } from '@millrace/client';
import { readBytes } from '@millrace/client/node';
import { joinInstallation } from '../installation/join.ts';
import { ask } from '../output/ask.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import type { Context } from './context.ts';

export interface LoginOptions {
  readonly invitation?: string;
  readonly invitationFile?: string;
  readonly as: string;
  readonly device: string;
}

/** Creates a key on this computer and enrols it with an invitation. */
export async function login(context: Context, options: LoginOptions): Promise<void> {
  const { terminal, home, clock, random } = context;
  const invitation = parseInvitation(await textOf(context, options));
  try {
    const joined = await joinInstallation({
      home,
      invitation,
      user: options.as,
      device: options.device,
      clock,
      random,
    });
    const { key, credential, layout, directory } = joined;
    const { name, until, member } = credential;
    if (member === undefined) throw new MillraceError('E_INTERNAL', 'enrolled without an organisation');
    const { organisation, organisationName, person, roles, device } = member;
    terminal.result(
      { home: layout.home, user: options.as, key, name, person, organisation, roles, device, until },
      [
        `${name} is enrolled in ${directory.name}.`,
        formatFields(
          [
            ['organisation', `${organisationName} (${organisation})`],
            ['roles', roles.join(', ')],
            ['person', person],
            ['device', device],
            ['key', key],
            ['counts until', new Date(until).toISOString().slice(0, 10)],
          ],
          '  ',
        ),
        `The key is in ${layout.user(options.as)}. Use it with \`${commandName} … --home ${layout.home}\`.`,
      ].join('\n'),
    );
  } finally {
    wipe(invitation.secret);
  }
}

async function textOf(context: Context, { invitation, invitationFile }: LoginOptions): Promise<string> {
  if (invitation !== undefined && invitationFile !== undefined)
    throw new MillraceError('E_INPUT', '--invitation and --invitation-file exclude each other');
  if (invitation !== undefined) return invitation;
  if (invitationFile !== undefined) return new TextDecoder().decode(await readBytes(context.path(invitationFile)));
  return ask(context.terminal, 'The invitation:', 'give it with --invitation-file', context.signal);
}

import { MillraceError, wipe } from '@millrace/base';
import {
  enrol,
  enrolBySignIn,
  type InstallationReference,
  parseInstallation,
  parseInvitation,
  readSignIn,
  signInCommitment,
} from '@millrace/client';
import { readBytes, signInAtProvider } from '@millrace/client/node';
import { type Joined, type JoinOptions, joinInstallation } from '../installation/join.ts';
import { ask } from '../output/ask.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { type Context, wholeNumber } from './context.ts';
import { type ProviderOptions, providerRules } from './provider-rules.ts';

export interface LoginOptions extends ProviderOptions {
  readonly invitation?: string;
  readonly invitationFile?: string;
  readonly oidc?: string;
  readonly port?: string;
  readonly scope?: readonly string[];
  readonly as: string;
  readonly device: string;
  /** File of a user key that is already used elsewhere. */
  readonly key?: string;
}

/** Creates a key on this computer and enrols it, with an invitation or by signing in at the organisation's provider. */
export async function login(context: Context, options: LoginOptions): Promise<void> {
  const { oidc, invitation, invitationFile } = options;
  if (oidc === undefined) return loginByInvitation(context, options);
  if (invitation !== undefined || invitationFile !== undefined)
    throw new MillraceError('E_INPUT', '--oidc and --invitation exclude each other');
  return loginAtProvider(context, oidc, options);
}

async function loginByInvitation(context: Context, options: LoginOptions): Promise<void> {
  const invitation = parseInvitation(await textOf(context, options));
  try {
    await joined(context, options, invitation, (enrolling, sealingKey) =>
      enrol(enrolling, invitation.secret, { name: options.device, sealingKey }),
    );
  } finally {
    wipe(invitation.secret);
  }
}

async function loginAtProvider(context: Context, text: string, options: LoginOptions): Promise<void> {
  const { terminal, signal } = context;
  const { organisation, ...reference } = parseInstallation(text);
  if (organisation === undefined)
    throw new MillraceError('E_INPUT', `the text names no organisation: use that of \`${commandName} org sign-in\``);
  const { port, scope = [], device } = options;
  await joined(context, options, reference, async (enrolling, sealingKey) => {
    const signIn = await readSignIn(enrolling.control, enrolling.directory, organisation);
    const { random, nonce } = signInCommitment(enrolling, organisation);
    const { idToken, keys } = await signInAtProvider({
      ...{ signIn: signIn.terms, nonce, scopes: scope, signal },
      rules: providerRules(context, options),
      port: port === undefined ? undefined : wholeNumber(port, '--port', 1, 65_535),
      show: (address) => terminal.say(`Open this address in a browser and sign in:\n\n${address}\n`),
    });
    return enrolBySignIn(enrolling, signIn, { idToken, keys, random, device: { name: device, sealingKey } });
  });
}

async function joined(
  { terminal, home, clock, random, path }: Context,
  options: LoginOptions,
  reference: InstallationReference,
  enrolKey: JoinOptions['enrol'],
): Promise<void> {
  const existingKey = options.key === undefined ? undefined : path(options.key);
  const done = await joinInstallation({
    ...{ home, reference, user: options.as, existingKey, clock, random },
    enrol: enrolKey,
  });
  show(terminal, options.as, done);
}

function show(terminal: Context['terminal'], user: string, { key, credential, layout, directory }: Joined): void {
  const { name, until, member } = credential;
  if (member === undefined) throw new MillraceError('E_INTERNAL', 'enrolled without an organisation');
  const { organisation, organisationName, person, roles, device } = member;
  terminal.result(
    { home: layout.home, user, key, name, person, organisation, roles, device, until },
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
      `The key is in ${layout.user(user)}. Use it with \`${commandName} … --home ${layout.home}\`.`,
    ].join('\n'),
  );
}

async function textOf(context: Context, { invitation, invitationFile }: LoginOptions): Promise<string> {
  if (invitation !== undefined && invitationFile !== undefined)
    throw new MillraceError('E_INPUT', '--invitation and --invitation-file exclude each other');
  if (invitation !== undefined) return invitation;
  if (invitationFile !== undefined) return new TextDecoder().decode(await readBytes(context.path(invitationFile)));
  return ask(context.terminal, 'The invitation:', 'give it with --invitation-file', context.signal);
}

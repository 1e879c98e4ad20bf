import { MillraceError, toBase64 } from '@millrace/base';
import {
  formatInstallation,
  heldRevocations,
  readSignIn,
  revokeSignIn,
  type SignIn,
  type SignInTerms,
  setSignIn,
} from '@millrace/client';
import { addressesOf, createHttpClient, signInRoles } from '@millrace/protocol';
import { discoverProvider } from '@millrace/protocol/provider';
import { readAddresses } from '../installation/open.ts';
import { referenceOf } from '../installation/reference.ts';
import type { InstallationSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields } from '../output/format.ts';
import { type Context, oneOf, wholeNumber, withSession } from './context.ts';
import { organisationOf } from './people.ts';
import { type ProviderOptions, providerRules } from './provider-rules.ts';

const DAY_MS = 86_400_000;

interface OrgOption {
  readonly org?: string;
}

/** Names the provider of an organisation and pins its present keys. */
export function set(
  context: Context,
  options: OrgOption &
    ProviderOptions & {
      readonly issuer: string;
      readonly clientId: string;
      readonly claim: string;
      readonly map: readonly string[];
      readonly domain: readonly string[];
      readonly days: string;
      readonly keyDays: string;
    },
): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const { organisation } = await organisationOf(session, options.org);
    const { issuer, clientId, claim } = options;
    const until = context.clock.now() + wholeNumber(options.days, '--days', 1, 366) * DAY_MS;
    const keyMs = wholeNumber(options.keyDays, '--key-days', 1, 7) * DAY_MS;
    const mapping = options.map.map(mappingOf);
    const domains = options.domain.map((domain) => domain.toLowerCase());
    await sign(context, session, { organisation, issuer, clientId, claim, mapping, domains, keyMs, until }, options);
  });
}

/** Pins the provider's present keys again, for example after the provider has rotated them. */
export function refresh(context: Context, options: OrgOption & ProviderOptions & { readonly days: string }) {
  return withSession(context, 'admin', async (session) => {
    const { terms } = await current(session, options.org);
    const { organisation, issuer, clientId, claim, mapping, domains, keyMs } = terms;
    const until = context.clock.now() + wholeNumber(options.days, '--days', 1, 366) * DAY_MS;
    await sign(context, session, { organisation, issuer, clientId, claim, mapping, domains, keyMs, until }, options);
  });
}

export function show(context: Context, options: OrgOption): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const { signIn, terms } = await current(session, options.org);
    const text = await textFor(session, terms.organisation);
    const { issuer, clientId, claim, mapping, domains, keys, keyMs, until } = terms;
    context.terminal.result(
      { signIn, issuer, clientId, claim, mapping, domains, keys: keys.map(toBase64), keyMs, until, text },
      [
        formatFields(
          [
            ['issuer', issuer],
            ['client', clientId],
            ['groups', `${claim}: ${mapping.map(({ group, roles }) => `${group} = ${roles.join(', ')}`).join('; ')}`],
            ['e-mail', domains.join(', ')],
            ['keys', `${keys.length} pinned`],
            ['valid', `until ${dayOf(until)}; enrolled keys for ${keyMs / DAY_MS} days`],
          ],
          '  ',
        ),
        ...howTo(text),
      ].join('\n'),
    );
  });
}

/** Revokes the sign-in: keys that were enrolled by it, and what they have signed, no longer count. */
export function remove(context: Context, options: OrgOption): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const signIn = await current(session, options.org);
    const { terms } = signIn;
    const sequence = await revokeSignIn(session, signIn);
    context.terminal.result(
      { organisation: terms.organisation, signIn: signIn.signIn, sequence },
      `The sign-in at ${terms.issuer} is revoked, and with it every key that was enrolled by it.`,
    );
  });
}

async function sign(
  context: Context,
  session: InstallationSession,
  terms: SignInTerms,
  options: ProviderOptions,
): Promise<void> {
  const { keys } = await discoverProvider(terms.issuer, terms.clientId, providerRules(context, options));
  const signIn = await setSignIn(session, terms, keys);
  const text = await textFor(session, terms.organisation);
  context.terminal.result(
    { organisation: terms.organisation, signIn, keys: keys.length, until: terms.until, text },
    [
      `People sign in at ${terms.issuer}, until ${dayOf(terms.until)}. Keys pinned: ${keys.length}.`,
      ...howTo(text),
    ].join('\n'),
  );
}

/** The organisation's sign-in, verified. @throws {MillraceError} E_NOT_FOUND, E_REVOKED */
async function current(session: InstallationSession, org: string | undefined): Promise<SignIn> {
  const { directory, installation } = session;
  const { organisation } = await organisationOf(session, org);
  const addresses = await readAddresses(installation);
  const control = createHttpClient({
    addresses: () => addressesOf(directory, 'control', () => addresses.control),
    tls: { directory },
  });
  try {
    const revocations = await heldRevocations(session);
    return await readSignIn(control, { ...directory, revocations }, organisation);
  } finally {
    control.close();
  }
}

async function textFor({ installation }: InstallationSession, organisation: string): Promise<string> {
  return formatInstallation({ ...(await referenceOf(installation)), organisation });
}

const howTo = (text: string) => [
  'Give this text, which is public, to the people:',
  '',
  text,
  '',
  `There: \`${commandName} login --oidc TEXT --home FOLDER\`.`,
];

/** "group=role,role" */
function mappingOf(text: string): SignInTerms['mapping'][number] {
  const at = text.lastIndexOf('=');
  if (at < 1) throw new MillraceError('E_INPUT', `--map: expected GROUP=ROLE,ROLE; not ${text}`);
  const roles = text
    .slice(at + 1)
    .split(',')
    .map((role) => oneOf('--map', role, signInRoles));
  return { group: text.slice(0, at), roles };
}

const dayOf = (time: number): string => new Date(time).toISOString().slice(0, 10);

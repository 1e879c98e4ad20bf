import {
  createToken,
  formatInstallation,
  parseInstallation,
  pick,
  revokeToken,
  type TokenView,
  verifyOwnToken,
} from '@millrace/client';
import { tokenScopes } from '@millrace/protocol';
import { referenceOf } from '../installation/reference.ts';
import type { InstallationSession } from '../installation/session.ts';
import { setUpInstallation } from '../installation/set-up.ts';
import { commandName } from '../output/command-name.ts';
import { formatTable } from '../output/format.ts';
import { type Context, oneOf, TOKEN_VARIABLE, wholeNumber, withSession } from './context.ts';
import { organisationOf } from './people.ts';

export function create(
  context: Context,
  options: { readonly name: string; readonly scope: readonly string[]; readonly days: string },
): Promise<void> {
  const scopes = options.scope.map((scope) => oneOf('--scope', scope, tokenScopes));
  const days = wholeNumber(options.days, '--days', 1, 366);
  return withSession(context, 'owner', async (session) => {
    const { token, text, until } = await createToken(session, { name: options.name, scopes, days });
    const installation = formatInstallation(await referenceOf(session.installation));
    context.terminal.result(
      { token, text, name: options.name, scopes, until, installation },
      [
        `The API token is shown once. It is valid until ${dayOf(until)}:`,
        '',
        text,
        '',
        `On a computer without this installation: \`${commandName} connect TEXT --home FOLDER\` with the text`,
        '',
        installation,
        '',
        `Then: \`${TOKEN_VARIABLE}=mr_… ${commandName} object list --home FOLDER\`.`,
      ].join('\n'),
    );
  });
}

export function list(context: Context, options: { readonly org?: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { org } = options;
    const tokens = await tokensOf(session, org);
    if (org === undefined) for (const token of tokens) await verifyOwnToken(session, token);
    context.terminal.result(
      { tokens },
      tokens.length === 0
        ? 'No API tokens.'
        : formatTable(
            ['token', 'name', 'scopes', 'made by', 'last used', 'state'],
            tokens.map((token) => [
              token.token,
              token.name,
              token.scopes.join(', '),
              `${token.by} (${token.key.slice(0, 8)})`,
              token.lastUsed === undefined ? 'never' : dayOf(token.lastUsed),
              stateOf(token, context.clock.now()),
            ]),
          ),
    );
  });
}

export function revoke(context: Context, who: string, options: { readonly org?: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const tokens = await tokensOf(session, options.org);
    const open = tokens.filter(({ revoked }) => revoked === undefined);
    const { token, name } = pick('token', who, open, (one) => [one.token, one.prefix, one.name]);
    await revokeToken(session, token);
    context.terminal.result({ token, name }, `The API token ${name} (${token}) is revoked.`);
  });
}

/** Sets up a folder for commands that use an API token. It gets no key. */
export async function connect(context: Context, text: string): Promise<void> {
  const { layout, directory } = await setUpInstallation(context.home, parseInstallation(text), context.clock);
  context.terminal.result(
    { home: layout.home, installation: directory.installation },
    `${layout.home} reaches ${directory.name}. Set ${TOKEN_VARIABLE}, or enrol a key with \`${commandName} login\`.`,
  );
}

/** Tokens of the user's key, or of an organisation's people. */
async function tokensOf(session: InstallationSession, org: string | undefined): Promise<TokenView[]> {
  if (org === undefined) return session.api.tokens();
  return session.api.organisationTokens((await organisationOf(session, org)).organisation);
}

function stateOf({ until, revoked }: TokenView, now: number): string {
  if (revoked !== undefined) return `revoked ${dayOf(revoked.at)}`;
  return until < now ? `expired ${dayOf(until)}` : `until ${dayOf(until)}`;
}

const dayOf = (time: number): string => new Date(time).toISOString().slice(0, 10);

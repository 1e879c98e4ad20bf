import { tokenScopes } from '@millrace/protocol/shapes';
import type { Command } from 'commander';
import type { Add, Group } from './add-command.ts';
import { addWebhooks } from './webhook-commands.ts';

/** Commands that enrol a computer, and commands for programs: API tokens and webhooks. */
export function addSignIn(program: Command, group: Group, add: Add): void {
  const token = group('token', 'API tokens: for scripts that read, within scopes and for a time');
  const tokens = () => import('./commands/tokens.ts');
  add(token, 'create', 'create an API token: shows it, once', async (context, _, options) =>
    (await tokens()).create(context, options),
  )
    .requiredOption('--name <name>', 'what the token is for')
    .requiredOption('--scope <scope...>', `what it may do: ${tokenScopes.join(', ')}`)
    .option('--days <n>', 'how long it is valid, at most 366', '30');
  const ofOrg = (command: Command) =>
    command.option('--org <org>', 'of all people of this organisation (owner-admin); default: your own');
  ofOrg(
    add(token, 'list', 'list API tokens, who made them and when they were used', async (context, _, options) =>
      (await tokens()).list(context, options),
    ),
  );
  ofOrg(
    add(token, 'revoke <token>', 'revoke an API token', async (context, [id = ''], options) =>
      (await tokens()).revoke(context, id, options),
    ),
  );
  add(
    program,
    'connect <text>',
    'set up a folder for commands with an API token, with the text that `token create` shows',
    async (context, [text = '']) => (await tokens()).connect(context, text),
  );
  addWebhooks(group, add);

  add(
    program,
    'login',
    'enrol this computer by an invitation: makes a key here, and a folder for commands to work in',
    async (context, _, options) => (await import('./commands/login.ts')).login(context, options),
  )
    .option('--invitation <text>', 'the invitation; visible to other users of this computer')
    .option('--invitation-file <file>', 'read the invitation from a file (default: ask for it)')
    .option('--oidc <text>', 'sign in at the organisation’s provider instead, with the text that `org sign-in` shows')
    .option('--port <port>', 'with --oidc: port of the local redirect (default: a free one)')
    .option('--scope <scope...>', 'with --oidc: further scopes, for the claim that lists the groups')
    .option('--private-network', 'with --oidc: the provider is in a private network')
    .option('--as <name>', 'name of the user on this computer', 'me')
    .option('--device <name>', 'name of this device, for the others in the organisation', 'computer')
    .option('--key <file>', 'enrol this user key instead of a new one: one key at several clouds');
}

/** Commands with which owner-admins set their organisation's sign-in. */
export function addOrganisationSignIn(org: Command, add: Add): void {
  const commands = () => import('./commands/sign-in.ts');
  const common = (command: Command) =>
    command
      .option('--org <org>', 'the organisation (default: your own)')
      .option('--private-network', 'the provider is in a private network');
  const days = (command: Command) =>
    command.option('--days <n>', 'how long people can sign in by it, at most 366', '90');
  common(
    days(
      add(
        org,
        'set-sign-in',
        'let people enrol keys by signing in at an OpenID provider: pins its present keys',
        async (context, _, options) => (await commands()).set(context, options),
      ),
    ),
  )
    .requiredOption('--issuer <url>', 'the provider, as in its ID tokens')
    .requiredOption('--client-id <id>', 'this application at the provider: public, native, redirect to 127.0.0.1')
    .requiredOption('--map <group=roles...>', 'roles of the members of a group: designer, operator, auditor')
    .requiredOption('--domain <domain...>', 'domains of the admitted e-mail addresses')
    .option('--claim <name>', 'the claim that lists a person’s groups', 'groups')
    .option('--key-days <n>', 'how long an enrolled key counts after the sign-in, at most 7', '7');
  common(
    days(
      add(org, 'refresh-sign-in', 'pin the provider’s present keys again', async (context, _, options) =>
        (await commands()).refresh(context, options),
      ),
    ),
  );
  const orgOnly = (command: Command) => command.option('--org <org>', 'the organisation (default: your own)');
  orgOnly(
    add(org, 'sign-in', 'show how people sign in, and the text for them', async (context, _, options) =>
      (await commands()).show(context, options),
    ),
  );
  orgOnly(
    add(
      org,
      'remove-sign-in',
      'revoke the sign-in, every key that was enrolled by it, and what these keys have signed',
      async (context, _, options) => (await commands()).remove(context, options),
    ),
  );
}

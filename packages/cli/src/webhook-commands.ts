import { changeKinds } from '@millrace/protocol/shapes';
import { type Command, Option } from 'commander';
import type { Add, Group } from './add-command.ts';

/** Commands for webhooks. */
export function addWebhooks(group: Group, add: Add): void {
  const webhook = group('webhook', 'webhooks: addresses to which control sends what changes');
  const commands = () => import('./commands/webhooks.ts');
  const ofOrg = (command: Command) =>
    command.option('--org <org>', 'of all people of this organisation (owner-admin); default: your own');
  add(
    webhook,
    'create <url>',
    'send what changes to an address: shows the secret, once',
    async (context, [url = ''], options) => (await commands()).create(context, url, options),
  )
    .requiredOption('--name <name>', 'what the webhook is for')
    .option('--kind <kind...>', `only changes of these things: ${changeKinds.join(', ')}`);
  ofOrg(
    add(webhook, 'list', 'list webhooks, and whether they receive', async (context, _, options) =>
      (await commands()).list(context, options),
    ),
  );
  ofOrg(
    add(
      webhook,
      'messages <webhook>',
      'list what was sent in the last seven days',
      async (context, [id = ''], options) => (await commands()).messages(context, id, options),
    ),
  );
  add(webhook, 'test <webhook>', 'send a test message', async (context, [id = '']) =>
    (await commands()).test(context, id),
  );
  add(webhook, 'replay <webhook>', 'send messages of the last seven days again', async (context, [id = ''], options) =>
    (await commands()).replay(context, id, options),
  )
    .addOption(new Option('--message <id>', 'only this one').conflicts('after'))
    .option('--after <id>', 'all after this one');
  add(webhook, 'rotate <webhook>', 'replace the secret: shows it, once', async (context, [id = '']) =>
    (await commands()).rotate(context, id),
  );
  for (const [name, state, what] of [
    ['enable', 'on', 'send again to a webhook that is off'],
    ['disable', 'off', 'send nothing for the time being'],
    ['delete', 'deleted', 'delete a webhook and its messages'],
  ] as const)
    ofOrg(
      add(webhook, `${name} <webhook>`, what, async (context, [id = ''], options) =>
        (await commands()).set(context, id, state, options),
      ),
    );
}

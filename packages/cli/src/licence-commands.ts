import type { Add, Group } from './add-command.ts';

export function addLicences(group: Group, add: Add): void {
  const licence = group('licence', 'licences: how many objects of a design, on which machines');
  add(licence, 'grant', 'sign a licence', async (context, _, options) => {
    const { grant } = await import('./commands/licence.ts');
    return grant(context, options);
  })
    .requiredOption('--design <id>', 'identifier (or its beginning) or name of the design')
    .requiredOption('--objects <n>', 'how many objects may be made')
    .option('--machine <name...>', 'machines on which they may be made')
    .option('--group <name...>', 'groups of machines: those that are in them now, while they are')
    .option('--site <name...>', 'sites: as groups')
    .option('--later-machines', 'also machines that join these groups and sites later (needs a design of custody keys)')
    .option('--kind <kind...>', 'with --later-machines: only machines of these kinds')
    .option('--material <name...>', 'materials of which they may be made (default: any)')
    .option('--supplier <org...>', 'suppliers, one of whom has to certify the material')
    .option('--days <n>', 'how long it is valid', '30')
    .option('--holder <holder>', 'who may order prints: a user, an operator’s key, or an organisation', 'operator')
    .option(
      '--disclose <list>',
      'what the holder sees: none, or progress,state,temperatures,buffer,position (default: all but position)',
    )
    .option(
      '--transferable [policy]',
      'the holder may transfer what is left: alone (default), or with-approval of yours',
    )
    .option('--price <amount>', 'what an object costs, or a period with --every: for example "12.50 EUR"')
    .option('--every <length>', 'a subscription: the length of its period, for example 1month or 14days')
    .option('--from <date>', 'begin of the first period, YYYY-MM-DD in UTC (default: today)')
    .option('--quota <n>', 'objects of each period that its price includes')
    .option('--overage <amount>', 'price of an object beyond the quota (default: it is refused)')
    .option('--credit-below <lines>', 'credit an object by itself if its machine signs that it failed before this line')
    .option('--credit-most <n>', 'how many objects --credit-below credits at most (default: 1)');
  add(
    licence,
    'approve <licence>',
    'show what waits for your approval of a licence, and sign that you approve it',
    async (context, [id = '']) => (await import('./commands/licence-amendments.ts')).approve(context, id),
  );
  add(
    licence,
    'extend <licence>',
    'sign that it names more machines; the number of objects stays the same',
    async (context, [id = ''], options) =>
      (await import('./commands/licence-amendments.ts')).extend(context, id, options),
  )
    .option('--machine <name...>', 'machines on which its objects may be made, too')
    .option('--group <name...>', 'groups: those of their machines that it does not name yet')
    .option('--site <name...>', 'sites: as groups')
    .option('--later-machines', 'also machines that join these groups and sites later (needs a design of custody keys)')
    .option('--kind <kind...>', 'with --later-machines: only machines of these kinds');
  add(
    licence,
    'resume <licence>',
    'after a restored backup, sign how many objects of a suspended licence are left',
    async (context, [id = ''], options) => (await import('./commands/licence.ts')).resume(context, id, options),
  ).requiredOption('--left <n>', 'how many objects may still be made');
  add(
    licence,
    'suspend <licence>',
    'sign that no object of it begins until you reinstate it; objects that are being made are finished',
    async (context, [id = '']) => (await import('./commands/licence.ts')).suspend(context, id),
  );
  add(
    licence,
    'reinstate <licence>',
    'sign that objects of a suspended licence may begin again; refused prints have to be requested again',
    async (context, [id = '']) => (await import('./commands/licence.ts')).reinstate(context, id),
  );
  add(
    licence,
    'revoke <licence>',
    'sign that no object of it begins any more; objects that are being made are finished',
    async (context, [id = ''], options) => (await import('./commands/licence.ts')).revoke(context, id, options),
  ).option('--stop', 'stop the objects that are being made, too: they end as failed');
  add(
    licence,
    'transfer <licence>',
    'as its holder, sign that what is left of it goes to another holder',
    async (context, [id = ''], options) =>
      (await import('./commands/licence-amendments.ts')).transfer(context, id, options),
  ).requiredOption('--to <holder>', 'the new holder: a user, an operator’s key, or an organisation');
  add(licence, 'show <licence>', 'show a licence and its state', async (context, [id = '']) =>
    (await import('./commands/licence.ts')).show(context, id),
  );
  add(licence, 'list', 'licences of the user', async (context) =>
    (await import('./commands/licence.ts')).list(context),
  );
}

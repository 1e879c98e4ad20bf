import type { Add, Group } from './add-command.ts';

const atOther = ['--at <home>', 'home folder in which your key is enrolled at that cloud'] as const;

/** Commands for other clouds that this one recognises (docs/federation.md). */
export function addClouds(group: Group, add: Add): void {
  const cloud = group('cloud', 'other clouds, whose machines may make objects of this one');
  add(
    cloud,
    'recognise <directory>',
    'sign that the cloud with this directory.json is recognised; repeat it when that cloud has changed its keys',
    async (context, [file = ''], options) => (await import('./commands/cloud.ts')).recognise(context, file, options),
  )
    .requiredOption('--admin-key <hex>', 'key of its administrator, from a channel that you trust')
    .option('--distribution <host:port>', 'address of its distribution node (default: as in its directory)');
  add(cloud, 'withdraw <cloud>', 'no longer recognise a cloud: no further object begins', async (context, [id = '']) =>
    (await import('./commands/cloud.ts')).withdraw(context, id),
  );
  add(
    cloud,
    'list',
    'list this cloud and the recognised ones, with the keys of their administrators',
    async (context) => (await import('./commands/cloud.ts')).list(context),
  );
  add(
    cloud,
    'introduce <machine>',
    'make a machine of a recognised cloud known here, so that licences may name it',
    async (context, [machine = ''], options) =>
      (await import('./commands/cloud.ts')).introduce(context, machine, options),
  ).requiredOption(...atOther);
  const visit = group('visit', 'your orders on machines of another cloud: `print --at` makes them');
  add(visit, 'list', 'list the orders, the newest first', async (context, _, options) =>
    (await import('./commands/visits.ts')).list(context, options),
  ).requiredOption(...atOther);
  add(
    visit,
    'cancel <visit>',
    'cancel an order that its machine has not taken, at both clouds; give the visit or its print',
    async (context, [id = ''], options) => (await import('./commands/visits.ts')).cancel(context, id, options),
  ).requiredOption(...atOther);
}

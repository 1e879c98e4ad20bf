import type { Add, Group } from './add-command.ts';

/** Commands for objects: their history, and what their owners sign after they were made. */
export function addObjects(group: Group, add: Add): void {
  const object = group('object', 'objects: parts that were ordered or made');
  add(object, 'show <object>', 'show the history of an object from the ledger', async (context, [id = '']) =>
    (await import('./commands/objects.ts')).show(context, id),
  );
  add(object, 'list', 'list the objects of the user', async (context) =>
    (await import('./commands/objects.ts')).list(context),
  );
  add(
    object,
    'photos <object>',
    'open the photos that a camera took while an object was made, and compare them with the machine’s signed reports',
    async (context, [id = ''], options) => (await import('./commands/photos.ts')).open(context, id, options),
  )
    .requiredOption('--from <folder>', 'folder with the sealed photos, as the machine’s operator gave them')
    .requiredOption('--to <folder>', 'new folder for the opened photos');
  add(
    object,
    'transfer <object>',
    'offer a part to another party, who owns it from its acceptance on',
    async (context, [id = ''], options) => (await import('./commands/life.ts')).transfer(context, id, options),
  ).requiredOption('--to <party>', 'an organisation, or a user without one');
  add(
    object,
    'accept <object>',
    'verify the certificate of a part that is offered to you, and accept the part',
    async (context, [id = '']) => (await import('./commands/life.ts')).accept(context, id),
  );
  add(
    object,
    'appoint <object>',
    'name who may sign inspections of a part for its owner, in place of those named before',
    async (context, [id = ''], options) => (await import('./commands/life.ts')).appoint(context, id, options),
  )
    .option('--inspector <party...>', 'organisations, or users without one; at most 10')
    .option('--none', 'nobody but the owner');
  add(object, 'inspect <object>', 'sign the result of an inspection of a part', async (context, [id = ''], options) =>
    (await import('./commands/life.ts')).inspect(context, id, options),
  )
    .option('--passed', 'the part has passed')
    .option('--failed', 'the part has failed')
    .option('--method <text>', 'what was done, such as the number of a standard')
    .option('--report <file>', 'the inspection report: its SHA-256 is signed, the file stays with you');
  add(
    object,
    'retire <object>',
    'sign that a part is out of use: nothing can follow',
    async (context, [id = ''], options) => (await import('./commands/life.ts')).retire(context, id, options),
  ).requiredOption('--reason <reason>', 'worn, scrapped, recycled, lost, recalled or other');
}

import type { Add, Group } from './add-command.ts';

/** Commands for what went wrong with an object: failure cases and alarms. */
export function addCases(group: Group, add: Add): void {
  const failure = group('case', 'failure cases: objects that cannot be used, and what their owners decide');
  add(
    failure,
    'open <object>',
    'sign that an object cannot be used; its print also names it',
    async (context, [id = ''], options) => (await import('./commands/cases.ts')).open(context, id, options),
  )
    .requiredOption('--reason <reason>', 'what failed: adhesion, warping, layer-shift and others')
    .option('--note <text>', 'a text for the owner, whom it is sealed to')
    .option('--photo <file>', 'a photo for the owner: JPEG or PNG, at most 2 MB; its metadata is removed');
  add(failure, 'list', 'list the cases of the user', async (context) =>
    (await import('./commands/cases.ts')).list(context),
  );
  add(failure, 'show <object>', 'show a case; the owner sees text and photo', async (context, [id = ''], options) =>
    (await import('./commands/cases.ts')).show(context, id, options),
  ).option('--photo <file>', 'write the photo to a new file');
  add(failure, 'decide <object>', 'sign the decision on a case', async (context, [id = ''], options) =>
    (await import('./commands/cases.ts')).decide(context, id, options),
  )
    .option('--credit', 'one more object may be made in place of this one, which is final')
    .option('--deny', 'no object is made in place of this one')
    .option('--note <text>', 'the reason, for the holder');

  const alarm = group('alarm', 'alarms: streams that were consumed too fast, and odometers with gaps');
  add(alarm, 'list', 'list objects and machines with an alarm, cleared or not', async (context) =>
    (await import('./commands/alarms.ts')).list(context),
  );
  add(
    alarm,
    'clear <object>',
    'sign that the alarm of an object, or of a machine’s odometer, was investigated: the machine may print again',
    async (context, [id = '']) => (await import('./commands/alarms.ts')).clear(context, id),
  );
}

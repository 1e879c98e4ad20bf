import type { Add, Group } from './add-command.ts';

/** Commands for job packages: the owner's, and those of the workstation's driver. */
export function addPackages(group: Group, add: Add): void {
  const job = group('package', 'job packages: designs in a file, for one driver, one machine and N objects');
  add(
    job,
    'create <file>',
    'seal a design into a job package and license it; the cloud gets no segment of it (see docs/packages.md)',
    async (context, [file = ''], options) => (await import('./commands/package.ts')).create(context, file, options),
  )
    .requiredOption('--driver <file>', 'key of the driver, from `millrace driver key`')
    .requiredOption('--machine <name>', 'the machine that the driver drives')
    .requiredOption('--objects <n>', 'how many objects may be made')
    .requiredOption('--out <file>', 'the package, for example part.mrjob')
    .option('--name <name>', 'name of the design (default: that of the file)')
    .option('--kind <kind>', 'gcode or binary (default: from the name of the file)')
    .option('--rate <bytes>', 'for binary designs: bytes a second')
    .option('--material <name...>', 'materials of which they may be made (default: any)')
    .option('--supplier <org...>', 'suppliers, one of whom has to certify the material')
    .option('--days <n>', 'how long it is valid', '30')
    .option('--holder <holder>', 'who may order prints: a user, an operator’s key, or an organisation', 'operator');

  add(
    job,
    'export <file>',
    'put a job package into a 3MF file that its machine’s driver opens (3MF Secure Content; see docs/packages.md)',
    async (context, [file = ''], options) =>
      (await import('./commands/package-3mf.ts')).exportFile(context, file, options),
  )
    .requiredOption('--consumer <file>', 'RSA key of the driver, from `millrace driver key --3mf`')
    .requiredOption('--3mf <file>', 'the 3MF file');
  add(job, 'import <file>', 'take the job package out of a 3MF file', async (context, [file = ''], options) =>
    (await import('./commands/package-3mf.ts')).importFile(context, file, options),
  )
    .requiredOption('--machine <name>', 'the machine whose driver opens it')
    .requiredOption('--out <file>', 'the package, for example part.mrjob');

  const driver = group('driver', 'the driver of a workstation: makes objects from job packages on its machine');
  add(
    driver,
    'key <machine>',
    'write the driver’s key for the owner, signed by the machine; makes the key if there is none',
    async (context, [machine = ''], options) => (await import('./commands/driver.ts')).key(context, machine, options),
  )
    .requiredOption('--out <file>', 'where the key is written, for example mk3.driver')
    .option('--3mf <file>', 'write the driver’s RSA key for 3MF files as well, for example mk3.pem');
  add(
    driver,
    'make <machine> <file>',
    'make objects from a job package or the 3MF file with it; orders each print that is not ordered yet',
    async (context, [machine = '', file = ''], options) =>
      (await import('./commands/driver.ts')).make(context, machine, file, options),
  ).option('--objects <n>', 'how many', '1');
  add(
    driver,
    'watch <machine> <folder>',
    'make one object from every job package that appears in a folder, until interrupted',
    async (context, [machine = '', folder = '']) =>
      (await import('./commands/driver.ts')).watch(context, machine, folder),
  );
}

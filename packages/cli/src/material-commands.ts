import type { Add, Group } from './add-command.ts';

/** Commands for materials: their certificates, and the spools at machines. */
export function addMaterials(group: Group, add: Add): void {
  const commands = () => import('./commands/materials.ts');
  const material = group('material', 'materials that a supplier certifies, one certificate for each spool');
  add(material, 'certify', 'sign the certificate of a spool (supplier)', async (context, _, options) =>
    (await commands()).certify(context, options),
  )
    .requiredOption('--name <name>', 'the material, as licences name it, for example PLA')
    .requiredOption('--batch <batch>', 'production batch')
    .requiredOption('--spool <serial>', 'your serial number of the spool')
    .requiredOption('--grams <n>', 'net weight')
    .option('--form <form>', 'filament, resin, powder, pellets or stock', 'filament')
    .option('--diameter <mm>', 'of filament')
    .option('--density <value>', 'g/cm³; needed for filament')
    .option('--made <date>', 'date of production, YYYY-MM-DD (default: today)')
    .option('--days <n>', 'how long after its production objects may begin with it', '730')
    .option('--property <text...>', 'further properties, each as KEY=VALUE')
    .option('--label [file]', 'also write a label with the code, PNG (default: SPOOL.png)');
  add(material, 'list', 'material certificates of your organisation', async (context) =>
    (await commands()).list(context),
  );
  add(
    material,
    'show <spool>',
    'show a certificate of your organisation and its code',
    async (context, [id = ''], options) => (await commands()).show(context, id, options),
  ).option('--label [file]', 'also write a label with the code, PNG (default: SPOOL.png)');
  add(
    material,
    'verify <code>',
    'verify the code of a spool, given as text or as a file that holds it',
    async (context, [code = '']) => (await commands()).verify(context, code),
  );

  const spools = () => import('./commands/spools.ts');
  const spool = group('spool', 'spools at the machines, as their operators state');
  add(
    spool,
    'load <code>',
    'sign that a spool is loaded: its code as text or in a file, or the content of its OpenSpool or OpenPrintTag tag in a file',
    async (context, [code = ''], options) => (await spools()).load(context, code, options),
  ).requiredOption('--machine <name>', 'the machine');
  add(spool, 'unload <spool>', 'sign that a spool is no longer loaded', async (context, [id = '']) =>
    (await spools()).unload(context, id),
  );
  add(spool, 'list', 'spools of your organisation: where they are loaded, and what is left', async (context) =>
    (await spools()).list(context),
  );
}

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { millrace } from './cli.ts';
import type { Host, Hosts } from './hosts.ts';
import type { Managed } from './process.ts';

/** How long a site's agent may take to show its code, ms. */
const CODE_MS = 60_000;

/** Who may administer an installation, and files of theirs. */
export type Administrator = Pick<Host, 'millrace' | 'path'>;

/** A designer, an operator and a site with a virtual machine, on hosts of their own. */
export interface Workshop {
  readonly ada: Host;
  readonly otto: Host;
  readonly site: Host;
  /** The site's agent. */
  readonly agent: Managed;
  /** Grants objects of a new design. @returns what starts a print of the licence: arguments of `millrace` */
  licence(gcode: string | Uint8Array, objects: number): Promise<string[]>;
  /** Prints until the object is completed and verifies its certificate. Throws what a command says if it fails. */
  makePart(order: readonly string[]): Promise<void>;
}

/** The administrator of a folder on this computer. */
export function administratorAt(home: string): Administrator {
  return {
    path: (file) => join(home, file),
    millrace: async <T>(...args: readonly string[]) => {
      const { exit, stderr, json } = await millrace(home, ...args, '--json');
      if (exit !== 0) throw new Error(`millrace ${args.join(' ')}: ${stderr}`);
      return json as T;
    },
  };
}

/**
 * Enrols people and a site in a running installation.
 * @param control address of a control node, HOST:PORT
 * @param factor speed of the machine: how much faster than the G-code says
 */
export async function openWorkshop(
  hosts: Hosts,
  admin: Administrator,
  control: string,
  factor = 240,
): Promise<Workshop> {
  const [ada, otto, site] = [await hosts.add('ada'), await hosts.add('otto'), await hosts.add('site')];
  const enrol = async (person: Host, name: string, kind: string, role: string): Promise<string> => {
    const { organisation } = await admin.millrace<{ organisation: string }>('org', 'create', name, '--kind', kind);
    const invite = ['user', 'invite', person.name, '--org', organisation, '--role', role];
    const { text } = await admin.millrace<{ text: string }>(...invite);
    const file = admin.path(`${person.name}.invitation`);
    await writeFile(file, text);
    await person.millrace('login', '--invitation-file', await person.carry(file));
    return organisation;
  };
  await enrol(ada, 'Brand', 'brand', 'designer');
  const bureau = await enrol(otto, 'Bureau', 'bureau', 'operator');

  const agent = await site.runAgent('--cloud', control, '--page', 'off');
  const terms = ['--name', 'mini', '--kind', 'virtual', '--serial', 'SITE-1', '--factor', String(factor)];
  const { machine } = await otto.millrace<{ machine: string }>('machine', 'pair', await codeOf(site), ...terms);
  await admin.millrace('machine', 'admit', 'mini');

  return {
    ...{ ada, otto, site, agent },
    licence: async (gcode, objects) => {
      const file = admin.path('part.gcode');
      await writeFile(file, gcode);
      const { design } = await ada.millrace<{ design: string }>('design', 'add', await ada.carry(file));
      const grant = ['licence', 'grant', '--design', design, '--objects', String(objects), '--machine', machine];
      const { licence } = await ada.millrace<{ licence: string }>(...grant, '--holder', bureau);
      return ['print', '--licence', licence, '--machine', machine];
    },
    makePart: async (order) => {
      const { state, object } = await otto.millrace<{ state: string; object: string }>(...order, '--watch');
      if (state !== 'completed') throw new Error(`the print is ${state}`);
      const file = ada.path(`${object}.certificate`);
      await ada.millrace('certificate', 'export', object, '--out', file);
      await ada.millrace('certificate', 'verify', file);
    },
  };
}

/** The pairing code that the agent of a site has logged. */
async function codeOf(site: Host): Promise<string> {
  for (const deadline = Date.now() + CODE_MS; ; await sleep(200)) {
    const [, code] = /"code":"([0-9A-Z-]{19})"/.exec(await site.log()) ?? [];
    if (code !== undefined) return code;
    if (Date.now() > deadline) throw new Error('the agent shows no code');
  }
}

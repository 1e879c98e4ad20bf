import { readFile } from 'node:fs/promises';
import { type Bytes, MillraceError, writeDurably } from '@millrace/base';
import { certifyMaterial, checkMaterial, type NewMaterial, ownMaterials, pick } from '@millrace/client';
import { drawMaterialLabel } from '@millrace/client/node';
import {
  type CertifiedMaterial,
  isMaterialText,
  type MaterialForm,
  materialForms,
  materialText,
  parseMaterialText,
} from '@millrace/protocol';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, wholeNumber, withSession } from './context.ts';

const DAY_MS = 86_400_000;

export interface CertifyOptions {
  readonly name: string;
  readonly batch: string;
  readonly spool: string;
  readonly grams: string;
  readonly form: string;
  readonly diameter?: string;
  readonly density?: string;
  readonly made?: string;
  readonly days: string;
  readonly property?: readonly string[];
  readonly label?: string | boolean;
}

export function certify(context: Context, options: CertifyOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const made = dateOf(options.made ?? new Date(context.clock.now()).toISOString().slice(0, 10));
    const material: NewMaterial = {
      name: options.name,
      batch: options.batch,
      spool: options.spool,
      grams: wholeNumber(options.grams, '--grams', 1, 1_000_000),
      form: formOf(options.form),
      ...scaled('diameter', options.diameter, '--diameter', 0.1, 10),
      ...scaled('density', options.density, '--density', 0.01, 30),
      made,
      until: made + wholeNumber(options.days, '--days', 1, 36_500) * DAY_MS,
      ...(options.property === undefined ? {} : { properties: propertiesOf(options.property) }),
    };
    const { certificate } = await certifyMaterial(session, material);
    await present(context, await checkMaterial(session, certificate), certificate, options.label);
  });
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const materials = await ownMaterials(session);
    context.terminal.result(
      { materials: materials.map((material) => ({ ...viewOf(material), code: materialText(material.certificate) })) },
      materials.length === 0
        ? 'Your organisation has certified no material.'
        : formatTable(
            ['id', 'material', 'spool', 'batch', 'grams', 'use by', 'signed by'],
            materials.map(({ spool, terms, supplier }) => [
              spool,
              terms.name,
              terms.spool,
              terms.batch,
              String(terms.grams),
              dayOf(terms.until),
              supplier.person,
            ]),
          ),
    );
  });
}

export function show(context: Context, wanted: string, options: { readonly label?: string | boolean }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const found = pick('spool', wanted, await ownMaterials(session), ({ spool, terms }) => [spool, terms.spool]);
    await present(context, found, found.certificate, options.label);
  });
}

export function verify(context: Context, code: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const material = await checkMaterial(session, await readCode(context, code));
    context.terminal.result(
      { valid: true, ...viewOf(material) },
      [
        `The certificate is genuine: ${material.supplier.name} certified this spool.`,
        formatMaterial(material),
        'Whether this code belongs to the spool that carries it, you have to see: anybody can copy a code.',
      ].join('\n'),
    );
  });
}

/** Shows a certificate, its code and, if wanted, writes a label. */
async function present(
  context: Context,
  material: CertifiedMaterial,
  certificate: Bytes,
  wanted: string | boolean | undefined,
): Promise<void> {
  const code = materialText(certificate);
  const label =
    wanted === undefined ? undefined : context.path(wanted === true ? `${material.terms.spool}.png` : `${wanted}`);
  if (label !== undefined) {
    try {
      await writeDurably(label, drawMaterialLabel(material, certificate), 0o644);
    } catch (cause) {
      throw new MillraceError('E_INPUT', `cannot write ${label}`, { cause });
    }
  }
  context.terminal.result(
    { ...viewOf(material), code, label },
    [
      `Spool ${material.spool}`,
      formatMaterial(material),
      ...(label === undefined ? [] : [`Wrote ${label}: a label for the spool`]),
      'Code for the spool:',
      code,
    ].join('\n'),
  );
}

/**
 * The certificate in a code: its text, or a file that holds the text.
 * @throws {MillraceError} E_INPUT, E_NOT_FOUND
 */
async function readCode(context: Context, given: string): Promise<Bytes> {
  return parseMaterialText(isMaterialText(given) ? given : new TextDecoder().decode(await readGiven(context, given)));
}

/** @throws {MillraceError} E_NOT_FOUND */
export async function readGiven(context: Context, given: string): Promise<Uint8Array> {
  try {
    return await readFile(context.path(given));
  } catch (cause) {
    throw new MillraceError('E_NOT_FOUND', `${given} is neither the code of a spool nor a readable file`, { cause });
  }
}

export function viewOf({ spool, terms, supplier }: CertifiedMaterial) {
  const { name, batch, spool: serial, grams, form, diameter, density, made, until, properties } = terms;
  return { spool, name, batch, serial, grams, form, diameter, density, made, until, properties, supplier };
}

function formatMaterial({ terms, supplier }: CertifiedMaterial): string {
  const { name, batch, spool, grams, form, diameter, density, made, until, properties = {} } = terms;
  return formatFields(
    [
      ['material', name],
      ['supplier', `${supplier.name} (${supplier.organisation}), signed by ${supplier.person}`],
      ['spool', `${spool}, batch ${batch}`],
      ['net', `${grams} g`],
      ['form', diameter === undefined ? form : `${form} ${(diameter / 1_000).toFixed(2)} mm`],
      ['density', density === undefined ? undefined : `${(density / 1_000).toFixed(2)} g/cm³`],
      ['made', dayOf(made)],
      ['use by', dayOf(until)],
      ...Object.entries(properties),
    ],
    '  ',
  );
}

const dayOf = (time: number): string => new Date(Math.min(time, 8.64e15)).toISOString().slice(0, 10);

function dateOf(text: string): number {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!(time >= 0)) throw new MillraceError('E_INPUT', '--made: expected a date, YYYY-MM-DD');
  return time;
}

function formOf(form: string): MaterialForm {
  const known = materialForms.find((one) => one === form);
  if (known === undefined)
    throw new MillraceError('E_INPUT', `--form: expected one of ${materialForms.join(', ')}; not ${form}`);
  return known;
}

/** A decimal number in thousandths: mm as µm, g/cm³ as kg/m³. */
function scaled(field: string, text: string | undefined, option: string, least: number, most: number) {
  if (text === undefined) return {};
  const value = /^\d{1,3}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new MillraceError('E_INPUT', `${option}: expected a number from ${least} to ${most}`);
  return { [field]: Math.round(value * 1_000) };
}

function propertiesOf(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new MillraceError('E_INPUT', `--property: expected KEY=VALUE, not ${pair}`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

import { type FileHandle, open, readFile } from 'node:fs/promises';
import { type Bytes, fromBase64, MillraceError } from '@millrace/base';
import { createPackage } from '@millrace/client';
import { commandName } from '../output/command-name.ts';
import { formatBytes, formatFields } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { newFile } from './new-file.ts';

export interface CreateOptions {
  readonly driver: string;
  readonly machine: string;
  readonly objects: string;
  readonly out: string;
  readonly name?: string;
  readonly kind?: string;
  readonly rate?: string;
  readonly material?: readonly string[];
  readonly supplier?: readonly string[];
  readonly days: string;
  readonly holder: string;
}

export function create(context: Context, file: string, options: CreateOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const { machine, holder } = options;
    const terms = {
      driver: await readDriver(context.path(options.driver)),
      machine,
      objects: wholeNumber(options.objects, '--objects', 1, 1_000_000),
      materials: options.material ?? [],
      suppliers: options.supplier ?? [],
      days: wholeNumber(options.days, '--days', 1, 36_500),
      holder,
    };
    const rate = options.rate === undefined ? undefined : wholeNumber(options.rate, '--rate', 1, 1_000_000_000);
    const prepare = { name: options.name, kind: options.kind, bytesPerSecond: rate };
    const out = context.path(options.out);
    const { prepareFile } = await import('@millrace/client/node');
    const sealing = createProgress(terminal, 'seal  ');
    const writing = createProgress(terminal, 'write ');
    const target = await openTarget(out);
    try {
      const made = await createPackage(session, {
        terms,
        seal: async (take) => {
          const progress = (done: number, total: number) =>
            sealing.update(done, total, `${formatBytes(done)} of ${formatBytes(total)}`);
          const prepared = await prepareFile(session, context.path(file), prepare, progress, take);
          sealing.finish();
          return prepared;
        },
        write: target.write,
        progress: (done, total) => writing.update(done, total, `${done} of ${total} segments`),
      });
      writing.finish();
      await target.finish();
      terminal.result(
        { ...made, file: out, machine, objects: terms.objects, holder },
        [
          `Job package ${out}`,
          formatFields(
            [
              ['licence', made.licence],
              ['design', made.design],
              ['objects', String(terms.objects)],
              ['machine', machine],
              ['materials', terms.materials.join(', ') || 'any'],
              ['holder', holder],
              ['days', String(terms.days)],
            ],
            '  ',
          ),
          `Send it to the workstation. There: \`${commandName} driver make ${machine} FILE\`.`,
        ].join('\n'),
      );
    } catch (error) {
      await target.discard();
      throw error;
    }
  });
}

/** The driver's key as its machine has signed it. @throws {MillraceError} E_NOT_FOUND, E_INPUT */
async function readDriver(path: string): Promise<Bytes> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new MillraceError('E_NOT_FOUND', `cannot read ${path}`, { cause });
  }
  if (!/^[A-Za-z0-9+/=\s]{1,4096}$/.test(text))
    throw new MillraceError('E_INPUT', `${path} is not the key of a driver`);
  return fromBase64(text.replace(/\s/g, ''));
}

/** A package that has its name only once it is whole. @throws {MillraceError} E_CONFLICT if there is one already */
async function openTarget(path: string) {
  const target = await newFile(path);
  let file: FileHandle;
  try {
    file = await open(target.part, 'w', 0o644);
  } catch (error) {
    await target.discard();
    throw error;
  }
  return {
    write: async (bytes: Uint8Array): Promise<void> => {
      for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done)).bytesWritten;
    },
    finish: async (): Promise<void> => {
      await file.close();
      await target.finish();
    },
    discard: async (): Promise<void> => {
      await file.close().catch(() => undefined); // it may be closed already
      await target.discard();
    },
  };
}

import type { SpoolView } from '@millrace/api';
import { useState } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import { operatorWords } from './operator-words.ts';
import { formatCount } from './words.ts';

/** The part of a browser's detector of codes used here. Not every browser has one: then the code is typed. */
interface Detector {
  detect(source: ImageBitmapSource): Promise<readonly { readonly rawValue: string }[]>;
}
const detectors = globalThis as { readonly BarcodeDetector?: new (options: { formats: string[] }) => Detector };

/** What is loaded on a machine, and a certified spool that is loaded by the code on its label. */
export function Spools({
  machine,
  spools,
  again,
}: {
  readonly machine: string;
  readonly spools: readonly SpoolView[];
  readonly again: () => void;
}) {
  const w = operatorWords.value;
  const [code, setCode] = useState('');
  const [unread, setUnread] = useState(false);
  const { BarcodeDetector } = detectors;
  const scan = async (file: File | undefined) => {
    if (BarcodeDetector === undefined || file === undefined) return;
    // Neither every file is an image, nor does every detector know QR codes.
    const [found] = await createImageBitmap(file)
      .then((image) => new BarcodeDetector({ formats: ['qr_code'] }).detect(image))
      .catch(() => []);
    setUnread(found === undefined);
    if (found !== undefined) setCode(found.rawValue);
  };
  return (
    <>
      <p class="quiet">
        {spools.length === 0
          ? w.noSpool
          : spools
              .map(({ name, supplier, grams, used }) => {
                const left = grams === undefined ? undefined : w.gramsLeft(formatCount(Math.max(0, grams - used)));
                return [name, supplier?.name ?? w.uncertified, left].filter((part) => part !== undefined).join(' · ');
              })
              .join(', ')}
      </p>
      <details>
        <summary>{w.loadSpool}</summary>
        <Signing
          label={w.load}
          disabled={code.trim() === ''}
          job={(identity) => ({ type: 'load-spool', identity, machine, code })}
          done={() => {
            setCode('');
            again();
          }}
        >
          <label>
            {w.spoolCode}
            <input
              type="text"
              autocomplete="off"
              spellcheck={false}
              value={code}
              onInput={(event) => setCode(event.currentTarget.value)}
            />
          </label>
          {BarcodeDetector === undefined ? undefined : (
            <label>
              {w.scan}
              <input
                type="file"
                accept="image/*"
                capture="environment"
                onChange={(event) => void scan(event.currentTarget.files?.[0])}
              />
            </label>
          )}
          {unread ? <p role="status">{w.notRead}</p> : undefined}
        </Signing>
      </details>
    </>
  );
}

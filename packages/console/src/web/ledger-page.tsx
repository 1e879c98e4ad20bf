import { toHex } from '@millrace/base';
import type { VerifiedCheckpoint } from '@millrace/ledger';
import { useState } from 'preact/hooks';
import { newestEntries, proveEntry, readHead } from './ledger-proof.ts';
import { useLoaded } from './loaded.ts';
import { Card, Facts, Shown, Verdict } from './parts.tsx';
import { installation, log } from './server.ts';
import { formatCount, formatTime, words } from './words.ts';

const NEWEST = 20;

async function readNewest() {
  const head = await readHead(log, await installation());
  return { head, entries: await newestEntries(log, head.size, NEWEST) };
}

export function LedgerPage({ number }: { readonly number: string | undefined }) {
  return number === undefined ? <Newest /> : <Entry number={number} />;
}

function Newest() {
  const w = words.value;
  const loaded = useLoaded('newest', readNewest);
  return (
    <>
      <h1>{w.ledgerTitle}</h1>
      <p>{w.ledgerText}</p>
      <Shown loaded={loaded}>
        {({ head, entries }) => (
          <>
            <Head head={head} />
            <Card title={w.newest}>
              <GoTo />
              {entries.length === 0 ? <p>{w.empty}</p> : undefined}
              {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
              <section class="scroll" aria-label={w.newest} tabIndex={0}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{w.entry}</th>
                      <th scope="col">{w.bytes}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {entries.map(({ index, entry }) => (
                      <tr key={index}>
                        <td class="number">
                          <a href={`#/ledger/${index}`}>{formatCount(index)}</a>
                        </td>
                        <td class="mono">{toHex(entry)}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </section>
            </Card>
          </>
        )}
      </Shown>
    </>
  );
}

function GoTo() {
  const w = words.value;
  const [number, setNumber] = useState('');
  return (
    <form
      class="row"
      onSubmit={(event) => {
        event.preventDefault();
        if (/^\d+$/.test(number)) location.hash = `#/ledger/${number}`;
      }}
    >
      <div>
        <label for="number">{w.entryNumber}</label>
        <input
          id="number"
          type="text"
          inputMode="numeric"
          autocomplete="off"
          value={number}
          onInput={(event) => setNumber(event.currentTarget.value)}
        />
      </div>
      <button type="submit" class="plain">
        {w.show}
      </button>
    </form>
  );
}

function Head({ head }: { readonly head: VerifiedCheckpoint }) {
  const w = words.value;
  return (
    <Card title={w.head}>
      <Facts
        rows={[
          [w.origin, head.origin],
          [w.entries, formatCount(head.size)],
          [w.root, toHex(head.root), 'code'],
        ]}
      />
      <ul class="statements proven after">
        <li>
          <span aria-hidden="true">✓</span>
          <span>{w.headVerified}</span>
        </li>
        {head.cosignatures.map(({ name, time }) => (
          <li key={name}>
            <span aria-hidden="true">✓</span>
            <span>{w.witnessed(name, formatTime(time * 1000))}</span>
          </li>
        ))}
      </ul>
      {head.cosignatures.length > 0 ? undefined : (
        <ul class="statements unproven after">
          <li>
            <span aria-hidden="true">?</span>
            <span>{w.noWitnesses}</span>
          </li>
        </ul>
      )}
    </Card>
  );
}

function Entry({ number }: { readonly number: string }) {
  const w = words.value;
  const loaded = useLoaded(number, async () => proveEntry(log, Number(number), await installation()));
  return (
    <>
      <p>
        <a href="#/ledger">← {w.back}</a>
      </p>
      <h1>{w.entryTitle(/^\d+$/.test(number) ? formatCount(Number(number)) : number)}</h1>
      <Shown loaded={loaded}>
        {({ entry, leaf, path, head }) => (
          <>
            <Verdict
              tone="good"
              title={w.included}
              text={w.includedText(formatCount(path.length), formatCount(head.size))}
            />
            <Card>
              <Facts
                rows={[
                  [w.bytes, toHex(entry), 'code'],
                  [w.leaf, toHex(leaf), 'code'],
                ]}
              />
            </Card>
            <Head head={head} />
            <Card title={w.path}>
              <p class="quiet">{w.pathText}</p>
              <ol class="path mono">
                {path.map((hash) => (
                  <li key={toHex(hash)}>{toHex(hash)}</li>
                ))}
              </ol>
            </Card>
          </>
        )}
      </Shown>
    </>
  );
}
